"""Overview.

Is anything wrong, and where? Running and waiting jobs, and resources in use.
"""

from exporter.metrics.family import Text
from grafana import problems
from grafana.colours import BLUE, GREEN, LEFT, ORANGE, SKY, VERMILION, WAITING, YELLOW, shades
from grafana.parts import (
    JOBS,
    NO_DATA,
    NONE_WAITS,
    UNKNOWN,
    Dashboard,
    Query,
    Row,
    coloured_cell,
    dashed,
    lines,
    named,
    number,
    override,
    p90_and_p50,
    quantile,
    ranking,
    table,
    tiles,
    values,
)
from grafana.variables import IN_REGION, REGION

WAITS = f"hpc_job_observed_wait_seconds_bucket{{{IN_REGION}}}"


def jobs_in(state: str, by: str) -> str:
    """Jobs in a state, from queue statistics, or, in a region without them, from its members' lists."""
    return " or ".join(
        f'sum by ({by}) ({family}{{{IN_REGION}, state="{state}"}})' for family in ("hpc_queue_jobs", "hpc_member_jobs")
    )


def total(state: str) -> str:
    return f"sum({jobs_in(state, 'hpc_cluster')})"


STATE = tiles(
    Text("Is the data fresh?", "数据是否最新？"),
    "Each region and project. Fresh: the last poll of everything worked. Failing: some polls fail, old data is still "
    "shown. Incomplete: some data was too old and was removed, so sums on this page lack it. Gone: nothing of it is left. What to "
    "do: see the list beside, then the runbook of the problem.",
    "每个区域和项目。最新：最近一次轮询全部成功。失败：部分轮询失败，仍显示旧数据。不完整：部分数据过旧已移除，"
    "本页总数不含这些数据。全无：该区域已没有任何数据。处理：查看右侧列表，再按对应的处理手册操作。",
    "max by (source) (clamp_max(2 * hpc_exporter_target_stale + on (source, collector, target) "
    "(1 - hpc_exporter_target_up), 2)) + on (source) "
    "min by (source) (hpc_exporter_target_stale and on (source, collector, target) hpc_exporter_target_up)",
    legend="{{source}}",
    size=(8, 15),
    states=[
        (Text("fresh", "最新"), BLUE),
        (Text("failing", "失败"), YELLOW),
        (Text("incomplete", "不完整"), ORANGE),
        (Text("gone", "全无"), VERMILION),
    ],
    no_value=Text("no data: is the exporter running?", "无数据：exporter 是否在运行？"),
)

OWNER = Text("Owner", "所有者")
PROBLEM, SEVERITY = Text("Problem", "问题"), Text("Severity", "级别")
PROBLEMS = table(
    Text("What is wrong right now?", "当前有哪些问题？"),
    "The conditions of the alerts that hold at this moment, worst first. A click on a problem opens its runbook. A line "
    "without a user means the whole region or collector.",
    "此刻成立的告警条件，最严重的在前。点击问题可打开处理手册。未注明用户的行表示整个区域或采集项。",
    [
        (SEVERITY, Query(problems.expression(), table=True, once=False)),
        ("problem", PROBLEM),
        ("where", Text("Where", "位置")),
        ("what", Text("Who or what", "对象")),
    ],
    sort=SEVERITY,
    size=(16, 15),
    unit="none",
    overrides=[
        coloured_cell(
            SEVERITY,
            filled=True,
            mappings=values(
                v0=(Text("all well", "一切正常"), BLUE),
                **{f"v{rank}": (text, colour) for rank, text, colour in problems.SEVERITIES.values()},
            ),
            custom__width=110,
        ),
        override(
            PROBLEM,
            mappings=values(
                **{problems.NONE: (Text("Nothing is wrong", "没有问题"), BLUE)},
                **{alert: (name, SKY) for alert, name in problems.NAMES.items()},
            ),
            links=[
                {
                    "title": Text("Runbook", "处理手册"),
                    "url": Text(*(f"{problems.RUNBOOKS}/${{__data.fields.problem}}{end}" for end in (".md", ".zh.md"))),
                    "targetBlank": True,
                }
            ],
        ),
    ],
)

NUMBERS = [
    number(
        Text("Running", "运行中"),
        "Jobs running now, of all users that are polled. Fallen to nothing while jobs are queued? Look at Queues.",
        "当前运行的作业数（所有被轮询的用户）。若有排队而无运行，请查看“队列”。",
        total("running"),
        steps=((None, GREEN),),
        size=(2, 4),
        no_value=UNKNOWN,
    ),
    number(
        Text("Queued", "排队中"),
        "Jobs queued now. More than usual? The dashboard Queues shows where, Waiting how long they wait.",
        "当前排队的作业数。比平时多？“队列”显示堆积位置，“等待”显示等待时长。",
        total("queued"),
        steps=((None, ORANGE),),
        size=(2, 4),
        no_value=UNKNOWN,
    ),
    number(
        Text("Cores in use", "核数使用率"),
        "Cores in use of all that are not unavailable, where regions tell both: needs the collector region_cores. Near 100 %: "
        "jobs wait. Where room is left: see the dashboard Where to submit.",
        "已使用核数占可用核数的比例，需要启用采集项 region_cores。接近 100% 时作业需要等待。哪里有空位：见“提交到哪里”看板。",
        f'sum(hpc_cluster_cpus{{{IN_REGION}, state="used"}}) / '
        f'(sum(hpc_cluster_cpus{{{IN_REGION}, state=~"used|unused"}}) > 0)',
        unit="percentunit",
        no_value=UNKNOWN,
    ),
    number(
        Text("GPUs in use", "GPU 使用中"),
        "GPUs allocated to listed jobs; by user on the dashboard Members. Less than you pay for? Look for queued jobs that request them.",
        "作业占用的 GPU 数。“成员与用户组”显示归属。低于配额时，检查是否有作业在排队。",
        f"sum(hpc_member_allocated_gpus{{{IN_REGION}}})",
        no_value=UNKNOWN,
    ),
    number(
        Text("DCUs in use", "DCU 使用中"),
        "DCUs (accelerator cards) allocated to listed jobs; by user on the dashboard Members.",
        "作业占用的 DCU（加速卡）数。“成员与用户组”显示归属。",
        f"sum(hpc_member_allocated_dcus{{{IN_REGION}}})",
        no_value=UNKNOWN,
    ),
    number(
        Text("Longest waiting", "最长等待"),
        "How long the job that waits longest has been waiting. Over a day: see the runbook HPCJobWaitingTooLong.",
        "等待最久的作业已等待多长时间。超过一天：见处理手册 HPCJobWaitingTooLong。",
        f"max(time() - hpc_member_oldest_queued_timestamp_seconds{{{IN_REGION}}})",
        unit="s",
        steps=WAITING,
        no_value=NONE_WAITS,
    ),
    number(
        Text("Wait p90", "等待 p90"),
        "90% of the jobs that started within the last hour had waited at most this long. The dashboard Waiting shows whether enough could be measured.",
        "一小时内启动的作业中，90% 的等待时间不超过此值。“等待”显示测量覆盖率。",
        quantile(0.9, WAITS),
        unit="s",
        size=(2, 4),
        no_value=Text("none seen", "未见启动"),
    ),
    number(
        Text("Token expires in", "令牌过期时间"),
        "Time until the first token expires. Tokens of an account are renewed automatically; a pasted one has to be "
        "replaced in its file. See the runbook HPCTokenExpiring.",
        "距最早过期的令牌还有多久。账户令牌会自动续期；手工令牌须在文件中更换。见处理手册 HPCTokenExpiring。",
        "min(hpc_exporter_token_expiry_timestamp_seconds - time())",
        unit="s",
        steps=LEFT,
        no_value=UNKNOWN,
        options={"graphMode": "none"},
    ),
    number(
        Text("Octopus backlog", "Octopus 积压"),
        "Entries in all queues of the Octopus projects. Rising for hours? The dashboard Octopus shows which jobs.",
        "所有 Octopus 项目队列中的条目数。持续数小时上升？见“Octopus”看板。",
        "sum(octopus_queue_length)",
        steps=((None, ORANGE),),
        no_value=NO_DATA,
    ),
]

OVER_TIME = [
    lines(
        Text("Running jobs by region", "各区域运行作业数"),
        "A fall to 0 in one region is its problem, in all of them simultaneously probably the exporter's: see the list above. A gap "
        "is time without data.",
        "单个区域降到 0 是该区域的问题；全部同时下降多半是监控自身问题。断线表示该时段无数据。",
        Query(jobs_in("running", "hpc_cluster"), "{{hpc_cluster}}"),
        axis=JOBS,
        size=(12, 8),
    ),
    lines(
        Text("Queued jobs by region", "各区域排队作业数"),
        "Rising while running stays flat: the region is full, or stuck. The dashboard Queues shows which.",
        "排队上升而运行持平：区域已满或停滞，见“队列”。",
        Query(jobs_in("queued", "hpc_cluster"), "{{hpc_cluster}}"),
        axis=JOBS,
        size=(12, 8),
    ),
    lines(
        Text("Accelerators in use", "加速卡使用量"),
        "GPUs and DCUs allocated to jobs, by region; by user on the dashboard Members.",
        "各区域作业占用的 GPU 与 DCU。归属见“成员与用户组”。",
        [
            Query(f"sum by (hpc_cluster) (hpc_member_allocated_gpus{{{IN_REGION}}})", "{{hpc_cluster}} GPU"),
            Query(f"sum by (hpc_cluster) (hpc_member_allocated_dcus{{{IN_REGION}}})", "{{hpc_cluster}} DCU"),
        ],
        axis=Text("cards", "卡数"),
        overrides=[dashed("B")],
    ),
    p90_and_p50(
        Text("How long jobs waited", "作业等待时间"),
        "Of the jobs that started within the hour before: half (p50) and nine in ten (p90) had waited at most this long. A "
        "gap: none started.",
        "此前一小时内启动的作业：一半（p50）与 90%（p90）的等待不超过此值。断线表示无作业启动。",
        WAITS,
        by="hpc_cluster",
        legend="{{hpc_cluster}}",
    ),
    lines(
        Text("Targets that fail", "失败的目标数"),
        "Targets (users, members, queues) whose last poll failed. The dashboard Exporter has the reasons.",
        "最近一次轮询失败的目标（用户、成员、队列）数。原因见“Exporter”。",
        Query("sum by (source) (1 - hpc_exporter_target_up)", "{{source}}"),
        axis=Text("targets", "目标数"),
        custom={"axisSoftMax": 5},
        defaults=shades(ORANGE),
    ),
    ranking(
        Text("Who waits longest", "谁等待最久"),
        "For each user, how long the longest-waiting job has been waiting. Ask, or see the runbook HPCJobWaitingTooLong.",
        "每个用户等待最久的作业已等待多久。见处理手册 HPCJobWaitingTooLong。",
        f"topk(8, max by (hpc_cluster, user) (time() - hpc_member_oldest_queued_timestamp_seconds{{{IN_REGION}}}))",
        names=named("hpc_cluster", "user"),
        value=Text("Waits for", "已等待"),
        unit="s",
        steps=WAITING,
        no_value=NONE_WAITS,
    ),
    ranking(
        Text("Tokens that expire soon", "即将过期的令牌"),
        "The tokens that expire first, without an owner: the region's own. Red has expired. See the runbook HPCTokenExpiring.",
        "最先过期的令牌；无用户名者为区域自身令牌。红色表示已失效。见处理手册 HPCTokenExpiring。",
        "bottomk(8, min by (source, user) (hpc_exporter_token_expiry_timestamp_seconds - time()))",
        names=[*named("source"), ("user", OWNER)],
        value=Text("Expires in", "剩余"),
        falling=False,
        unit="s",
        steps=LEFT,
        overrides=[override(OWNER, noValue=Text("the region's own", "区域自身"))],
        no_value=UNKNOWN,
    ),
    lines(
        Text("Octopus backlog", "Octopus 积压"),
        "Entries in each queue. Rising for hours: more arrives than leaves, see Octopus.",
        "各队列条目数。持续上升表示到达多于离开，见“Octopus”。",
        Query("sum by (project, queue_type) (octopus_queue_length)", "{{project}} {{queue_type}}"),
        axis=Text("entries", "条目数"),
    ),
]

BOARD = Dashboard(
    uid="hpc-overview",
    title=Text("HPC / 1 Overview", "HPC / 1 总览"),
    description=Text("Is anything wrong, and where?", "是否有问题，在哪里？"),
    variables=[REGION],
    panels=[
        STATE,
        PROBLEMS,
        *NUMBERS,
        Row(Text("Over time", "变化趋势")),
        *OVER_TIME,
    ],
)
