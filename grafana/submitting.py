"""Where to submit.

Free and all of each queue, its price and limits, and who waits there.
"""

from exporter.metrics.family import Text
from grafana.colours import BLUE, GREEN, GREY, ORANGE, VERMILION
from grafana.overview import jobs_in
from grafana.parts import (
    QUEUED,
    RUNNING,
    Dashboard,
    Panel,
    Query,
    Row,
    bar_cell,
    coloured_cell,
    lines,
    named,
    number,
    override,
    ranking,
    table,
    values,
)
from grafana.variables import CAPACITY_QUEUE, IN_CAPACITY, IN_REGION, REGION

BY: str = "hpc_cluster, queue"
NOT_COLLECTED = Text("no data of queue_capacity", "queue_capacity 无数据")
FREE_CPUS, STATE, PRICE = Text("Free cores", "空闲核数"), Text("State", "状态"), Text("Price", "价格")


def of_queues(family: str, matchers: str = "") -> str:
    """Queues of one name are added up, as the queue statistics do."""
    return f"sum by ({BY}) ({family}{{{IN_CAPACITY}{matchers}}})"


# A queue that is disabled has no room, whatever is free in it.
OPEN = f"(max by ({BY}) (hpc_queue_enabled{{{IN_CAPACITY}}}) != 0)"
CLOSED = f"(max by ({BY}) (hpc_queue_enabled{{{IN_CAPACITY}}}) == 0)"


def limit(resource: str) -> str:
    return f'max by ({BY}) (hpc_queue_limit{{{IN_CAPACITY}, resource="{resource}"}})'


def where_open(expression: str) -> str:
    return f"({expression} unless on ({BY}) {CLOSED})"


def in_known_queues(state: str) -> str:
    """Jobs of the queues that are listed here, but for other names that only the jobs have."""
    return f"({jobs_in(state, BY)}) and on ({BY}) {of_queues('hpc_queue_cpus')}"


FREE = where_open(of_queues("hpc_queue_free_cpus"))
ENABLED = f"max by ({BY}) (hpc_queue_enabled{{{IN_CAPACITY}}})"
# 0: closed, 1: open, 2: open, and no core is free.
QUEUE_STATE = f"({ENABLED} + on ({BY}) ({FREE} == bool 0)) or {ENABLED}"
NO_ROOM = values(v0=(Text("full", "已满"), GREY))
# A full queue's bar has the mark of its end only, which is not to look like room.
ROOM = ((None, GREY), (1, GREEN))
SHARE = f"{FREE} / on ({BY}) ({of_queues('hpc_queue_cpus')} > 0)"


def limits(title: Text, en: str, zh: str, expr: str, of: str) -> Panel:
    """Return a table with a line for each limit, `of` a queue or a user."""
    columns = [*named(of, "hpc_cluster", "resource"), (Text("Limit", "上限"), expr)]
    return table(title, en, zh, columns, sort=None, size=(12, 8), unit="none", no_value=Text("none", "无"))


BOARD = Dashboard(
    uid="hpc-submitting",
    title=Text("HPC / 7 Where to submit", "HPC / 7 提交到哪里"),
    description=Text("Which queue has room for a job now?", "现在哪个队列有空位？"),
    variables=[REGION, CAPACITY_QUEUE],
    panels=[
        ranking(
            Text("Most free cores", "现在最空的队列"),
            "Queues that are open, the one with most free cores first: submit there. Full: no core is free. Only queues "
            "that the token's user may use are known here.",
            "已启用的队列，空闲核数最多的在前：优先提交到那里。已满：没有空闲核。这里只有令牌用户可用的队列。",
            f"topk(6, {FREE})",
            names=named("queue", "hpc_cluster"),
            value=FREE_CPUS,
            size=(9, 8),
            steps=ROOM,
            mappings=NO_ROOM,
            no_value=NOT_COLLECTED,
        ),
        ranking(
            Text("First jobs: 9 in 10 start within", "第一个作业：10 次中 9 次的等待上界"),
            "For the first job that a user submits now, if it is not held; nothing is promised to further jobs submitted together "
            "with it, nor to unusually large ones. Queues without a bound are missing. How often such bounds held: see Waiting.",
            "仅针对用户现在提交的第一个、且未被保留的作业；不适用于一同提交的其余作业，也不适用于特别大的作业。没有上界的队列不在其中。"
            "以往有多准：见“等待”看板。",
            'max by (hpc_cluster, queue, accelerated) (hpc_wait_bound_seconds{hpc_cluster=~"$region", queue!="", quantile="0.9"})',
            names=named("queue", "hpc_cluster", "accelerated"),
            value=Text("Within", "不超过"),
            falling=False,
            unit="s",
            size=(9, 8),
            no_value=Text("too little is known", "已知太少"),
        ),
        number(
            Text("Free cores", "空闲核数占比"),
            "Free cores of the open queues, of all their cores. Below a tenth: expect to wait, see the dashboard Waiting.",
            "已启用队列中空闲核数占总核数的比例。低于一成：预计需要等待，见“等待”看板。",
            f"sum({FREE}) / sum({of_queues('hpc_queue_cpus')})",
            unit="percentunit",
            size=(3, 8),
            options={"graphMode": "none"},
            steps=((None, VERMILION), (0.02, ORANGE), (0.1, GREEN)),
            no_value=NOT_COLLECTED,
        ),
        number(
            Text("Open queues", "启用队列"),
            "Queues that accept jobs. Fewer than usual: one was disabled, see the table below and the runbook HPCQueueDisabled.",
            "接收作业的队列数。比平时少：有队列被停用，见下表和处理手册 HPCQueueDisabled。",
            f"count({OPEN})",
            size=(3, 8),
            options={"graphMode": "none"},
            no_value=NOT_COLLECTED,
        ),
        table(
            Text("All queues", "全部队列"),
            "Each queue that the token's user may use, the one with most free cores first. Full: no core is free, so jobs "
            "wait. Closed: it accepts no job now, and nothing in it counts as free. Price: as reported by the region. Running and queued: jobs of the users that are "
            "polled.",
            "令牌用户可用的全部队列，空闲核数最多的在前。已满：没有空闲核，作业要排队。停用：目前不接收作业，其中的资源不算空闲。价格按区域给出的数值。"
            "运行和排队：被轮询用户的作业。",
            [
                *named("queue", "hpc_cluster"),
                (STATE, QUEUE_STATE),
                (FREE_CPUS, FREE),
                (Text("All cores", "总核数"), of_queues("hpc_queue_cpus")),
                (Text("Free nodes", "空闲节点"), where_open(of_queues("hpc_queue_free_nodes"))),
                (Text("All nodes", "总节点"), of_queues("hpc_queue_nodes")),
                (Text("GPUs/node", "GPU/节点"), f"{limit('gpus_per_node')} > 0"),
                (Text("DCUs/node", "DCU/节点"), f"{limit('dcus_per_node')} > 0"),
                (PRICE, f"max by ({BY}) (hpc_queue_charge_rate{{{IN_CAPACITY}}})"),
                (RUNNING, in_known_queues("running")),
                (QUEUED, in_known_queues("queued")),
            ],
            sort=FREE_CPUS,
            size=(24, 10),
            unit="none",
            overrides=[
                bar_cell(FREE_CPUS, ROOM, mappings=NO_ROOM, custom__width=180),
                coloured_cell(
                    STATE,
                    mappings=values(
                        v0=(Text("closed", "停用"), VERMILION),
                        v1=(Text("open", "启用"), BLUE),
                        v2=(Text("full", "已满"), ORANGE),
                    ),
                    custom__width=80,
                ),
                override(PRICE, decimals=2),
                coloured_cell(QUEUED, ((None, GREY), (1, ORANGE))),
            ],
        ),
        lines(
            Text("Free cores by queue", "各队列空闲核数"),
            "When does room open up? A queue that is always at the bottom is always full.",
            "什么时候会有空位？一直在底部的队列始终是满的。",
            Query(FREE, "{{queue}} ({{hpc_cluster}})"),
            axis=Text("cores", "核数"),
            size=(24, 7),
        ),
        Row(Text("Limits", "限制")),
        limits(
            Text("Limits of queues", "队列的限制"),
            "The most that a job may have there. No line: no limit. More is rejected, or waits indefinitely.",
            "作业在该队列最多可用的资源。没有记录表示不限。超出会被拒绝，或一直等待。",
            f"max by ({BY}, resource) (hpc_queue_limit{{{IN_CAPACITY}}} > 0)",
            "queue",
        ),
        limits(
            Text("Limits of users", "用户的限制"),
            "The most that a user may have at a time. At the limit, further jobs wait although there is room: see the runbook "
            "HPCMemberAtLimit.",
            "用户同时最多可用的资源。达到上限后，即使有空位，其余作业也要等待：见处理手册 HPCMemberAtLimit。",
            f"max by (hpc_cluster, user, resource) (hpc_user_limit{{{IN_REGION}}})",
            "user",
        ),
    ],
)
