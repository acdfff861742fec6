"""Job listings of all collectors: families, rendering, and the publication of a target's listings.

An amount that the upstream did not send gives no sample, because unknown is never zero. States and jobs are written in
a fixed order, so that an unchanged answer gives unchanged bytes whatever order it came in.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from exporter.metrics.family import Family, Text, gauge
from exporter.metrics.format import Chunks, chunks_of, sample, start
from exporter.polling import TargetKey, batched
from exporter.records import HOLDS_NOTHING, Answer, Job, JobListing, JobState, known_sum, qualified_id
from exporter.sources.collector import Collector, Subject
from exporter.sources.display import (
    STATES,
    Counts,
    Figures,
    InUse,
    ListedMember,
    ListFigures,
    MemberFigures,
    MemberJobs,
    SeenQueues,
)
from exporter.sources.once import USUAL_STATES, Column, Once, Shape, Table, count, state_columns, states_to_show
from exporter.sources.source import Context
from exporter.sources.tracked import Followed
from exporter.threads import off_loop
from exporter.tracking import MemberKey

_MEMBER: Final = ("hpc_cluster", "group", "user", "state")

JOBS: Final = gauge(
    "hpc_member_jobs",
    _MEMBER,
    "Listed jobs of a group member, by state. The states running, queued, held and suspended are always present, others only "
    "while a job is in them. Records without a usable id are not counted: see hpc_exporter_records_rejected_total. Absent while "
    "there is no recent data.",
    zh="用户组成员的作业列表中的作业数，按作业状态分。始终有运行、排队、保留（held）和挂起（suspended）四种状态，其他状态有作业时才有。"
    "没有可用编号的记录不计入：见 hpc_exporter_records_rejected_total。",
)

JOB_INFO: Final = gauge(
    "hpc_job_info",
    (*_MEMBER[:3], "job_id", "job_name", "state"),
    "A listed job with its name and state, and with the label reason where the API reports why it waits; always 1. Only with "
    "per_job, for at most max_jobs jobs: see hpc_exporter_jobs_dropped.",
    zh="作业列表中的一个作业及其名称和状态，接口给出等待原因时还有标签 reason，恒为 1。需要 per_job，最多 max_jobs 个作业，"
    "见 hpc_exporter_jobs_dropped。",
    absent=Text(
        "where the job is no longer listed, max_jobs was reached, or there is no recent data.",
        "作业不再列出、已达到 max_jobs，或没有近期数据。",
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
        f"{text.en} by the listed jobs of a group member, by job state. The states running and queued are always present, "
        "others only while a job is in them. Absent where the amount of a job in that state is unknown.",
        zh=f"用户组成员的作业列表中的作业{text.zh}，按作业状态分。始终有运行和排队两种状态，其他状态有作业时才有。",
        absent=Text("", "处于该状态的某个作业的数量未知。"),
    )
    for amount, text in _AMOUNTS.items()
}
JOB_AMOUNTS: Final[Mapping[str, Family]] = {
    amount: gauge(
        f"hpc_job_{amount}",
        ("hpc_cluster", "user", "job_id"),
        f"{text.en} by a listed job. Only with per_job; absent where the amount is unknown.",
        zh=f"作业列表中的一个作业{text.zh}。需要 per_job。",
        absent=Text(
            "where the amount is unknown, and where hpc_job_info of the job is absent.",
            "数量未知，或该作业的 hpc_job_info 缺失。",
        ),
    )
    for amount, text in _AMOUNTS.items()
}
OF_SINGLE_JOBS: Final = (JOB_INFO, *JOB_AMOUNTS.values())
FAMILIES: Final = (JOBS, *AMOUNTS.values(), *OF_SINGLE_JOBS)

# Of collectors that tell queue, reason and times.

JOBS_BY_QUEUE: Final = gauge(
    "hpc_jobs",
    ("hpc_cluster", "group", "queue", "state"),
    "Listed jobs of a group, by queue and state. A queue once seen stays, with its running and queued jobs at 0; other states "
    "are present only while a job is in them. The queue is empty where the API does not report it. Only from collectors that "
    "report queues. Absent while there is no recent data.",
    zh="用户组的作业列表中的作业数，按队列和作业状态分。出现过的队列会一直保留，运行和排队的作业数可以为 0；其他状态有作业时才有。"
    "接口没有返回队列时 queue 为空。仅来自提供队列的采集项。",
)

PENDING_JOBS: Final = gauge(
    "hpc_pending_jobs",
    ("hpc_cluster", "group", "user", "reason"),
    "Pending jobs of a group member, by the scheduler's reason: priority, resources, limit, dependency, held, begin_time, "
    "nodes_unavailable, or other for any other reason. A reason is present only while a job waits for it. Only from collectors "
    "that report reasons. Absent while there is no recent data.",
    zh="用户组成员等待中的作业数，按调度系统给出的原因分：priority、resources、limit、dependency、held、begin_time、"
    "nodes_unavailable，其余为 other。有作业因该原因等待时才有。仅来自提供原因的采集项。",
)

_TIME_UNKNOWN: Final = Text(
    "where the time is unknown, and where hpc_job_info of the job is absent.",
    "时间未知，或该作业的 hpc_job_info 缺失。",
)
JOB_SUBMITTED: Final = gauge(
    "hpc_job_submit_timestamp_seconds",
    ("hpc_cluster", "user", "job_id"),
    "Unix time at which a listed job was submitted, as reported by the scheduler, in seconds. Only with per_job.",
    zh="作业列表中的一个作业的提交时间，Unix 时间（秒），由调度系统给出。需要 per_job。",
    absent=_TIME_UNKNOWN,
)
JOB_STARTED: Final = gauge(
    "hpc_job_start_timestamp_seconds",
    ("hpc_cluster", "user", "job_id"),
    "Unix time at which a listed job started, as reported by the scheduler, in seconds; not an expected start. Only with per_job.",
    zh="作业列表中的一个作业的开始运行时间，Unix 时间（秒），由调度系统给出；不含预计开始时间。需要 per_job。",
    absent=_TIME_UNKNOWN,
)
FAMILIES_WITH_QUEUES: Final = (*FAMILIES, JOBS_BY_QUEUE, PENDING_JOBS, JOB_SUBMITTED, JOB_STARTED)

# States that always have a sample, so that a sum or an alert over them never meets a missing series.
_AMOUNT_STATES: Final = frozenset({JobState.RUNNING, JobState.QUEUED})
_MEMBER_STATES: Final = _AMOUNT_STATES | {JobState.HELD, JobState.SUSPENDED}

_STATE_LABEL: Final[Mapping[JobState, str]] = {state: f',state="{state}"}}' for state in JobState}
_AMOUNT: Final[Mapping[str, Callable[[Job], Any]]] = {name: attrgetter(name) for name in _AMOUNTS}

# The listing of each member, and a group's label with the name of a queue.
Listings = Mapping[Followed, JobListing]
GroupQueue = tuple[str, str]

# Rendering this many jobs takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT: Final = 2_000


def member_jobs(hpc_cluster: str, group: str, user: str, jobs: Iterable[Job]) -> Chunks:
    """Return the lines of a member's jobs, and of what they request and use, by state.

    A sum with an unknown summand is left out, and so are amounts in use that are listed of jobs which hold nothing.
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


def member_figures(jobs: Iterable[Job]) -> MemberFigures:
    """Count jobs by state and sum the resources in use. Takes a while for many jobs."""
    jobs = tuple(jobs)
    by_state = dict.fromkeys(STATES, 0)
    for job in jobs:
        by_state[job.state if job.state in by_state else JobState.OTHER] += 1
    holding = [job for job in jobs if job.state not in HOLDS_NOTHING]
    in_use = ("allocated_cpus", "allocated_gpus", "allocated_dcus")
    return MemberFigures(
        Counts(*by_state.values()), InUse(*(known_sum(map(_AMOUNT[name], holding)) for name in in_use))
    )


def list_figures(listings: Listings) -> ListFigures:
    """Count the jobs of each member, and of each of their queues."""
    members = []
    for followed, listing in listings.items():
        by_queue = defaultdict[str, list[Job]](list)
        for job in listing.jobs:
            by_queue[job.queue].append(job)
        queues = tuple((queue, member_figures(of_queue).jobs) for queue, of_queue in sorted(by_queue.items()) if queue)
        members.append(ListedMember(followed.group, followed.member.user, member_figures(listing.jobs), queues))
    return ListFigures(tuple(members))


def per_job(hpc_cluster: str, group: str, user: str, jobs: Iterable[Job]) -> Chunks:
    """Series of single jobs. The caller keeps their number small, and each job id at most once: see `PerJobBudget`."""
    lines: defaultdict[Family, list[str]] = defaultdict(list)
    for job in jobs:
        reason = f',reason="{job.reason}"' if job.reason else ""
        info = start(JOB_INFO, hpc_cluster, group, user, job.id, job.name, job.state)
        lines[JOB_INFO].append(f"{info}{reason}}} 1\n")
        for family, time in ((JOB_SUBMITTED, job.submitted), (JOB_STARTED, job.started)):
            if time is not None:
                lines[family].append(sample(family, (hpc_cluster, user, job.id), time))
        for amount, family in JOB_AMOUNTS.items():
            value = _AMOUNT[amount](job)
            if value is not None:
                lines[family].append(sample(family, (hpc_cluster, user, job.id), value))
    return chunks_of(lines)


class Listed(Answer, frozen=True, kw_only=True):
    """The jobs of the members that one poll found; `remark` is about all of it, for people."""

    listings: Listings
    remark: str = ""

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """As that of a listing."""
        return tuple(sorted({word for listing in self.listings.values() for word in listing.unknown_words}))


def followed(collector: Collector, subject: Subject) -> Followed:
    """Return the member that a subject is, as the tracker follows it."""
    return Followed(collector.key(subject), MemberKey(subject.source, subject.group_id, subject.user), subject.group)


def listings_of(subject: Subject, found: JobListing | Listed) -> Iterator[tuple[Subject, JobListing]]:
    """Yield each member that a poll for `subject` listed, with its jobs."""
    if isinstance(found, JobListing):
        yield subject, found
        return
    for followed, listing in found.listings.items():
        group_id, user = followed.member.group_id, followed.member.user
        yield (
            replace(subject, group_id=group_id, group=followed.group, user=user, target=followed.target.target),
            listing,
        )


def jobs_by_queue(hpc_cluster: str, listings: Listings, seen: Iterable[GroupQueue] = ()) -> Chunks:
    """Return the lines of groups' jobs by queue and state, and of members' waiting jobs by reason.

    The queues of `seen` are shown without jobs where none is listed there, and none may be among what could not be read.
    """
    unsure = {followed.group for followed, listing in listings.items() if not listing.complete}
    by_queue = {key: Counter[JobState]() for key in sorted(seen) if key[0] not in unsure}
    lines: defaultdict[Family, list[str]] = defaultdict(list)
    for followed, listing in listings.items():
        reasons = Counter[str]()
        for job in listing.jobs:
            by_queue.setdefault((followed.group, job.queue), Counter())[job.state] += 1
            if job.reason is not None:
                reasons[job.reason] += 1
        labels = hpc_cluster, followed.group, followed.member.user
        lines[PENDING_JOBS] += [sample(PENDING_JOBS, (*labels, reason), reasons[reason]) for reason in sorted(reasons)]
    for (group, queue), counts in by_queue.items():
        counted = dict.fromkeys(_AMOUNT_STATES, 0) | counts
        line_start = start(JOBS_BY_QUEUE, hpc_cluster, group, queue)
        lines[JOBS_BY_QUEUE].append(lines_by_state(line_start, counted, _AMOUNT_STATES))
    return chunks_of(lines)


class ListedJobs:
    """Show the jobs that one target lists, of any number of members, and hand them to the tracker."""

    def __init__(self, context: Context, target: TargetKey, interval: float, *, tells_queues: bool = False) -> None:
        """`interval` is the time between two polls in seconds; `tells_queues`: jobs come with queue and reason."""
        self._context = context
        self._display = context.display
        self._key = target
        self._interval = interval
        self._tells_queues = tells_queues

    async def show(self, listings: Listings, answer: Answer) -> None:
        """Show the listings of an answer in place of the last ones, and count what could not be used of it.

        The `target` of each is the key of this target, or, where it lists several members, a key of each member's own.
        """
        self._context.count_flaws(self._key, answer)
        # Which jobs have series of their own depends on other listings too: then the same answer is not enough.
        if self._display.per_job is not None or not self._is_shown(answer.fingerprint):
            await self._put(listings, answer.fingerprint)
        async for some in batched(tuple(listings.items())):
            for followed, listing in some:
                self._context.tracked.observe(followed, listing, self._interval)

    async def _put(self, listings: Listings, fingerprint: int | None) -> None:
        source = self._key.source
        size = sum(len(listing.jobs) for listing in listings.values()) + len(listings)
        before: SeenQueues[GroupQueue] = self._display.remembered.get(self._key, SeenQueues())

        def made() -> tuple[list[Chunks], Figures, SeenQueues[GroupQueue]]:
            chunks = [
                member_jobs(source, followed.group, followed.member.user, listing.jobs)
                for followed, listing in listings.items()
            ]
            if not self._tells_queues:
                jobs = chain.from_iterable(listing.jobs for listing in listings.values())
                return chunks, member_figures(jobs), before
            seen, _ = before.after(
                (each.group, job.queue) for each, listing in listings.items() for job in listing.jobs
            )
            chunks.append(jobs_by_queue(source, listings, seen.absent))
            return chunks, list_figures(listings), seen

        chunks, figures, seen = await off_loop(size, RENDER_ON_LOOP_LIMIT, made)
        if self._tells_queues:
            self._display.remembered[self._key] = seen
        # Series of single jobs must leave when they are switched off, even if the answer stays the same.
        answer = fingerprint if self._display.per_job is None else None
        chunks += [self._single_jobs(followed, listing) for followed, listing in listings.items()]
        self._display.show(
            self._key, joined(chunks), figures, answer, parts=frozenset(each.target for each in listings)
        )
        self._display.show_jobs_dropped(source)
        if self._display.per_job is not None:
            self._display.figures.show_jobs(
                self._key,
                tuple(
                    MemberJobs(source, followed.group, followed.member.user, followed.member.group_id, listing.jobs)
                    for followed, listing in listings.items()
                ),
            )

    def _is_shown(self, fingerprint: int | None) -> bool:
        """Whether what the target shows comes from an answer with this fingerprint."""
        return fingerprint is not None and fingerprint == self._display.answer(self._key)

    def _single_jobs(self, followed: Followed, listing: JobListing) -> Chunks:
        if self._display.per_job is None:
            return {}
        source, user = self._key.source, followed.member.user
        return per_job(
            source, followed.group, user, self._display.per_job.grant(followed.target, source, user, listing.jobs)
        )


class SchedulerNames:
    """Tells apart jobs of one user that have the same id at two schedulers of a region.

    The job that was seen first keeps the plain id. The other one has its scheduler's id appended for as long as it is
    listed, also after a restart: with several schedulers, the tracker is asked which jobs it follows. Without a tracker
    the last listing decides.
    """

    def __init__(self, context: Context, source: str) -> None:
        self._context = context
        self._source = source
        # In the order in which they were first seen.
        self._seen: dict[str, None] | None = None
        self._listed: dict[MemberKey, dict[str, str]] = {}

    def known(self, schedulers: Iterable[str]) -> Mapping[MemberKey, Mapping[str, str]]:
        """Return the schedulers of jobs by member and id, for a listing of these schedulers; nothing where ids are unambiguous."""
        service = self._context.tracked.service
        first, seen = self._seen is None, dict.fromkeys((*(self._seen or ()), *sorted(schedulers)))
        known: Mapping[MemberKey, Mapping[str, str]] = self._listed
        if service is not None:
            known = service.tracker.schedulers(self._source) if first or len(seen) > 1 else {}
        self._seen = seen | dict.fromkeys(chain.from_iterable(of_member.values() for of_member in known.values()))
        return known

    def in_order(self, schedulers: Collection[str]) -> list[str]:
        """Return the schedulers, which are `known`, in the order in which they were first seen."""
        return [each for each in self._seen or () if each in schedulers]

    def remember(self, listings: Iterable[tuple[MemberKey, JobListing]]) -> None:
        """Keep the schedulers of the jobs of joined listings for the next one, unless the tracker does."""
        if self._context.tracked.service is not None or len(self._seen or ()) < 2:  # noqa: PLR2004 - one is unambiguous
            self._listed = {}
            return
        for member, listing in listings:
            before = {} if listing.complete else self._listed.get(member, {})
            self._listed[member] = before | {job.id: job.scheduler for job in listing.jobs}


def joined_listing(found: Mapping[str, JobListing], known: Mapping[str, str]) -> JobListing:
    """Join the listings of one user, by scheduler; `known` are the schedulers of the jobs known so far, by job id.

    Of two new jobs with the same id, that of the first scheduler has the plain id.
    """
    jobs: dict[str, Job] = {}
    for scheduler, listing in found.items():
        for job in listing.jobs:
            own = qualified_id(job.id, scheduler)
            if own not in known and known.get(job.id, scheduler) == scheduler and job.id not in jobs:
                jobs[job.id] = job
            else:
                jobs[own] = msgspec.structs.replace(job, id=own)
    return JobListing(
        tuple(jobs.values()),
        rejected=sum(listing.rejected for listing in found.values()),
        unknown_states=sum(listing.unknown_states for listing in found.values()),
    )


def joined(chunks: Iterable[Chunks]) -> Chunks:
    """Return the lines of all, by family."""
    lines: defaultdict[Family, list[bytes]] = defaultdict(list)
    for each in chunks:
        for family, of_family in each.items():
            lines[family].append(of_family)
    return {family: b"".join(of_family) for family, of_family in lines.items()}


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


def _rows(subject: Subject, found: JobListing | Listed) -> Iterator[MemberRow]:
    for member, listing in listings_of(subject, found):
        yield member_row(member.source, member.group, member.group_id, member.user, listing.jobs)


def member_row(cluster: str, group: str, group_id: str, user: str, listed: Iterable[Job]) -> MemberRow:
    """Return the row of one member."""
    of_state = defaultdict[JobState, list[Job]](list, {state: [] for state in USUAL_STATES})
    for job in listed:
        of_state[job.state].append(job)
    states = {
        state: StateRow(jobs=len(jobs), requested=requested(jobs), allocated=allocated(jobs))
        for state, jobs in of_state.items()
    }
    return MemberRow(cluster=cluster, group=group, group_id=group_id, user=user, states=states)


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
