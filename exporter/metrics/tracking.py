"""The tracker's counts as samples. Pure functions that know the tracker's views only."""

from collections.abc import Iterable, Mapping
from typing import Final

from exporter.metrics.family import Family, Text, counter, gauge, histogram
from exporter.metrics.format import Chunks, chunks_of, histogram_lines, named_sample, one_each, sample
from exporter.tracking import GroupTotals, Histogram, MemberTotals, WaitView

_GROUP: Final = ("hpc_cluster", "group")
_QUEUE: Final = (*_GROUP, "queue")
_MEMBER: Final = (*_GROUP, "user")
_MEMBER_GONE: Final = Text(
    "while there is no recent data of the member; counting resumes with the next list.",
    "没有该成员的近期数据；恢复后接着计数。",
)
_GROUP_GONE: Final = Text(
    "while there is no recent data of any member of the group; counting resumes with the next list.",
    "没有该组任何成员的近期数据；恢复后接着计数。",
)

JOB_TRANSITIONS: Final = counter(
    "hpc_job_transitions_total",
    (*_MEMBER, "from_state", "to_state"),
    "State changes of jobs from one poll to the next. from_state none: first listed; to_state gone: missing from two complete "
    "lists. States that a job passes through between two polls are not seen.",
    zh="相邻两次轮询之间作业状态的变化次数。from_state 为 none：首次列出；to_state 为 gone：连续两次完整列表中都没有。"
    "两次轮询之间经过的状态观测不到。",
    absent=Text(
        f"before the first change between two states, which an increase therefore misses, and {_MEMBER_GONE.en}",
        f"两个状态之间第一次变化之前（因此 increase 看不到这第一次）；{_MEMBER_GONE.zh}",
    ),
)

JOBS_FINISHED: Final = counter(
    "hpc_jobs_finished_total",
    (*_MEMBER, "outcome"),
    "Jobs that ended, by outcome; each job id is counted once, when its end is first seen. vanished_running and "
    "vanished_queued: no longer listed, and no final state was seen; unknown: last seen in an unknown state; completed means "
    "ended, not succeeded.",
    zh="已结束的作业数，按结果分；每个作业号只在首次观测到结束时计一次。vanished_running 和 vanished_queued：不再列出，"
    "且未观测到结束状态；unknown：最后一次观测到的状态未知；completed 表示结束，不代表成功。",
    absent=Text(
        f"{_MEMBER_GONE.en} Every outcome is there at 0 from the first list on.",
        f"{_MEMBER_GONE.zh}从第一次列表起，每种结局都从 0 开始。",
    ),
)

JOB_OBSERVED_WAIT: Final = histogram(
    "hpc_job_observed_wait_seconds",
    _QUEUE,
    "Wait time of jobs (queued, held, waiting, or suspended before the first run) until they start, in seconds: by the "
    "scheduler's own timestamps where a collector reports them, otherwise between the midpoints of the gaps between two polls, "
    "with an error of at most one such gap; a job submitted and started within one gap counts as 0. The queue is empty where it "
    "is unknown. See hpc_job_observations_total for the basis and hpc_job_observations_censored_total for jobs left out.",
    zh="作业从等待（排队、保留、等待其他作业，或首次运行前被挂起）到开始运行的时间（秒）：采集项提供调度系统自身时间戳时以其为准，"
    "否则取轮询间隔的中点，误差不超过一个间隔，同一间隔内提交并开始运行的作业记为 0。"
    "队列未知时 queue 为空。测量依据见 hpc_job_observations_total，未计入的作业见 hpc_job_observations_censored_total。",
    absent=_GROUP_GONE,
)

JOB_OBSERVED_RUN: Final = histogram(
    "hpc_job_observed_run_seconds",
    _QUEUE,
    "Run time of jobs (running, or suspended meanwhile), in seconds: by the scheduler's own timestamps where a collector "
    "reports them, otherwise between the midpoints of the gaps between two polls, with an error of at most one such gap; a run "
    "that starts and ends within one gap is not seen. The queue is empty where it is unknown.",
    zh="作业运行（含其间被挂起）的时间（秒）：采集项提供调度系统自身时间戳时以其为准，否则取轮询间隔的中点，误差不超过一个间隔，"
    "同一间隔内开始并结束的运行观测不到。队列未知时 queue 为空。",
    absent=_GROUP_GONE,
)

JOB_OBSERVATIONS: Final = counter(
    "hpc_job_observations_total",
    (*_GROUP, "measure", "basis"),
    "Measured waits and runs, by basis. reported: both ends are the scheduler's own timestamps; polls: at least one is the "
    "midpoint between two polls.",
    zh="已测得的等待和运行次数，按依据分。reported：两端都是调度系统自身的时间戳；polls：至少一端是两次轮询间隔的中点。",
    absent=Text(
        f"{_GROUP_GONE.en} Every basis is there at 0 from the first list on.",
        f"{_GROUP_GONE.zh}从第一次列表起，每种依据都从 0 开始。",
    ),
)

JOB_OBSERVATIONS_CENSORED: Final = counter(
    "hpc_job_observations_censored_total",
    (*_GROUP, "measure", "reason"),
    "Waits and runs that could not be measured, by reason. left_truncated: the job was already listed at the first poll, or "
    "appeared after more than three intervals without one; gap: it changed state during such an interruption; vanished: it was "
    "seen waiting and never running.",
    zh="未能测得的等待和运行次数，按原因分。left_truncated：首次轮询时作业已存在，或在轮询中断超过三个周期之后才出现；gap："
    "状态变化发生在这样的中断期间；vanished：观测到作业等待，但未观测到其运行。",
    absent=Text(
        f"{_GROUP_GONE.en} Every reason is there at 0 from the first list on.",
        f"{_GROUP_GONE.zh}从第一次列表起，每种原因都从 0 开始。",
    ),
)

MEMBER_OLDEST_QUEUED: Final = gauge(
    "hpc_member_oldest_queued_timestamp_seconds",
    _MEMBER,
    "Unix time at which the longest-waiting listed job of a group member was submitted, or first seen waiting where the list has "
    "no timestamps, in seconds. Absent when no job waits.",
    zh="用户组成员等待最久的作业的提交时间，Unix 时间（秒）；列表不含时间时，为首次观测到其等待的时间。",
    absent=Text("Also while there is no recent data.", "没有作业在等待，或没有近期数据。"),
)

MEMBER_UNACCOUNTED: Final = counter(
    "hpc_member_unaccounted_seconds_total",
    _MEMBER,
    "Time not covered by a group member's resource seconds, in seconds: the part beyond three intervals of each gap between "
    "two successful polls.",
    zh="未计入成员资源用量的时长（秒）：两次成功轮询的间隔超出三个轮询周期的部分。",
    absent=_MEMBER_GONE,
)

# By the attribute of tracking.MemberTotals that they show.
RESOURCE_SECONDS: Final[Mapping[str, Family]] = {
    f"{resource}_seconds": counter(
        f"hpc_member_{resource}_seconds_total",
        _MEMBER,
        f"{text.en} allocated to a group member's jobs, accumulated over time, in seconds times {text.en}: the mean of two polls "
        "times the time between them, at most three intervals. Jobs whose amount is unknown add nothing. "
        "Absent until an amount was listed.",
        zh=f"用户组成员的作业占用{text.zh}的累计用量，单位为{unit}：两次轮询的平均值乘以间隔，间隔最多按三个轮询周期计。"
        "数量未知的作业不计入。",
        absent=Text(f"Also {_MEMBER_GONE.en}", f"第一次列出数量之前；{_MEMBER_GONE.zh}"),
    )
    for resource, text, unit in (
        ("cpu", Text("CPU cores", " CPU 核"), "核秒"),
        ("gpu", Text("GPUs", " GPU "), " GPU 秒"),
        ("dcu", Text("DCUs", " DCU "), " DCU 秒"),
    )
}
_WAIT_CLASS: Final = (*_QUEUE, "quantile")
_NO_BOUND: Final = Text(
    "while there is no recent data of the queue or group.",
    "没有该队列或用户组的近期数据。",
)
_SCORE_GONE: Final = Text(
    "until there is a bound to check, and " + _NO_BOUND.en,
    "还没有可以检验的上界；" + _NO_BOUND.zh,
)

WAIT_BOUND: Final = gauge(
    "hpc_wait_bound_seconds",
    _WAIT_CLASS,
    "Upper bound of the wait time of the first job that a user submits now, in seconds: it starts within this time with "
    "probability quantile, at 95 % confidence, unless it is held or waits for another job. It does not apply to further jobs "
    "submitted together with it. Per queue, or per group where the queue is unknown; jobs that request GPUs or DCUs have separate "
    'series, with the additional label accelerated="true". Absent while too few waits are known, or such bounds failed too often '
    "recently: see hpc_wait_bound_held_total.",
    zh="用户现在提交的第一个作业的等待时间上界（秒）：只要未被保留、也不等待其他作业，它以 quantile 的概率在此时间内开始运行，"
    "置信度 95%。不适用于一同提交的其余作业。按队列计算，队列未知时按用户组；申请 GPU 或 DCU 的作业单独计算，其序列另有标签 "
    'accelerated="true"。',
    absent=Text(
        f"Also {_NO_BOUND.en}",
        f"已知的等待太少，或近来这类上界失准过多（见 hpc_wait_bound_held_total）；{_NO_BOUND.zh}",
    ),
)

WAIT_BOUND_CHECKED: Final = counter(
    "hpc_wait_bound_checked_total",
    _WAIT_CLASS,
    "Wait bounds that were checked: the first of the jobs that a user submits together is given the bounds of that moment, "
    "which are checked when it starts, or as soon as it has waited longer. Bounds that were withheld are counted, too.",
    zh="已检验的等待时间上界数：用户一同提交的作业中，第一个按当时的上界检验，在其开始运行时检验，等待超过上界则立即检验。"
    "未对外提供的上界也计入。",
    absent=_SCORE_GONE,
)

WAIT_BOUND_HELD: Final = counter(
    "hpc_wait_bound_held_total",
    _WAIT_CLASS,
    "Wait bounds that held: those of hpc_wait_bound_checked_total whose job started in time.",
    zh="成立的等待时间上界数：hpc_wait_bound_checked_total 中作业在上界之内开始运行的部分。",
    absent=_SCORE_GONE,
)

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
    WAIT_BOUND,
    WAIT_BOUND_CHECKED,
    WAIT_BOUND_HELD,
)


def tracked_member(hpc_cluster: str, group: str, user: str, totals: MemberTotals) -> Chunks:
    """Return a member's counters. Every outcome has a sample from the start, a transition once it occurred."""
    labels = (hpc_cluster, group, user)
    return {
        **_counts(JOB_TRANSITIONS, labels, totals.transitions.items()),
        **_counts(JOBS_FINISHED, labels, (((outcome,), count) for outcome, count in totals.finished.items())),
        **one_each(
            {MEMBER_OLDEST_QUEUED: totals.oldest_queued, MEMBER_UNACCOUNTED: totals.unaccounted_seconds}, labels
        ),
        **one_each({family: getattr(totals, name) for name, family in RESOURCE_SECONDS.items()}, labels),
    }


def tracked_group(hpc_cluster: str, group: str, totals: GroupTotals) -> Chunks:
    """Return a group's waits and runs. Every kind of censored observation has a sample from the start."""
    labels = (hpc_cluster, group)
    return {
        **_by_queue(JOB_OBSERVED_WAIT, labels, {queue: spells.waits for queue, spells in totals.queues.items()}),
        **_by_queue(JOB_OBSERVED_RUN, labels, {queue: spells.runs for queue, spells in totals.queues.items()}),
        **_counts(JOB_OBSERVATIONS, labels, totals.observed.items()),
        **_counts(JOB_OBSERVATIONS_CENSORED, labels, totals.censored.items()),
    }


def waits(hpc_cluster: str, groups: Mapping[str, str], views: Iterable[WaitView]) -> Chunks:
    """Return the bounds of waits in a region: of queues, and of the `groups` shown, whose labels are by their ids.

    The score of a quantile is there, at 0, as soon as it has a bound.
    """
    lines: dict[Family, list[str]] = {WAIT_BOUND: [], WAIT_BOUND_CHECKED: [], WAIT_BOUND_HELD: []}
    for view in views:
        _, group_id, queue, accelerated = view.key
        if not queue and group_id not in groups:
            continue
        labels = {"hpc_cluster": hpc_cluster, "group": "" if queue else groups[group_id], "queue": queue}
        for promise in view.promises:
            labels["quantile"] = f"{promise.quantile:g}"
            if accelerated:
                labels["accelerated"] = "true"
            if promise.seconds is not None:
                lines[WAIT_BOUND].append(named_sample(WAIT_BOUND.name, labels, promise.seconds))
            if promise.seconds is not None or promise.checked:
                lines[WAIT_BOUND_CHECKED].append(named_sample(WAIT_BOUND_CHECKED.name, labels, promise.checked))
                lines[WAIT_BOUND_HELD].append(named_sample(WAIT_BOUND_HELD.name, labels, promise.held))
    return chunks_of(lines)


def _by_queue(family: Family, labels: tuple[str, ...], histograms: Mapping[str, Histogram]) -> Chunks:
    lines = (histogram_lines(family, (*labels, queue), histograms[queue]) for queue in sorted(histograms))
    return {family: b"".join(lines)}


def _counts(family: Family, labels: tuple[str, ...], counts: Iterable[tuple[tuple[str, ...], int]]) -> Chunks:
    return chunks_of({family: [sample(family, (*labels, *kind), count) for kind, count in sorted(counts)]})
