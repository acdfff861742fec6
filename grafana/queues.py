"""Queues.

Which one is clogged, by whom, and since when?
"""

from exporter.metrics.family import Text
from grafana.colours import ORANGE, SKY, STATE_COLOURS, VERMILION
from grafana.parts import (
    HELD,
    JOBS,
    QUEUED,
    RUNNING,
    Dashboard,
    Query,
    Row,
    bar_cell,
    bars,
    coloured,
    lines,
    named,
    number,
    ranking,
    seconds,
    table,
)
from grafana.variables import IN_QUEUE, IN_REGION, QUEUE, QUEUE_USER, REGION

NOT_COUNTED = Text("no queue statistics", "无队列统计")


def of_queues(state: str, by: str) -> str:
    return f'sum by ({by}) (hpc_queue_jobs{{{IN_QUEUE}, state="{state}"}})'


NO_START = Text("No start for", "距上次启动")

# A start is seen as fewer queued or more running jobs; the subquery looks back a day for the last one.
_STARTS = (
    f'(sum by (hpc_cluster, queue) (resets(hpc_queue_jobs{{{IN_QUEUE}, state="queued"}}[10m])) '
    f'+ sum by (hpc_cluster, queue) (changes(hpc_queue_jobs{{{IN_QUEUE}, state="running"}}[10m]) '
    f'- resets(hpc_queue_jobs{{{IN_QUEUE}, state="running"}}[10m])))'
)
LAST_START = f"time() - max_over_time(((timestamp({_STARTS} > 0)))[1d:5m])"

CLOGGED = table(
    Text("Which queue is clogged?", "哪个队列堵塞？"),
    "Queues now, the fullest first. No start for: time since the last start of a watched job, within the last day. "
    "Orange after one hour with jobs queued, red after three: see the runbook HPCQueueStuck.",
    "当前各队列，最满的在前。距上次启动：一天内距最近一次看到作业启动的时间。一小时以上橙色，三小时以上红色：见处理手册 HPCQueueStuck。",
    [
        *named("hpc_cluster", "queue"),
        (QUEUED, of_queues("queued", "hpc_cluster, queue")),
        (RUNNING, of_queues("running", "hpc_cluster, queue")),
        (HELD, of_queues("held", "hpc_cluster, queue")),
        (NO_START, f"({LAST_START}) and {of_queues('queued', 'hpc_cluster, queue')} > 0"),
    ],
    sort=QUEUED,
    size=(12, 8),
    overrides=[
        bar_cell(QUEUED, ((None, ORANGE),)),
        seconds(NO_START, ((None, SKY), (3600, ORANGE), (10800, VERMILION))),
    ],
)

BOARD = Dashboard(
    uid="hpc-queues",
    title=Text("HPC / 2 Queues", "HPC / 2 队列"),
    description=Text("Which queue is clogged, and by whom?", "哪个队列堵塞，由谁造成？"),
    variables=[REGION, QUEUE_USER, QUEUE],
    panels=[
        CLOGGED,
        number(
            Text("Queued / running", "排队/运行比"),
            "Queued jobs for each running one. Above 1, new jobs wait at least as long as running ones take.",
            "每个运行作业对应的排队作业数。大于 1 时，新作业至少要等一轮运行时间。",
            f'sum(hpc_queue_jobs{{{IN_QUEUE}, state="queued"}}) / (sum(hpc_queue_jobs{{{IN_QUEUE}, state="running"}}) > 0)',
            unit="none",
            size=(4, 8),
            steps=((None, SKY), (1, ORANGE)),
            no_value=Text("none known", "未见运行"),
            defaults={"decimals": 1},
        ),
        ranking(
            Text("Most queued jobs", "谁排队最多"),
            "Queued jobs by user. One user far ahead of all others may block them: ask, or set a limit in the region.",
            "各用户的排队作业数。某个用户远多于他人时可能堵塞队列：请与其沟通或在区域设置限额。",
            f"topk(8, {of_queues('queued', 'user')})",
            names=named("user"),
            value=QUEUED,
            size=(8, 8),
            steps=((None, ORANGE),),
            no_value=NOT_COUNTED,
        ),
        Row(Text("Over time", "变化趋势")),
        lines(
            Text("Queued jobs by queue", "各队列排队作业数"),
            "Rising for hours is a clog; flat and high is a full queue; a saw-tooth is one that works through its backlog.",
            "持续上升为堵塞；高位持平为已满；锯齿形为正常消化积压。",
            Query(of_queues("queued", "hpc_cluster, queue"), "{{hpc_cluster}} {{queue}}"),
            axis=JOBS,
            size=(12, 8),
        ),
        lines(
            Text("Running jobs by queue", "各队列运行作业数"),
            "Falling while jobs are queued: nodes are lost or set aside for maintenance. Ask the region.",
            "有排队而运行下降：节点故障或被预留维护，请联系区域。",
            Query(of_queues("running", "hpc_cluster, queue"), "{{hpc_cluster}} {{queue}}"),
            axis=JOBS,
            size=(12, 8),
        ),
        lines(
            Text("Jobs by state", "各状态作业数"),
            "All chosen queues together. Held jobs do not start by themselves: see the runbook HPCJobsHeld.",
            "所选队列合计。保留的作业不会自行启动：见处理手册 HPCJobsHeld。",
            Query(f"sum by (state) (hpc_queue_jobs{{{IN_QUEUE}}})", "{{state}}"),
            stacked=True,
            axis=JOBS,
            size=(12, 8),
            overrides=coloured(STATE_COLOURS),
        ),
        bars(
            Text("Observed starts", "可见的作业启动"),
            "Times that a queue had fewer queued or more running jobs than at the poll before, in ten minutes: at least that "
            "many jobs started or were withdrawn. Nothing for hours with jobs queued: the queue is stuck.",
            "十分钟内队列的排队数减少或运行数增加的次数，即至少启动（或撤回）的作业数。数小时为零且有排队：队列停滞。",
            Query(_STARTS, "{{hpc_cluster}} {{queue}}"),
            axis=Text("starts", "启动次数"),
            size=(12, 8),
        ),
        Row(Text("Batch systems", "调度系统")),
        table(
            Text("Batch systems of the regions", "各区域的调度系统"),
            "The schedulers that each region lists. A region that works and has no row here: see the runbook HPCNoSchedulers.",
            "各区域列出的调度系统。区域正常但此处无记录：见处理手册 HPCNoSchedulers。",
            [
                *named("hpc_cluster"),
                ("scheduler_name", Text("Name", "名称")),
                ("scheduler_type", Text("Type", "类型")),
                ("scheduler_id", Text("Id", "编号")),
                (None, f"hpc_scheduler_info{{{IN_REGION}}}"),
            ],
            sort=None,
            no_value=Text("none listed", "未列出"),
            size=(8, 7),
            unit="none",
        ),
        lines(
            Text("Jobs by user", "各用户作业数"),
            "Running and queued jobs of the chosen users and queues together. Pick a user above to see one alone.",
            "所选用户和队列的运行与排队作业合计。可在上方选择单个用户。",
            Query(f'sum by (user) (hpc_queue_jobs{{{IN_QUEUE}, state=~"running|queued"}})', "{{user}}"),
            axis=JOBS,
            size=(8, 7),
        ),
        lines(
            Text("Cores of the regions", "各区域核数"),
            "CPU cores in use, free and unavailable in the chosen regions together, as reported by the regions. Needs the collector "
            "region_cores.",
            "所选区域中已使用、未使用和不可用的 CPU 核数合计，由区域给出。需要启用采集项 region_cores。",
            Query(f"sum by (state) (max by (hpc_cluster, state) (hpc_cluster_cpus{{{IN_REGION}}}))", "{{state}}"),
            stacked=True,
            axis=Text("cores", "核数"),
            size=(8, 7),
        ),
    ],
)
