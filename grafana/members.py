"""Member and group.

Resources, waits, sums and outcomes by user.
"""

from exporter.metrics.family import Text
from grafana.colours import OUTCOME_COLOURS, REASON_COLOURS, STATE_COLOURS, WAITING
from grafana.parts import (
    HELD,
    JOBS,
    QUEUED,
    RUNNING,
    Dashboard,
    Panel,
    Query,
    Row,
    bars,
    coloured,
    dashed,
    lines,
    named,
    override,
    ranking,
    seconds,
    table,
)
from grafana.variables import GROUP, IN_GROUP, IN_REGION, MEMBER, OF_MEMBER, REGION

NONE_LISTED = Text("no member lists", "无成员列表")
WHO = "hpc_cluster, group, user"
NAMES = named("hpc_cluster", "group", "user")
CORES, CARDS = Text("cores", "核"), Text("cards", "卡")


def allocated(resource: str, by: str) -> str:
    return f"sum by ({by}) (hpc_member_allocated_{resource}{{{OF_MEMBER}}})"


def listed(state: str) -> str:
    return f'sum by ({WHO}) (hpc_member_jobs{{{OF_MEMBER}, state="{state}"}})'


def hours(resource: str) -> str:
    """Resource-hours over the time on screen."""
    return f"sum by ({WHO}) (increase(hpc_member_{resource}_seconds_total{{{OF_MEMBER}}}[$__range])) / 3600"


def held_now(resource: str) -> Panel:
    name, unit = {
        "cpus": (Text("CPU cores in use", "CPU 核使用"), CORES),
        "gpus": (Text("GPUs in use", "GPU 使用"), CARDS),
        "dcus": (Text("DCUs in use", "DCU 使用"), CARDS),
    }[resource]
    return lines(
        name,
        "Allocated to each user's jobs. Compare with the requested amounts below: the difference is waiting.",
        "各用户作业占用的资源。与下方申请量比较，差额即为等待中的需求。",
        Query(allocated(resource, "user"), "{{user}}"),
        stacked=True,
        axis=unit,
    )


def asked(resource: str) -> str:
    return f'sum by (user) (hpc_member_requested_{resource}{{{OF_MEMBER}, state="queued"}})'


WAITS = Text("Waits for", "最长等待")
WHO_USES = table(
    Text("Who uses what, and waits how long?", "谁在使用什么，等待多久？"),
    "Each member now. The longest-waiting job turns orange after half a day, red after a day: see the runbook "
    "HPCJobWaitingTooLong. Held jobs do not start by themselves.",
    "各成员当前情况。等待超过半天橙色，超过一天红色：见处理手册 HPCJobWaitingTooLong。保留的作业不会自行启动。",
    [
        *NAMES,
        (RUNNING, listed("running")),
        (QUEUED, listed("queued")),
        (HELD, listed("held")),
        (Text("Cores", "CPU 核"), allocated("cpus", WHO)),
        (Text("GPUs", "GPU"), allocated("gpus", WHO)),
        (Text("DCUs", "DCU"), allocated("dcus", WHO)),
        (WAITS, f"max by ({WHO}) (time() - hpc_member_oldest_queued_timestamp_seconds{{{OF_MEMBER}}})"),
    ],
    sort=WAITS,
    size=(16, 9),
    overrides=[seconds(WAITS, WAITING)],
)

ENDED = ranking(
    Text("How jobs ended", "作业结束方式"),
    "Jobs that ended in the time on screen, all chosen members together. Vanished: no longer listed, how it ended is not "
    "known; completed means ended, not succeeded. Many that fail: see the runbook HPCJobsFailing.",
    "所选时段内结束的作业。vanished：不再列出，结束方式未知；completed 表示已结束，不代表成功。失败较多：见处理手册 HPCJobsFailing。",
    f"sum by (outcome) (increase(hpc_jobs_finished_total{{{OF_MEMBER}}}[$__range]))",
    names=named("outcome"),
    value=Text("Jobs", "作业数"),
    size=(8, 9),
    no_value=NONE_LISTED,
    defaults={"decimals": 0},
)

CORE_HOURS, UNACCOUNTED = Text("Core-hours", "CPU 核时"), Text("Unaccounted", "未计入")
HOURS = table(
    Text("Resource-hours", "资源小时数"),
    "Resources that members used in the time on screen, from the tracker: the mean of two polls times the time between them. "
    "Unaccounted is time in long gaps between polls, which is not counted: the hours are then a lower bound.",
    "所选时段内各成员的资源用量：两次轮询均值乘以间隔。“未计入”为轮询长间隔中的时间，此时小时数为下限。",
    [
        *NAMES,
        (CORE_HOURS, hours("cpu")),
        (Text("GPU-hours", "GPU 卡时"), hours("gpu")),
        (Text("DCU-hours", "DCU 卡时"), hours("dcu")),
        (UNACCOUNTED, f"sum by ({WHO}) (increase(hpc_member_unaccounted_seconds_total{{{OF_MEMBER}}}[$__range]))"),
    ],
    sort=CORE_HOURS,
    size=(13, 8),
    defaults={"decimals": 1},
    overrides=[override(UNACCOUNTED, custom__width=110), seconds(UNACCOUNTED)],
)

_JOB = "hpc_cluster, user, job_id"
_PER_JOB = (
    ("requested_nodes", Text("Nodes", "节点")),
    ("requested_cpus", Text("Cores requested", "申请核")),
    ("allocated_cpus", Text("Cores allocated", "占用核")),
    ("requested_gpus", Text("GPUs requested", "申请 GPU")),
    ("allocated_gpus", Text("GPUs allocated", "占用 GPU")),
    ("requested_dcus", Text("DCUs requested", "申请 DCU")),
    ("allocated_dcus", Text("DCUs allocated", "占用 DCU")),
)
_TIMES = (("submit", Text("Submitted", "提交时间")), ("start", Text("Started", "开始时间")))
_OF_JOB = {
    "job_id": Text("Job", "作业"),
    "job_name": Text("Name", "名称"),
    "state": Text("State", "状态"),
    "reason": Text("Reason", "原因"),
}
_IN_GROUP_NOW = f"hpc_job_info{{{OF_MEMBER}}}"


def of_job(amount: str) -> str:
    return f'max by ({_JOB}) (hpc_job_{amount}{{{IN_REGION}, user=~"$user"}}) and on ({_JOB}) {_IN_GROUP_NOW}'


SINGLE_JOBS = table(
    Text("Single jobs", "单个作业"),
    "Only with per_job in the configuration, and at most max_jobs of them (see Exporter for how many were left out). "
    "Amounts, reasons and times that the region did not send are empty.",
    "仅在启用 per_job 时显示，最多 max_jobs 个（遗漏数见“Exporter”）。区域未提供的数值、原因和时间为空。",
    [
        *NAMES,
        *((label, name) for label, name in _OF_JOB.items()),
        (None, f"max by ({WHO}, {', '.join(_OF_JOB)}) ({_IN_GROUP_NOW})"),
        *((name, of_job(amount)) for amount, name in _PER_JOB),
        *((name, f"1000 * {of_job(f'{time}_timestamp_seconds')}") for time, name in _TIMES),
    ],
    sort=Text("Cores allocated", "占用核"),
    overrides=[
        override(_OF_JOB["job_id"], unit="string"),
        override(_OF_JOB["job_name"], unit="string", custom__width=260),
        *(override(title, unit="dateTimeAsIso", custom__width=160) for _, title in _TIMES),
    ],
    size=(24, 9),
)

BOARD = Dashboard(
    uid="hpc-members",
    title=Text("HPC / 3 Members and groups", "HPC / 3 成员与用户组"),
    description=Text("Who uses what, and waits how long?", "谁在使用什么，等待多久？"),
    variables=[REGION, GROUP, MEMBER],
    hours=24,
    panels=[
        WHO_USES,
        ENDED,
        Row(Text("In use", "使用情况")),
        held_now("cpus"),
        held_now("gpus"),
        held_now("dcus"),
        Row(Text("Requested by queued jobs", "排队作业的申请量")),
        lines(
            Text("Requested CPU cores and nodes", "申请的 CPU 核与节点"),
            "Requested by queued jobs. More than a queue has will never start: its user has to request less.",
            "排队作业的申请量。超过队列容量的作业永远不会启动，须减少申请。",
            [
                Query(asked("cpus"), Text("{{user}} cores", "{{user}} 核")),
                Query(asked("nodes"), Text("{{user}} nodes", "{{user}} 节点")),
            ],
            axis=Text("cores, nodes", "核、节点"),
            overrides=[dashed("B")],
            size=(12, 8),
        ),
        lines(
            Text("Requested GPUs and DCUs", "申请的 GPU 与 DCU"),
            "Cards requested by queued jobs. If cards are free while these wait, something else is missing.",
            "排队作业申请的加速卡。若有空闲卡却仍在等待，说明缺少其他资源。",
            [Query(asked("gpus"), "{{user}} GPU"), Query(asked("dcus"), "{{user}} DCU")],
            axis=CARDS,
            overrides=[dashed("B")],
            size=(12, 8),
        ),
        Row(Text("Over the time on screen", "所选时段")),
        HOURS,
        bars(
            Text("Finished jobs", "结束的作业"),
            "Jobs that ended, by outcome. Failed, timed out and lost with their node are coloured warm: what burns compute time.",
            "按结果统计的结束作业。失败、超时、节点故障以暖色显示：这些在浪费计算时间。",
            Query(
                f"sum by (outcome) (increase(hpc_jobs_finished_total{{{OF_MEMBER}}}[$__rate_interval]))",
                "{{outcome}}",
            ),
            axis=JOBS,
            size=(11, 8),
            overrides=coloured(OUTCOME_COLOURS),
        ),
        lines(
            Text("Jobs by state", "各状态作业数"),
            "Listed jobs of the chosen members. The state unknown is one that this version does not know: see the runbook HPCUnknownStates.",
            "所选成员的作业。unknown 为本版本未知的状态：见处理手册 HPCUnknownStates。",
            Query(f"sum by (state) (hpc_member_jobs{{{OF_MEMBER}}})", "{{state}}"),
            stacked=True,
            axis=JOBS,
            size=(24, 7),
            overrides=coloured({**OUTCOME_COLOURS, **STATE_COLOURS}),
        ),
        lines(
            Text("Why jobs wait", "作业等待的原因"),
            "The scheduler's reasons, from collectors that report them (live_jobs, own_jobs). limit: a quota of the user or group is "
            "used up; nodes_unavailable and held do not pass by waiting.",
            "调度系统给出的原因，来自提供原因的采集项（live_jobs、own_jobs）。limit 表示用户或用户组的配额已用完；"
            "nodes_unavailable 和 held 不会自行解除。",
            Query(f"sum by (reason) (hpc_pending_jobs{{{OF_MEMBER}}})", "{{reason}}"),
            stacked=True,
            axis=JOBS,
            size=(12, 8),
            overrides=coloured(REASON_COLOURS),
        ),
        lines(
            Text("Running and queued jobs by queue", "各队列运行与排队的作业"),
            "From collectors that report queues. A queue where jobs only wait: see the reasons beside.",
            "来自提供队列的采集项。只排队不运行的队列：参见左侧的等待原因。",
            Query(
                f'sum by (queue, state) (hpc_jobs{{{IN_GROUP}, state=~"running|queued"}})',
                "{{queue}} {{state}}",
            ),
            axis=JOBS,
            size=(12, 8),
        ),
        Row(Text("Single jobs", "单个作业")),
        SINGLE_JOBS,
    ],
)
