"""All members' states and totals, in memory, and what has changed since it was last written to disk."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Final

import msgspec

from exporter.records import EndedJob, JobListing, JobState
from exporter.tracking.bounds import WaitClass
from exporter.tracking.histogram import BUCKETS, Count, Histogram, HistogramView, Seconds
from exporter.tracking.history import take_ends
from exporter.tracking.machine import advance
from exporter.tracking.model import (
    BASES,
    CENSOR_REASONS,
    MEASURES,
    NEVER,
    OUTCOMES,
    REMEMBERED_SECONDS,
    Basis,
    CensorReason,
    Events,
    Gap,
    KnownEnd,
    Measure,
    MemberKey,
    MemberState,
    Outcome,
    Pending,
    Phase,
    TrackedJob,
    Update,
    as_json,
)
from exporter.tracking.waits import ClassKey, Waits, WaitView

GroupKey = tuple[str, str]  # source, group_id

# A scheduler whose queues have other names all the time must not fill the memory: those of further ones count without name.
MOST_QUEUES: Final = 256


# `before>after` of a transition, `measure>reason` of a spell that could not be measured.
_Transition = Annotated[str, msgspec.Meta(pattern=f"^(none|{'|'.join(JobState)})>(gone|{'|'.join(JobState)})$")]
_Observed = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(MEASURES)})>({'|'.join(BASES)})$")]
_Censored = Annotated[str, msgspec.Meta(pattern=f"^({'|'.join(MEASURES)})>({'|'.join(CENSOR_REASONS)})$")]


class MemberTotals(msgspec.Struct, forbid_unknown_fields=True):
    """A member's counters since it was first polled.

    `transitions` by "from>to". Resource seconds are None until an amount was listed: what the upstream
    never sends is unknown, not 0.
    """

    transitions: dict[_Transition, Count] = msgspec.field(default_factory=dict)
    finished: dict[Outcome, Count] = msgspec.field(default_factory=dict)
    cpu_seconds: Seconds | None = None
    gpu_seconds: Seconds | None = None
    dcu_seconds: Seconds | None = None
    unaccounted_seconds: Seconds = 0.0

    def add(self, events: Events) -> None:
        for (before, after), count in events.transitions.items():
            name = f"{before}>{after}"
            self.transitions[name] = self.transitions.get(name, 0) + count
        for outcome, count in events.finished.items():
            self.finished[outcome] = self.finished.get(outcome, 0) + count
        known, seconds = events.amounts_known, events.resource_seconds
        self.cpu_seconds = _added(self.cpu_seconds, seconds[0], known[0])
        self.gpu_seconds = _added(self.gpu_seconds, seconds[1], known[1])
        self.dcu_seconds = _added(self.dcu_seconds, seconds[2], known[2])
        self.unaccounted_seconds += events.unaccounted


class Spells(msgspec.Struct, forbid_unknown_fields=True):
    """Histograms of the waits and runs in one queue."""

    waits: Histogram = msgspec.field(default_factory=Histogram)
    runs: Histogram = msgspec.field(default_factory=Histogram)


class GroupTotals(msgspec.Struct, forbid_unknown_fields=True):
    """A group's histograms and counters; they outlive the members that they came from.

    `queues` by name, which is empty where the queue is not known; `observed` by "measure>basis", `censored` by
    "measure>reason".
    """

    queues: dict[str, Spells] = msgspec.field(default_factory=dict)
    observed: dict[_Observed, Count] = msgspec.field(default_factory=dict)
    censored: dict[_Censored, Count] = msgspec.field(default_factory=dict)

    def add(self, other: "GroupTotals") -> None:
        for queue, spells in other.queues.items():
            mine = self.of_queue(queue)
            mine.waits.add(spells.waits)
            mine.runs.add(spells.runs)
        _add_counts(self.observed, other.observed)
        _add_counts(self.censored, other.censored)

    def of_queue(self, queue: str) -> Spells:
        """Return the histograms of a queue, new if need be."""
        name = queue if queue in self.queues or len(self.queues) < MOST_QUEUES else ""
        if name not in self.queues:
            self.queues[name] = Spells()
        return self.queues[name]

    @classmethod
    def of(cls, events: Events) -> "GroupTotals":
        """Return the contribution of one listing to its group.

        A queue is there, at 0, as soon as a job of it is listed.
        """
        totals = cls(censored={f"{measure}>{reason}": count for (measure, reason), count in events.censored.items()})
        for queue in sorted(events.queues):
            totals.of_queue(queue)
        for spell in events.waits:
            totals.of_queue(spell.queue).waits.observe(spell.seconds)
        for spell in events.runs:
            totals.of_queue(spell.queue).runs.observe(spell.seconds)
        totals.observed.update(Counter(f"wait>{spell.basis}" for spell in events.waits))
        totals.observed.update(Counter(f"run>{spell.basis}" for spell in events.runs))
        return totals


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member's counters for the renderer; it does not change.

    `transitions` holds what occurred, by (from_state, to_state); `finished` every outcome. Resource seconds are None
    where no amount was ever listed. `oldest_queued` is Unix seconds, None where no job waits.
    """

    transitions: Mapping[tuple[str, str], int]
    finished: Mapping[Outcome, int]
    cpu_seconds: float | None
    gpu_seconds: float | None
    dcu_seconds: float | None
    unaccounted_seconds: float
    oldest_queued: float | None


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A group's histograms and counters for the renderer; it does not change.

    `waits` and `runs` by queue; `observed` and `censored` hold every combination.
    """

    waits: Mapping[str, HistogramView]
    runs: Mapping[str, HistogramView]
    observed: Mapping[tuple[Measure, Basis], int]
    censored: Mapping[tuple[Measure, CensorReason], int]


class Step(msgspec.Struct, frozen=True):
    """The changes of one listing to a member's jobs and to the group's totals.

    `interval` is that between polls in seconds.
    """

    update: Update
    group: GroupTotals
    interval: float


class TrackedMember(msgspec.Struct):
    state: MemberState = msgspec.field(default_factory=MemberState)
    totals: MemberTotals = msgspec.field(default_factory=MemberTotals)


class TrackerState(msgspec.Struct):
    """Everything that the tracker remembers: what the store loads."""

    members: dict[MemberKey, TrackedMember] = msgspec.field(default_factory=dict)
    groups: dict[GroupKey, GroupTotals] = msgspec.field(default_factory=dict)
    waits: dict[ClassKey, WaitClass] = msgspec.field(default_factory=dict)
    # Up to when a source's history was read, in Unix seconds.
    marks: dict[str, float] = msgspec.field(default_factory=dict)


class MemberChange(msgspec.Struct, kw_only=True):
    """The rows to write for one member; None in a mapping means: delete the row. `totals` are JSON.

    With `rewrite` they are all there is: whatever else is on disk for the member goes.
    """

    last: float
    complete: float
    oldest_waiting: float | None
    totals: bytes
    jobs: dict[str, TrackedJob | None]
    finished: dict[str, float | None]
    pending: dict[str, Pending | None]
    ends: dict[str, tuple[KnownEnd, ...] | None]
    gaps: list[Gap]
    rewrite: bool = False


class Batch(msgspec.Struct):
    """The rows to write in one transaction: whole polls, never a part of one. Groups and classes of waits as JSON."""

    members: dict[MemberKey, MemberChange] = msgspec.field(default_factory=dict)
    groups: dict[GroupKey, bytes] = msgspec.field(default_factory=dict)
    forgotten_members: list[MemberKey] = msgspec.field(default_factory=list)
    forgotten_groups: list[GroupKey] = msgspec.field(default_factory=list)
    waits: dict[ClassKey, bytes] = msgspec.field(default_factory=dict)
    forgotten_waits: list[ClassKey] = msgspec.field(default_factory=list)
    marks: dict[str, float] = msgspec.field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(msgspec.structs.astuple(self))

    def add(self, key: MemberKey, change: MemberChange) -> None:
        """Put a newer change on top of what there is for the member."""
        if older := self.members.get(key):
            older.jobs.update(change.jobs)
            older.finished.update(change.finished)
            older.pending.update(change.pending)
            older.ends.update(change.ends)
            change.jobs, change.finished = older.jobs, older.finished
            change.pending, change.ends = older.pending, older.ends
        self.members[key] = change


class Tracker:
    """Counts for all members of the process. No I/O, no clock; not for use from two threads simultaneously.

    `observe` is `work` and `record`. For a large listing `work` can run in another thread, as long as there is only one
    at a time for a member: nothing else touches the member's jobs, and nothing is counted before `record`.
    """

    def __init__(self, state: TrackerState | None = None, *, persistent: bool = True) -> None:
        self._members = state.members if state else {}
        self._groups = {key: _rebinned(totals) for key, totals in state.groups.items()} if state else {}
        self._marks = state.marks if state else {}
        self._persistent = persistent
        self._batch = Batch()
        self._rewrite: set[MemberKey] = set()
        self._tracked: dict[str, int] = {}
        for key, member in self._members.items():
            self._count(key.source, len(member.state.jobs))
        waiting = (
            (key, job_id)
            for key, member in self._members.items()
            for job_id, job in member.state.jobs.items()
            if job.phase is Phase.WAIT
        )
        self._waits = Waits(state.waits if state else {}, waiting, self._known_waiting)

    def observe(
        self, key: MemberKey, listing: JobListing, at: float, interval: float, grace: float | None = None
    ) -> None:
        """Take in a listing that was read at `at` (see `advance`) of a member polled every `interval` seconds."""
        self.record(key, self.work(self.join(key), listing, at, interval, grace))

    def take_ends(self, key: MemberKey, rows: Sequence[EndedJob], at: float, grace: float) -> None:
        """Take in rows of the history that were read at `at`."""
        self.record(key, self.work_ends(self.join(key), rows, at, grace))

    @staticmethod
    def work_ends(member: TrackedMember, rows: Sequence[EndedJob], at: float, grace: float) -> Step:
        """Take in rows of the history that were read at `at`; return what `record` counts."""
        update = take_ends(member.state, rows, at, grace)
        member.state.apply(update)
        return Step(update, GroupTotals.of(update.events), 0.0)

    def mark(self, source: str) -> float | None:
        """Return up to when a source's history was read; None where it never was."""
        return self._marks.get(source)

    def set_mark(self, source: str, until: float) -> None:
        """Note up to when a source's history was read. To be written with what the rows gave.

        Rows that still wait for the polls are not written: after a restart they have to be read again.
        """
        waiting = [
            row.ended
            for key, member in self._members.items()
            if key.source == source
            for row, _ in member.state.early.values()
        ]
        self._marks[source] = min([until, *waiting])
        if self._persistent:
            self._batch.marks[source] = self._marks[source]

    def join(self, key: MemberKey) -> TrackedMember:
        """Return the member, new if need be."""
        return self._members.setdefault(key, TrackedMember())

    def introduce(self, key: MemberKey, at: float) -> None:
        """Take a member who is not followed yet as one who had no jobs at `at`: what is listed of them now began later."""
        self._members.setdefault(key, TrackedMember(MemberState(last=at, complete=at)))

    @staticmethod
    def work(
        member: TrackedMember, listing: JobListing, at: float, interval: float, grace: float | None = None
    ) -> Step:
        """Bring the member's jobs up to date; return what `record` counts."""
        update = advance(member.state, listing, at, interval, grace)
        member.state.apply(update)
        return Step(update, GroupTotals.of(update.events), interval)

    def record(self, key: MemberKey, step: Step) -> None:
        """Count what happened, for the member, its group and the queues of its jobs."""
        update = step.update
        totals = self.join(key).totals
        totals.add(update.events)
        self._count(key.source, update.growth)
        group_key = (key.source, key.group_id)
        group = self._groups.setdefault(group_key, GroupTotals())
        group.add(step.group)
        self._waits.record(key, update.events, update.at, step.interval)
        if self._persistent and key not in self._rewrite:
            # Encoded now, not when the batch is taken: so the work is spread.
            self._batch.groups[group_key] = as_json(group)
            self._batch.add(key, _change(update, self._members[key]))

    def members(self) -> Collection[MemberKey]:
        return self._members.keys()

    def jobs_of(self, key: MemberKey) -> list[str]:
        """Return the ids of a member's jobs that are followed."""
        member = self._members.get(key)
        return [] if member is None else list(member.state.jobs)

    def followed_jobs(self) -> dict[MemberKey, dict[str, TrackedJob]]:
        """Return copies of all jobs that are followed."""
        return {key: member.state.jobs.copy() for key, member in self._members.items() if member.state.jobs}

    def schedulers(self, source: str) -> dict[MemberKey, dict[str, str]]:
        """Return the schedulers of a source's jobs that are followed, by member and id."""
        return {
            key: {job_id: job.scheduler for job_id, job in member.state.jobs.items() if job.scheduler}
            for key, member in self._members.items()
            if key.source == source
        }

    def member(self, key: MemberKey) -> MemberView:
        """Return a member's counters; all at 0 for one that was never observed."""
        member = self._members.get(key) or TrackedMember()
        totals = member.totals
        return MemberView(
            transitions={(before, after): n for (before, after), n in _split(totals.transitions)},
            finished={outcome: totals.finished.get(outcome, 0) for outcome in OUTCOMES},
            cpu_seconds=totals.cpu_seconds,
            gpu_seconds=totals.gpu_seconds,
            dcu_seconds=totals.dcu_seconds,
            unaccounted_seconds=totals.unaccounted_seconds,
            oldest_queued=member.state.oldest_waiting,
        )

    def group(self, source: str, group_id: str) -> GroupView:
        """Return a group's histograms and counters; all at 0 for one that was never observed."""
        totals = self._groups.get((source, group_id)) or GroupTotals()
        queues = totals.queues or {"": Spells()}
        return GroupView(
            waits={queue: spells.waits.view() for queue, spells in queues.items()},
            runs={queue: spells.runs.view() for queue, spells in queues.items()},
            observed={
                (measure, basis): totals.observed.get(f"{measure}>{basis}", 0)
                for measure in MEASURES
                for basis in BASES
            },
            censored={
                (measure, reason): totals.censored.get(f"{measure}>{reason}", 0)
                for measure in MEASURES
                for reason in CENSOR_REASONS
            },
        )

    def waits(self, source: str, now: float) -> tuple[WaitView, ...]:
        """Return the bounds for jobs submitted `now`; the same object while nothing changes."""
        return self._waits.views(source, now)

    def sources_with_waits(self) -> Collection[str]:
        return self._waits.sources()

    def _known_waiting(self, key: MemberKey, job_id: str) -> float:
        """Return until when a job is known to wait; NEVER where it does not."""
        member = self._members.get(key)
        job = member.state.jobs.get(job_id) if member else None
        if member is None or job is None or job.phase is not Phase.WAIT:
            return NEVER
        return member.state.last if job.known is None else job.known

    def tracked_jobs(self, source: str) -> int:
        """Return the number of followed jobs of a source's members."""
        return self._tracked.get(source, 0)

    def last_listed(self, key: MemberKey) -> float | None:
        """Return the time of a member's last listing; None for one that was never observed."""
        member = self._members.get(key)
        return member.state.last if member else None

    def forget_members(
        self, keep: Collection[MemberKey], now: float, others: Collection[MemberKey] = ()
    ) -> tuple[list[MemberKey], list[GroupKey]]:
        """Drop `others`, members that are not in `keep` and were last polled a week ago, and groups without members.

        Returns what was dropped.
        """
        kept, dropped = frozenset(keep), frozenset(others)
        old = [
            key
            for key, member in self._members.items()
            if key in dropped or (key not in kept and now - member.state.last > REMEMBERED_SECONDS)
        ]
        for key in old:
            self._waits.forget_member(key, self._members[key].state.last)
            self._count(key.source, -len(self._members.pop(key).state.jobs))
            self._batch.members.pop(key, None)
            self._rewrite.discard(key)
        inhabited = {(key.source, key.group_id) for key in (*self._members, *kept)}
        empty = [group for group in self._groups if group not in inhabited]
        for group in empty:
            del self._groups[group]
            self._batch.groups.pop(group, None)
        forgotten_waits = self._waits.forget_all_but(inhabited)
        if self._persistent:
            self._batch.forgotten_waits += forgotten_waits
            self._batch.forgotten_members += old
            self._batch.forgotten_groups += empty
        return old, empty

    def take_batch(self) -> Batch:
        """All that has changed since the last call. The caller writes it, or gives it back.

        Not while `work` is done.
        """
        batch, self._batch = self._batch, Batch()
        for key in self._rewrite:
            batch.members[key] = _everything(self._members[key])
            group_key = (key.source, key.group_id)
            batch.groups[group_key] = as_json(self._groups[group_key])
        self._rewrite.clear()
        batch.waits = self._waits.take_changed() if self._persistent else {}
        return batch

    def give_back(self, batch: Batch) -> None:
        """Note that a batch could not be written.

        Its members, and those that changed since, are written as a whole the next time: untaken changes would pile up.
        """
        self.rewrite({*batch.members, *self._batch.members})
        self._waits.rewrite(batch.waits.keys())
        newer = self._batch
        self._batch = Batch(
            forgotten_members=batch.forgotten_members + newer.forgotten_members,
            forgotten_groups=batch.forgotten_groups + newer.forgotten_groups,
            forgotten_waits=batch.forgotten_waits + newer.forgotten_waits,
            marks={**batch.marks, **newer.marks},
        )

    def rewrite(self, keys: Collection[MemberKey]) -> None:
        """Let everything that is known of these members be in the next batch, whatever is on disk."""
        self._rewrite |= self._members.keys() & keys

    def take_everything(self) -> Batch:
        """Return a batch for an empty file."""
        self._batch = Batch(marks=dict(self._marks))
        self.rewrite(self._members.keys())
        self._waits.rewrite()
        return self.take_batch()

    def _count(self, source: str, difference: int) -> None:
        self._tracked[source] = self._tracked.get(source, 0) + difference


def _change(update: Update, member: TrackedMember) -> MemberChange:
    return MemberChange(
        last=update.at,
        complete=update.complete,
        oldest_waiting=update.oldest_waiting,
        totals=as_json(member.totals),
        jobs=update.changed,
        finished=update.remembered,
        pending=update.pending,
        ends=update.ends,
        gaps=member.state.gaps,
    )


def _everything(member: TrackedMember) -> MemberChange:
    state = member.state
    return MemberChange(
        last=state.last,
        complete=state.complete,
        oldest_waiting=state.oldest_waiting,
        totals=as_json(member.totals),
        jobs=dict(state.jobs),
        finished=dict(state.finished),
        pending=dict(state.pending),
        ends=dict(state.ends),
        gaps=state.gaps,
        rewrite=True,
    )


def _added(total: float | None, seconds: float, known: bool) -> float | None:
    return None if total is None and not known else (total or 0.0) + seconds


def _add_counts(counts: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count


def _split(counts: Mapping[str, int]) -> Iterable[tuple[tuple[str, str], int]]:
    for name, count in counts.items():
        before, _, after = name.partition(">")
        yield (before, after), count


def _rebinned(totals: GroupTotals) -> GroupTotals:
    queues = {
        queue: Spells(spells.waits.rebinned(BUCKETS), spells.runs.rebinned(BUCKETS))
        for queue, spells in totals.queues.items()
    }
    return GroupTotals(queues, totals.observed, totals.censored)
