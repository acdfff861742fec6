"""Will it last.

Money, machine time and storage: what is left, how fast it goes, and when it is gone.
"""

from exporter.metrics.family import Text
from grafana.colours import BLUE, ORANGE, SKY, VERMILION, Steps
from grafana.parts import (
    LABELS,
    Dashboard,
    Panel,
    Query,
    Row,
    bar_cell,
    coloured_cell,
    dashed,
    lines,
    named,
    override,
    ranking,
    table,
    tiles,
    values,
)
from grafana.variables import ACCOUNT, IN_ACCOUNT, IN_REGION, REGION

NO_ACCOUNT = Text("no data of the collector account", "采集项 account 无数据")
YUAN = "prefix:¥ "
DAY: int = 86400
# Days that are left.
DAYS: Steps = ((None, VERMILION), (3, ORANGE), (7, SKY))
DAYS_OF_STORAGE: Steps = ((None, VERMILION), (7, ORANGE), (30, SKY))
SHARES: Steps = ((None, SKY), (0.85, ORANGE), (0.95, VERMILION))
LEFT, A_DAY = Text("Balance", "余额"), Text("Spent/day", "日均支出")
DAYS_LEFT = Text("Days left", "剩余天数")
CORE_HOURS = Text("Core h", "核时")
USED, QUOTA, SHARE = Text("Used", "已用"), Text("Quota", "配额"), Text("Share", "占比")

BALANCE = f"max by (account) (hpc_account_balance_cny{{{IN_ACCOUNT}}})"
USED_BYTES = f"max by (hpc_cluster, user, path) (hpc_storage_used_bytes{{{IN_REGION}}})"
# As in the rules: of a quota of 0 there is no share.
QUOTA_BYTES = f"(max by (hpc_cluster, user, path) (hpc_storage_quota_bytes{{{IN_REGION}}}) > 0)"


def spent(window: str) -> str:
    """Yuan spent a day: falls of the balance only, so that a payment does not hide them.

    Over the time that is known of.
    """
    falls = f"clamp_min(-max by (account) (deriv(hpc_account_balance_cny{{{IN_ACCOUNT}}}[30m])), 0)"
    return f"{DAY} * avg_over_time({falls}[{window}:15m])"


def larger(one: str, other: str) -> str:
    """Return the larger of two for each label set, or the one that there is."""
    return f"(({one}) > ({other}) or ({other}) or ({one}))"


def growth(window: str) -> str:
    """Bytes a day."""
    return f"{DAY} * max by (hpc_cluster, user, path) (deriv(hpc_storage_used_bytes{{{IN_REGION}}}[{window}]))"


SPENT = larger(spent("1d"), spent("7d"))
# Of an account in arrears nothing is left, however little it spends.
MONEY_DAYS = f"clamp_min({BALANCE}, 0) / ({SPENT} > 0) or 0 * ({BALANCE} <= 0)"
ROOM = f"clamp_min({QUOTA_BYTES} - {USED_BYTES}, 0)"
STORAGE_DAYS = f"{ROOM} / ({larger(growth('1d'), growth('7d'))} > 0)"


def hours(resource: str, by: str, offset: str = "") -> str:
    """Core-hours or card-hours over 30 days."""
    return f"sum by ({by}) (increase(hpc_member_{resource}_seconds_total{{{IN_REGION}}}[30d]{offset})) / 3600"


def hours_by(title: Text, *labels: str) -> Panel:
    by = ", ".join(sorted(labels, key=("hpc_cluster", "group", "user").index))
    return table(
        title,
        "Core-hours and card-hours of jobs in the last 30 days; Before: core-hours of the 30 days before. From the job lists: time that "
        "was not polled is missing.",
        "近 30 天作业占用的核时和卡时；“之前”为再往前 30 天的核时。根据作业列表得出，未监控的时段不计。",
        [
            *named(*labels),
            (CORE_HOURS, hours("cpu", by)),
            (Text("Before", "之前"), hours("cpu", by, " offset 30d")),
            (Text("GPU h", "GPU 时"), hours("gpu", by)),
            (Text("DCU h", "DCU 时"), hours("dcu", by)),
        ],
        sort=CORE_HOURS,
        size=(12, 8),
        unit="none",
        defaults={"decimals": 0},
    )


MONEY = table(
    Text("Money: how many days are left?", "余额还能用几天？"),
    "Balance, spending per day, and for how many days the balance lasts: at the rate of the last day or of the last "
    "week, whichever is faster. Payments do not count as income. In arrears or disabled: jobs no longer start. See the "
    "runbook HPCBalanceRunsOut.",
    "余额、日均支出，以及还够用几天：取近一天和近一周中较快的速度，充值不抵扣支出。"
    "欠费或停用：作业不再启动。见处理手册 HPCBalanceRunsOut。",
    [
        *named("account"),
        (DAYS_LEFT, MONEY_DAYS),
        (LEFT, BALANCE),
        (A_DAY, SPENT),
        *named("status"),
        (None, f"max by (account, status) (hpc_account_status{{{IN_ACCOUNT}}})"),
    ],
    sort=DAYS_LEFT,
    falling=False,
    size=(10, 7),
    unit=YUAN,
    overrides=[
        coloured_cell(DAYS_LEFT, DAYS, filled=True, unit="none", decimals=1),
        coloured_cell(
            LABELS["status"],
            mappings=values(
                Normal=(Text("normal", "正常"), BLUE),
                Trial=(Text("trial", "试用"), BLUE),
                Owe=(Text("in arrears", "欠费"), VERMILION),
                Disable=(Text("disabled", "停用"), VERMILION),
                other=(Text("other", "其他"), ORANGE),
            ),
        ),
        override(LEFT, decimals=0),
        override(A_DAY, decimals=0),
    ],
)
BOARD = Dashboard(
    uid="hpc-lasting",
    title=Text("HPC / 8 Will it last", "HPC / 8 够不够用"),
    description=Text("How long do money, machine time and storage last?", "余额、机时和存储还能用多久？"),
    variables=[REGION, ACCOUNT],
    panels=[
        tiles(
            Text("Platform", "平台"),
            "Whether the platform answers each account. If not, its data is old: see the runbook HPCTargetFailing.",
            "平台对每个账号是否有响应。没有响应时显示的是旧数据：见处理手册 HPCTargetFailing。",
            f"min by (account) (hpc_account_up{{{IN_ACCOUNT}}})",
            legend="{{account}}",
            size=(4, 7),
            states=[(Text("no answer", "无响应"), VERMILION), (Text("answers", "正常"), BLUE)],
            no_value=NO_ACCOUNT,
        ),
        MONEY,
        lines(
            Text("Balance over time", "余额变化"),
            "Falling steadily: jobs are charged. A step upwards is a payment. The steeper, the sooner it is gone.",
            "持续下降：作业正在计费。向上的台阶是一次充值。越陡，用完得越早。",
            Query(BALANCE, "{{account}}"),
            size=(10, 7),
            unit=YUAN,
        ),
        lines(
            Text("Spent per day", "日均支出"),
            "Yuan a day, at the rate of the day before each moment (solid) and of the week before it (dashed).",
            "每天支出多少元：实线为前一天的速度，虚线为前一周的速度。",
            [Query(spent("1d"), "{{account}}"), Query(spent("7d"), Text("{{account}}, week", "{{account}}，一周"))],
            size=(12, 7),
            unit=YUAN,
            overrides=[dashed("B")],
        ),
        ranking(
            Text("Machine time left", "剩余机时"),
            "Hours of users with a limit of machine time, the one with least left first. At 0 their jobs no longer start.",
            "有机时限额的用户还剩多少小时，最少的在前。用完后作业不再启动。",
            f"bottomk(6, max by (hpc_cluster, user) (hpc_user_walltime_remaining_seconds{{{IN_REGION}}}) / 3600)",
            names=named("user", "hpc_cluster"),
            value=Text("Hours left", "剩余小时"),
            falling=False,
            unit="none",
            defaults={"decimals": 0},
            size=(12, 7),
            no_value=Text("no limit", "不限"),
        ),
        Row(Text("Storage", "存储")),
        table(
            Text("Storage: when is it full?", "存储何时用满？"),
            "Used storage and quota of each user, and in how many days the quota is full at the growth of the last day or week, "
            "whichever is faster. No number: it does not grow. See the runbook HPCStorageFillingUp.",
            "每个用户已用的存储和配额，以及按近一天或近一周中较快的增长还有几天用满。没有数字：没有增长。"
            "见处理手册 HPCStorageFillingUp。",
            [
                *named("user", "hpc_cluster"),
                (SHARE, f"{USED_BYTES} / ({QUOTA_BYTES} > 0)"),
                (DAYS_LEFT, STORAGE_DAYS),
                (USED, USED_BYTES),
                (QUOTA, QUOTA_BYTES),
                *named("path"),
            ],
            sort=SHARE,
            size=(16, 8),
            unit="decbytes",
            # The rest is the path's, the longest.
            overrides=[
                override(USED, custom__width=90),
                override(QUOTA, custom__width=90),
                override(LABELS["user"], custom__width=110),
                override(LABELS["hpc_cluster"], custom__width=110),
                bar_cell(SHARE, SHARES, max=1, unit="percentunit", custom__width=180),
                coloured_cell(DAYS_LEFT, DAYS_OF_STORAGE, unit="none", decimals=0, custom__width=100),
            ],
        ),
        lines(
            Text("Share of the quota", "配额使用率"),
            "Towards 100 %: files have to go, or the quota has to grow. A fall: files were deleted.",
            "接近 100%：需要清理文件或提高配额。下降表示有人删除了文件。",
            Query(f"{USED_BYTES} / ({QUOTA_BYTES} > 0)", "{{user}} {{path}} ({{hpc_cluster}})"),
            size=(8, 8),
            unit="percentunit",
        ),
        Row(Text("Who uses it", "谁在使用")),
        hours_by(Text("Hours by user, last 30 days", "各用户近 30 天的核时"), "user", "group", "hpc_cluster"),
        hours_by(Text("Hours by group, last 30 days", "各用户组近 30 天的核时"), "group", "hpc_cluster"),
        lines(
            Text("Allocated / requested cores", "分配与申请核数之比"),
            "Cores allocated to running jobs, divided by those requested, by group. Above 1 more is charged than was requested: the "
            "region allocates whole nodes or larger units.",
            "运行中作业占用的核数与申请的核数之比，按用户组。大于 1 时计费多于申请：区域按整节点或更大的单位分配。",
            Query(
                f'sum by (hpc_cluster, group) (hpc_member_allocated_cpus{{{IN_REGION}, state="running"}}) / '
                f'(sum by (hpc_cluster, group) (hpc_member_requested_cpus{{{IN_REGION}, state="running"}}) > 0)',
                "{{group}} ({{hpc_cluster}})",
            ),
            size=(24, 7),
            unit="none",
        ),
    ],
    hours=168,
)
