"""Shared by all collectors of members' jobs: families, and the rendering of listings and of single jobs.

An amount that the upstream did not send gives no sample, because unknown is never zero. States and jobs are written in a
fixed order, so that an unchanged answer gives unchanged bytes whatever order it came in.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

from msgspec import Meta

from exporter.metrics.family import Family, Text, gauge
from exporter.metrics.format import Chunks, chunks_of, sample, start
from exporter.records import HOLDS_NOTHING, Job, JobListing, JobState, known_sum
from exporter.sources.collector import Subject
from exporter.sources.figures import STATES, Counts, InUse, MemberFigures
from exporter.sources.once import USUAL_STATES, Column, Once, Shape, Table, count, state_columns, states_to_show
from exporter.sources.source import Context
from exporter.sources.tracked import Followed
from exporter.threads import off_loop

_MEMBER: Final = ("hpc_cluster", "group", "user", "state")

JOBS: Final = gauge(
    "hpc_member_jobs",
    _MEMBER,
    "Listed jobs of a group member, by state. The states running, queued, held and suspended are always present, "
    "others while a job is in them. Absent while nothing recent is known.",
    zh="用户组成员列出的作业数，按作业状态分。始终有运行、排队、保留（held）和挂起（suspended）四种状态，其他状态在有作业时才有。",
)

JOB_INFO: Final = gauge(
    "hpc_job_info",
    (*_MEMBER[:3], "job_id", "job_name", "state"),
    "A listed job with its name and state; always 1. Only with per_job, for at most max_jobs jobs: "
    "see hpc_exporter_jobs_dropped.",
    zh="一个列出的作业及其名称和状态，恒为 1。需要 per_job，最多 max_jobs 个作业，见 hpc_exporter_jobs_dropped。",
    absent=Text(
        "where the job is listed no longer, there was no room left for it, or nothing recent is known.",
        "作业不再列出、已没有名额，或没有近期数据。",
    ),
)

# By the field of records.Job that they show.
_AMOUNTS: Final = {
    "requested_nodes": Text("Nodes requested", "申请的节点数"),
    "requested_cpus": Text("CPU cores requested", "申请的 CPU 核数"),
    "requested_gpus": Text("GPUs requested", "申请的 GPU 数"),
    "requested_dcus": Text("DCUs (accelerator cards) requested", "申请的 DCU（加速卡）数"),
    "allocated_cpus": Text("CPU cores in use", "占用的 CPU 核数"),
    "allocated_gpus": Text("GPUs in use", "占用的 GPU 数"),
    "allocated_dcus": Text("DCUs (accelerator cards) in use", "占用的 DCU（加速卡）数"),
}
AMOUNTS: Final[Mapping[str, Family]] = {
    amount: gauge(
        f"hpc_member_{amount}",
        _MEMBER,
        f"{text.en} by the listed jobs of a group member, by state of the job. The states running and queued are always "
        "present, others while a job is in them. Absent where the amount of a job in that state is unknown.",
        zh=f"用户组成员列出的作业{text.zh}，按作业状态分。始终有运行和排队两种状态，其他状态在有作业时才有。",
        absent=Text("", "处于该状态的某个作业的数量未知。"),
    )
    for amount, text in _AMOUNTS.items()
}
JOB_AMOUNTS: Final[Mapping[str, Family]] = {
    amount: gauge(
        f"hpc_job_{amount}",
        ("hpc_cluster", "user", "job_id"),
        f"{text.en} by a listed job. Only with per_job; absent where the amount is unknown.",
        zh=f"一个列出的作业{text.zh}。需要 per_job。",
        absent=Text(
            "where the amount is unknown, and where hpc_job_info of the job is absent.",
            "数量未知，或该作业的 hpc_job_info 缺失。",
        ),
    )
    for amount, text in _AMOUNTS.items()
}
OF_SINGLE_JOBS: Final = (JOB_INFO, *JOB_AMOUNTS.values())
FAMILIES: Final = (JOBS, *AMOUNTS.values(), *OF_SINGLE_JOBS)

# States that always have a sample, so that a sum or an alert over them never meets a missing series.
_AMOUNT_STATES: Final = frozenset({JobState.RUNNING, JobState.QUEUED})
_MEMBER_STATES: Final = _AMOUNT_STATES | {JobState.HELD, JobState.SUSPENDED}

_STATE_LABEL: Final[Mapping[JobState, str]] = {state: f',state="{state}"}}' for state in JobState}
_AMOUNT: Final[Mapping[str, Callable[[Job], Any]]] = {name: attrgetter(name) for name in _AMOUNTS}

# Rendering this many jobs takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT: Final = 2_000


def member_jobs(hpc_cluster: str, group: str, user: str, jobs: Iterable[Job]) -> Chunks:
    """Return the lines of a member's jobs, and of what they request and use, by state. A sum with an unknown summand is left out.

    So is what a listing says that jobs use which hold nothing.
    """
    of_state: dict[JobState, list[Job]] = {state: [] for state in _MEMBER_STATES}
    for job in jobs:
        of_state.setdefault(job.state, []).append(job)

    counts = {state: len(in_state) for state, in_state in of_state.items()}
    lines = {JOBS: [lines_by_state(start(JOBS, hpc_cluster, group, user), counts, _MEMBER_STATES)]}

    with_amounts = [
        (label, of_state[state], state in HOLDS_NOTHING)
        for state, label in _STATE_LABEL.items()
        if state in of_state and (of_state[state] or state in _AMOUNT_STATES)
    ]
    for amount, family in AMOUNTS.items():
        line_start = start(family, hpc_cluster, group, user)
        lines[family] = [
            f"{line_start}{label} {total}\n"
            for label, in_state, holds_nothing in with_amounts
            if not (holds_nothing and amount.startswith("allocated"))
            and (total := known_sum(map(_AMOUNT[amount], in_state))) is not None
        ]
    return chunks_of(lines)


def lines_by_state(line_start: str, counts: Mapping[JobState, int], even_at_zero: frozenset[JobState]) -> str:
    """Return a line for each state that has jobs, and for those in `even_at_zero` that have a count at all."""
    return "".join(
        [
            f"{line_start}{label} {count}\n"
            for state, label in _STATE_LABEL.items()
            if (count := counts.get(state)) or (count == 0 and state in even_at_zero)
        ]
    )


def member_figures(listing: JobListing) -> MemberFigures:
    """Count listed jobs by state and sum the resources in use. Takes a while for a large listing."""
    by_state = dict.fromkeys(STATES, 0)
    for job in listing.jobs:
        by_state[job.state if job.state in by_state else JobState.OTHER] += 1
    holding = [job for job in listing.jobs if job.state not in HOLDS_NOTHING]
    in_use = ("allocated_cpus", "allocated_gpus", "allocated_dcus")
    return MemberFigures(
        Counts(*by_state.values()), InUse(*(known_sum(map(_AMOUNT[name], holding)) for name in in_use))
    )


def per_job(hpc_cluster: str, group: str, user: str, jobs: Iterable[Job]) -> Chunks:
    """Series of single jobs. The caller keeps their number small, and each job id at most once: see `PerJobBudget`."""
    lines: defaultdict[Family, list[str]] = defaultdict(list)
    for job in jobs:
        lines[JOB_INFO].append(sample(JOB_INFO, (hpc_cluster, group, user, job.id, job.name, job.state), 1))
        for amount, family in JOB_AMOUNTS.items():
            value = _AMOUNT[amount](job)
            if value is not None:
                lines[family].append(sample(family, (hpc_cluster, user, job.id), value))
    return chunks_of(lines)


class ListedJobs:
    """Show the listed jobs of one member, and hand them to the tracker."""

    def __init__(self, context: Context, followed: Followed, interval: float) -> None:
        """`interval` is the time between two polls in seconds."""
        self._display = context.display
        self._tracked = context.tracked
        self._followed = followed
        self._interval = interval

    async def show(self, listing: JobListing) -> None:
        """Show the listing in place of the last one."""
        # Which jobs have series of their own depends on other listings too: then the same answer is not enough.
        if self._display.per_job is not None or not self._is_shown(listing.fingerprint):
            await self._put(listing)
        self._tracked.observe(self._followed, listing, self._interval)

    async def _put(self, listing: JobListing) -> None:
        key, (source, _, user), group = self._followed

        def made() -> tuple[Chunks, MemberFigures]:
            return member_jobs(source, group, user, listing.jobs), member_figures(listing)

        chunks, figures = await off_loop(len(listing.jobs), RENDER_ON_LOOP_LIMIT, made)
        # Series of single jobs must leave when they are switched off, even if the answer stays the same.
        answer = listing.fingerprint if self._display.per_job is None else None
        self._display.show(key, {**chunks, **self._single_jobs(listing)}, figures, answer)

    def _is_shown(self, fingerprint: int | None) -> bool:
        """Whether what the target shows comes from an answer with this fingerprint."""
        return fingerprint is not None and fingerprint == self._display.answer(self._followed.target)

    def _single_jobs(self, listing: JobListing) -> Chunks:
        key, (source, _, user), group = self._followed
        if self._display.per_job is None:
            return {}
        jobs = self._display.per_job.grant(key, source, user, listing.jobs)
        self._display.show_jobs_dropped(source)
        return per_job(source, group, user, jobs)


# --- In the output of `once` ----------------------------------------------------------------------------------------------


class Requested(Shape, frozen=True, kw_only=True):
    """Requested resources: numbers of nodes, cores and devices; null where unknown."""

    nodes: int | None
    cpus: int | None
    gpus: int | None
    dcus: int | None


class Allocated(Shape, frozen=True, kw_only=True):
    """Resources in use now: numbers of cores and devices; null where unknown."""

    cpus: int | None
    gpus: int | None
    dcus: int | None


class StateRow(Shape, frozen=True, kw_only=True):
    """A member's jobs in one state. A sum is null where one of its summands is unknown."""

    jobs: int
    requested: Requested
    allocated: Allocated


class MemberRow(Shape, frozen=True, kw_only=True):
    """A group member's listed jobs."""

    cluster: str
    group: str
    group_id: Annotated[str, Meta(description="text, because it is above 2^53")]
    user: str
    states: Annotated[
        dict[JobState, StateRow],
        Meta(description="running, queued, held and suspended always; others while a job is in them"),
    ]


def _rows(member: Subject, found: JobListing) -> Iterator[MemberRow]:
    of_state = defaultdict[JobState, list[Job]](list, {state: [] for state in USUAL_STATES})
    for job in found.jobs:
        of_state[job.state].append(job)
    states = {
        state: StateRow(jobs=len(jobs), requested=requested(jobs), allocated=allocated(jobs))
        for state, jobs in of_state.items()
    }
    yield MemberRow(
        cluster=member.source, group=member.group, group_id=member.group_id, user=member.user, states=states
    )


def requested(jobs: Iterable[Job]) -> Requested:
    """Return the resources requested by all of `jobs`."""
    return Requested(**{name: _total(jobs, f"requested_{name}") for name in ("nodes", "cpus", "gpus", "dcus")})


def allocated(jobs: Iterable[Job]) -> Allocated:
    """Return the resources allocated to all of `jobs`."""
    return Allocated(**{name: _total(jobs, f"allocated_{name}") for name in ("cpus", "gpus", "dcus")})


def _total(jobs: Iterable[Job], amount: str) -> int | None:
    return known_sum(map(_AMOUNT[amount], jobs))


def _table(rows: Sequence[MemberRow]) -> Table:
    states = states_to_show(*(state for row in rows for state, found in row.states.items() if found.jobs))
    names = [Column("cluster"), Column("group"), Column("user")]
    columns = [*names, *state_columns(states), *map(count, ("cores", "GPUs", "DCUs"))]
    return Table(
        columns,
        [
            (
                *(row.cluster, row.group, row.user),
                *(row.states[state].jobs if state in row.states else 0 for state in states),
                *(_in_use(row, amount) for amount in ("cpus", "gpus", "dcus")),
            )
            for row in rows
        ],
    )


def _in_use(row: MemberRow, amount: str) -> int | None:
    """Return the sum over all states in which jobs hold something, None where that of one is unknown."""
    return known_sum(
        getattr(found.allocated, amount) for state, found in row.states.items() if state not in HOLDS_NOTHING
    )


ONCE: Final = Once(
    "members", MemberRow, _rows, "Members' jobs, and the cores, GPUs and DCUs in use", "no members", _table
)
