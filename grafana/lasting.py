"""Will it last.

Money: what is left, and how fast it goes.
"""

from exporter.metrics.family import Text
from grafana.colours import BLUE, ORANGE, SKY, VERMILION
from grafana.parts import Dashboard, Query, lines, table, tiles
from grafana.variables import ACCOUNT, IN_ACCOUNT

NO_ACCOUNT = Text("no account collects its balance", "没有账号启用采集项 account")
YUAN = Text("yuan", "元")

BOARD = Dashboard(
    uid="hpc-lasting",
    title=Text("HPC / 8 Will it last", "HPC / 8 够不够用"),
    description=Text("How long do money and storage last?", "余额和存储还能用多久？"),
    variables=[ACCOUNT],
    panels=[
        tiles(
            Text("Does the platform answer?", "平台是否有响应？"),
            "Whether the platform answers each account. If not, what is shown of it is old: see the runbook HPCTargetFailing.",
            "平台对每个账号是否有响应。没有响应时显示的是旧数据：见处理手册 HPCTargetFailing。",
            f"min by (account) (hpc_account_up{{{IN_ACCOUNT}}})",
            legend="{{account}}",
            size=(6, 6),
            states=[(Text("no answer", "无响应"), VERMILION), (Text("answers", "正常"), BLUE)],
            no_value=NO_ACCOUNT,
        ),
        table(
            Text("Balance", "余额"),
            "What each account has left, in yuan, and its status. Owe or Disable: jobs no longer start.",
            "每个账号的余额（元）和状态。Owe（欠费）或 Disable（停用）：作业不再启动。",
            [
                f"max by (account) (hpc_account_balance_cny{{{IN_ACCOUNT}}})",
                f"max by (account, status) (hpc_account_status{{{IN_ACCOUNT}}})",
            ],
            {"account": Text("Account", "账号"), "Value #A": Text("Balance", "余额"), "status": Text("Status", "状态")},
            sort=None,
            hidden=("Value #B",),
            no_value=NO_ACCOUNT,
            size=(6, 6),
            unit="currencyCNY",
            steps=((None, VERMILION), (0, ORANGE), (100, SKY)),
        ),
        lines(
            Text("Balance over time", "余额变化"),
            "Falling steadily: jobs are charged. A step upwards is a payment.",
            "持续下降：作业正在计费。向上的台阶是一次充值。",
            [Query(f"max by (account) (hpc_account_balance_cny{{{IN_ACCOUNT}}})", "{{account}}")],
            axis=YUAN,
            size=(12, 6),
            unit="currencyCNY",
        ),
    ],
    hours=168,
)
