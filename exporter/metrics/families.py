"""Records to samples. Pure functions, one for each kind of poll; each gives the lines of one owner.

They run at every poll, so what lines have in common is rendered once. What they leave out is part of their meaning:
an amount that the upstream did not send gives no sample, because unknown is never zero. Queues, states and jobs are
written in a fixed order, so that an unchanged answer gives unchanged bytes whatever order it came in.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter, itemgetter
from typing import Any, Final

from exporter.metrics import catalogue
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks, escape, label_block, number, sample, start, to_bytes
from exporter.records import HOLDS_NOTHING, Job, JobListing, JobState, QueueStatistics, Schedulers

# States that always have a sample, so that a sum or an alert over them never meets a missing series.
_AMOUNT_STATES: Final = frozenset({JobState.RUNNING, JobState.QUEUED})
_MEMBER_STATES: Final = _AMOUNT_STATES | {JobState.HELD, JobState.SUSPENDED}
_QUEUE_STATES: Final = _MEMBER_STATES | {JobState.OTHER}

# The counts of the five states that every queue has; KeyError where one is unknown.
usual_counts: Final[Callable[[Mapping[JobState, int]], tuple[int, int, int, int, int]]] = itemgetter(
    JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED, JobState.OTHER
)

NO_JOBS: Final[Mapping[JobState, int]] = dict.fromkeys(_QUEUE_STATES, 0)

_STATE_LABEL: Final[Mapping[JobState, str]] = {state: f',state="{state}"}}' for state in JobState}
_LABELS_OF: Final[Mapping[frozenset[JobState], Mapping[JobState, str]]] = {
    states: {state: label for state, label in _STATE_LABEL.items() if state in states}
    for states in (_QUEUE_STATES, _MEMBER_STATES)
}
_AMOUNT: Final[Mapping[str, Callable[[Job], Any]]] = {name: attrgetter(name) for name in catalogue.SCNET_JOB_AMOUNTS}


def queue_statistics(hpc_cluster: str, statistics: QueueStatistics, seen: Collection[str]) -> Chunks:
    """A user's jobs by queue and state.

    `seen` names queues of earlier polls: one that is absent now has no jobs, unless it may be among the rows that could
    not be read. Queues of one name are added up. A state without a count is unknown and has no sample.
    """
    queues = by_queue(statistics, seen)
    family = catalogue.SCNET_QUEUE_JOBS
    lines_start = start(family, hpc_cluster, statistics.user)
    lines = [_queue_lines(f'{lines_start},queue="{escape(queue)}"', queues[queue]) for queue in sorted(queues)]
    return _chunks({family: lines})


def by_queue(statistics: QueueStatistics, seen: Collection[str]) -> dict[str, Mapping[JobState, int]]:
    """Jobs by queue and state, as `queue_statistics` shows them."""
    once: dict[str, Mapping[JobState, int]] = {row.queue: row.counts for row in statistics.queues}
    if len(once) == len(statistics.queues) and all(map(once.__contains__, seen)):
        return once
    absent = {} if statistics.rejected else dict.fromkeys(seen, NO_JOBS)
    queues: dict[str, Mapping[JobState, int]] = dict(absent)
    for row in statistics.queues:
        known = queues.get(row.queue, NO_JOBS)
        queues[row.queue] = row.counts if known is NO_JOBS else _added(known, row.counts)
    return queues


def schedulers(hpc_cluster: str, answer: Schedulers) -> Chunks:
    """A region's batch systems. One listed twice by its id is shown once, as it came first."""
    by_id = {scheduler.id: scheduler for scheduler in reversed(answer.schedulers)}
    family = catalogue.SCNET_SCHEDULER_INFO
    lines = [
        sample(family, (hpc_cluster, scheduler.id, scheduler.name, scheduler.type), 1)
        for _, scheduler in sorted(by_id.items())
    ]
    return _chunks({family: lines})


def member_jobs(hpc_cluster: str, group: str, user: str, listing: JobListing) -> Chunks:
    """A member's jobs, and what they request and use, by state. A sum with an unknown summand is left out.

    So is what a listing says that jobs use which hold nothing.
    """
    jobs: dict[JobState, list[Job]] = {state: [] for state in _MEMBER_STATES}
    for job in listing.jobs:
        jobs.setdefault(job.state, []).append(job)

    family = catalogue.SCNET_MEMBER_JOBS
    counts = {state: len(jobs_in_state) for state, jobs_in_state in jobs.items()}
    lines = {family: [_by_state(start(family, hpc_cluster, group, user), counts, _MEMBER_STATES)]}

    with_amounts = [
        (label, jobs[state], state in HOLDS_NOTHING)
        for state, label in _STATE_LABEL.items()
        if state in jobs and (jobs[state] or state in _AMOUNT_STATES)
    ]
    for amount, family in catalogue.SCNET_MEMBER_AMOUNTS.items():
        line_start = start(family, hpc_cluster, group, user)
        lines[family] = [
            f"{line_start}{label} {total}\n"
            for label, in_state, holds_nothing in with_amounts
            if not (holds_nothing and amount.startswith("allocated"))
            and (total := _total(in_state, amount)) is not None
        ]
    return _chunks(lines)


def per_job(hpc_cluster: str, group: str, user: str, jobs: Iterable[Job]) -> Chunks:
    """Series of single jobs. Whoever calls it keeps their number small, and each job id at most once: see `perjob`."""
    lines: defaultdict[Family, list[str]] = defaultdict(list)
    info = catalogue.SCNET_JOB_INFO
    for job in jobs:
        lines[info].append(sample(info, (hpc_cluster, group, user, job.id, job.name, job.state), 1))
        for amount, family in catalogue.SCNET_JOB_AMOUNTS.items():
            value = _AMOUNT[amount](job)
            if value is not None:
                lines[family].append(sample(family, (hpc_cluster, user, job.id), value))
    return _chunks(lines)


def source_up(family: Family, source: str, up: bool | None) -> Chunks:
    """Whether all targets of a region or project work, in the `family` of its kind; `up` is None while not known yet."""
    return {} if up is None else _single(family, (source,), up)


def target_health(
    source: str, endpoint: str, target: str, *, up: bool | None, stale: bool, last_success: float | None
) -> Chunks:
    """How a target's polls go. `up` is None before the first one, `last_success` (Unix seconds) before the first good one."""
    values = {catalogue.TARGET_STALE: stale, catalogue.TARGET_UP: up, catalogue.TARGET_LAST_SUCCESS: last_success}
    labels = label_block(catalogue.TARGET_STALE.labels, (source, endpoint, target))
    return {
        family: to_bytes(f"{family.name}{{{labels}}} {number(value)}\n")
        for family, value in values.items()
        if value is not None
    }


def jobs_dropped(source: str, jobs: int) -> Chunks:
    """Jobs of a region that the cap on per-job series left out: see `PerJobBudget.dropped`."""
    return _single(catalogue.JOBS_DROPPED, (source,), jobs)


def _single(family: Family, labels: tuple[str, ...], value: float) -> Chunks:
    return {family: to_bytes(sample(family, labels, value))}


def _chunks(lines: Mapping[Family, list[str]]) -> Chunks:
    return {family: to_bytes("".join(of_family)) for family, of_family in lines.items() if of_family}


def _queue_lines(line_start: str, counts: Mapping[JobState, int]) -> str:
    """As `_by_state`. Nearly always a queue has the five usual counts and no other: written out, that is thrice as fast."""
    try:
        running, queued, held, suspended, other = usual_counts(counts)
    except KeyError:
        return _by_state(line_start, counts, _QUEUE_STATES)
    if len(counts) > len(_QUEUE_STATES):
        return _by_state(line_start, counts, _QUEUE_STATES)
    return (
        f'{line_start},state="running"}} {running}\n'
        f'{line_start},state="queued"}} {queued}\n'
        f'{line_start},state="held"}} {held}\n'
        f'{line_start},state="suspended"}} {suspended}\n'
        f'{line_start},state="other"}} {other}\n'
    )


def _by_state(line_start: str, counts: Mapping[JobState, int], even_at_zero: frozenset[JobState]) -> str:
    """A line for each state that has jobs, and for those in `even_at_zero` that have a count at all."""
    # Nearly always there is no other state, and looking for all of them would take most of the time.
    labels = _STATE_LABEL if counts.keys() - even_at_zero else _LABELS_OF[even_at_zero]
    return "".join(
        [
            f"{line_start}{label} {count}\n"
            for state, label in labels.items()
            if (count := counts.get(state)) or (count == 0 and state in even_at_zero)
        ]
    )


def _added(one: Mapping[JobState, int], other: Mapping[JobState, int]) -> dict[JobState, int]:
    """The sums; of the states that every queue has, those that are known of both."""
    known = (one.keys() & other.keys()) | ((one.keys() | other.keys()) - _QUEUE_STATES)
    return {state: one.get(state, 0) + other.get(state, 0) for state in known}


def _total(jobs: Collection[Job], amount: str) -> int | None:
    """The sum over the jobs, or None where that of one of them is unknown."""
    values = list(map(_AMOUNT[amount], jobs))
    return None if None in values else sum(values)
