"""The tracker's counts as samples. Pure functions that know the tracker's views only."""

from collections.abc import Iterable, Mapping
from typing import Final

from exporter.metrics.family import Family, Text, counter, gauge, histogram
from exporter.metrics.format import Chunks, chunks_of, histogram_lines, one_each, sample
from exporter.tracking import GroupView, HistogramView, MemberView

_GROUP: Final = ("hpc_cluster", "group")
_QUEUE: Final = (*_GROUP, "queue")
_MEMBER: Final = (*_GROUP, "user")
_MEMBER_GONE: Final = Text(
    "while nothing recent is known of the member; counting goes on when it is back.",
    "没有该成员的近期数据；恢复后接着计数。",
)
_GROUP_GONE: Final = Text(
    "while nothing recent is known of any member of the group; counting goes on when one is back.",
    "没有该组任何成员的近期数据；恢复后接着计数。",
)

JOB_TRANSITIONS: Final = counter(
    "hpc_job_transitions_total",
    (*_MEMBER, "from_state", "to_state"),
    "Changes of a job's state from one poll to the next. From none: first listed; to gone: missing from two "
    "complete listings. States that a job passed through between two polls are not seen.",
    zh="相邻两次轮询之间作业状态的变化。从 none：首次列出；到 gone：连续两次完整列表中都没有。"
    "两次轮询之间经过的状态看不到。",
    absent=Text(
        f"before the first change between two states, which an increase therefore misses, and {_MEMBER_GONE.en}",
        f"两个状态之间第一次变化之前（因此 increase 看不到这第一次）；{_MEMBER_GONE.zh}",
    ),
)

JOBS_FINISHED: Final = counter(
    "hpc_jobs_finished_total",
    (*_MEMBER, "outcome"),
    "Jobs that ended, each job id once, at the first sight of its end. vanished_running and vanished_queued: "
    "no longer listed, without an ended state seen; unknown: last seen in an unknown state; "
    "completed means ended, not succeeded.",
    zh="结束的作业，每个作业号在第一次看到结束时计一次。vanished_running 和 vanished_queued：不再列出，"
    "也没有看到结束状态；unknown：最后一次看到时处于本程序不认识的状态；completed 表示结束，不表示成功。",
    absent=Text(
        f"{_MEMBER_GONE.en} Every outcome is there at 0 from the first list on.",
        f"{_MEMBER_GONE.zh}从第一次列表起，每种结局都从 0 开始。",
    ),
)

JOB_OBSERVED_WAIT: Final = histogram(
    "hpc_job_observed_wait_seconds",
    _QUEUE,
    "Time that jobs waited (queued, held, waiting, or suspended before the first run) until they ran, in seconds: by the "
    "scheduler's own times where a collector tells them, else between the middles of the gaps between two polls, where each "
    "wait is wrong by at most one such gap and a job submitted and started in one gap counts as 0. The queue is empty where "
    "it is not known. See hpc_job_observations_total for the basis, hpc_job_observations_censored_total for what is not in here.",
    zh="作业等待（排队、保留、等待其他作业，或首次运行前被挂起）到运行为止的时间（秒）：有采集项提供调度系统自己的时间时用它，"
    "否则从一个轮询间隔的中点算到另一个的中点，误差不超过一个这样的间隔，在同一间隔内提交并开始运行的作业记为 0。"
    "队列未知时 queue 为空。依据见 hpc_job_observations_total，没有计入的见 hpc_job_observations_censored_total。",
    absent=_GROUP_GONE,
)

JOB_OBSERVED_RUN: Final = histogram(
    "hpc_job_observed_run_seconds",
    _QUEUE,
    "Time that jobs ran (running, or suspended meanwhile), in seconds: by the scheduler's own times where a collector tells "
    "them, else between the middles of the gaps between two polls, where each run is wrong by at most one such gap and runs "
    "that began and ended in one gap are not seen. The queue is empty where it is not known.",
    zh="作业运行（含其间被挂起）的时间（秒）：有采集项提供调度系统自己的时间时用它，否则从一个轮询间隔的中点算到另一个的中点，"
    "误差不超过一个这样的间隔，在同一间隔内开始并结束的运行看不到。队列未知时 queue 为空。",
    absent=_GROUP_GONE,
)

JOB_OBSERVATIONS: Final = counter(
    "hpc_job_observations_total",
    (*_GROUP, "measure", "basis"),
    "Waits and runs that were measured. reported: both ends are the scheduler's own times; polls: at least one is the middle "
    "of the gap between two polls.",
    zh="测得的等待和运行。reported：两端都是调度系统自己的时间；polls：至少一端是两次轮询间隔的中点。",
    absent=Text(
        f"{_GROUP_GONE.en} Every basis is there at 0 from the first list on.",
        f"{_GROUP_GONE.zh}从第一次列表起，每种依据都从 0 开始。",
    ),
)

JOB_OBSERVATIONS_CENSORED: Final = counter(
    "hpc_job_observations_censored_total",
    (*_GROUP, "measure", "reason"),
    "Waits and runs that could not be measured. left_truncated: the job was there at the first poll, or new "
    "after more than three intervals without one; gap: it changed in such a time; vanished: it waited and "
    "never ran in sight.",
    zh="未能测得的等待和运行。left_truncated：第一次轮询时作业已经在，或在三个以上周期没有轮询之后才出现；gap："
    "变化发生在这样一段时间里；vanished：作业等待过，但没有看到它运行。",
    absent=Text(
        f"{_GROUP_GONE.en} Every reason is there at 0 from the first list on.",
        f"{_GROUP_GONE.zh}从第一次列表起，每种原因都从 0 开始。",
    ),
)

MEMBER_OLDEST_QUEUED: Final = gauge(
    "hpc_member_oldest_queued_timestamp_seconds",
    _MEMBER,
    "Unix time at which the longest-waiting listed job of a group member was submitted, or first seen waiting where the list "
    "tells no times, in seconds. Absent when none waits.",
    zh="用户组成员等得最久的作业提交的 Unix 时间（秒）；列表不提供时间时，为首次被看到等待的时间。",
    absent=Text("Also while nothing recent is known.", "没有作业在等待，或没有近期数据。"),
)

MEMBER_UNACCOUNTED: Final = counter(
    "hpc_member_unaccounted_seconds_total",
    _MEMBER,
    "Time for which a group member's resource seconds are not counted, in seconds: what exceeds three "
    "intervals in the gaps between two successful polls.",
    zh="没有计入成员资源时间的时长（秒）：两次成功轮询的间隔超出三个轮询周期的部分。",
    absent=_MEMBER_GONE,
)

# By the attribute of tracking.MemberView that they show.
RESOURCE_SECONDS: Final[Mapping[str, Family]] = {
    f"{resource}_seconds": counter(
        f"hpc_member_{resource}_seconds_total",
        _MEMBER,
        f"{text.en} in use by a group member's jobs over time, in seconds times {text.en}: the mean of two polls times the "
        "time between them, at most three intervals of it. Jobs whose amount is unknown add nothing. "
        "Absent until an amount was listed.",
        zh=f"用户组成员的作业占用{text.zh}的累计时间，单位为{unit}：两次轮询的平均值乘以间隔，间隔最多按三个轮询周期计。"
        "数量未知的作业不计入。",
        absent=Text(f"Also {_MEMBER_GONE.en}", f"第一次列出数量之前；{_MEMBER_GONE.zh}"),
    )
    for resource, text, unit in (
        ("cpu", Text("CPU cores", " CPU 核"), "核秒"),
        ("gpu", Text("GPUs", " GPU "), " GPU 秒"),
        ("dcu", Text("DCUs", " DCU "), " DCU 秒"),
    )
}
FAMILIES: Final = (
    JOB_TRANSITIONS,
    JOBS_FINISHED,
    JOB_OBSERVED_WAIT,
    JOB_OBSERVED_RUN,
    JOB_OBSERVATIONS,
    JOB_OBSERVATIONS_CENSORED,
    MEMBER_OLDEST_QUEUED,
    *RESOURCE_SECONDS.values(),
    MEMBER_UNACCOUNTED,
)


def tracked_member(hpc_cluster: str, group: str, user: str, view: MemberView) -> Chunks:
    """Return a member's counters. Every outcome has a sample from the start, a transition once it occurred."""
    labels = (hpc_cluster, group, user)
    return {
        **_counts(JOB_TRANSITIONS, labels, view.transitions.items()),
        **_counts(JOBS_FINISHED, labels, (((outcome,), count) for outcome, count in view.finished.items())),
        **one_each({MEMBER_OLDEST_QUEUED: view.oldest_queued, MEMBER_UNACCOUNTED: view.unaccounted_seconds}, labels),
        **one_each({family: getattr(view, name) for name, family in RESOURCE_SECONDS.items()}, labels),
    }


def tracked_group(hpc_cluster: str, group: str, view: GroupView) -> Chunks:
    """Return a group's waits and runs. Every kind of censored observation has a sample from the start."""
    labels = (hpc_cluster, group)
    return {
        **_by_queue(JOB_OBSERVED_WAIT, labels, view.waits),
        **_by_queue(JOB_OBSERVED_RUN, labels, view.runs),
        **_counts(JOB_OBSERVATIONS, labels, view.observed.items()),
        **_counts(JOB_OBSERVATIONS_CENSORED, labels, view.censored.items()),
    }


def _by_queue(family: Family, labels: tuple[str, ...], views: Mapping[str, HistogramView]) -> Chunks:
    return {family: b"".join(histogram_lines(family, (*labels, queue), views[queue]) for queue in sorted(views))}


def _counts(family: Family, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]) -> Chunks:
    return chunks_of({family: [sample(family, (*labels, *kind), count) for kind, count in sorted(counts)]})
