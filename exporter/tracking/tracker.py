"""All members' states and totals, in memory, and what has changed since it was last written to disk."""

from collections.abc import Collection, Sequence
from typing import Final, Literal, TypeVar, get_args

import msgspec

from exporter.records import EndedJob, JobListing
from exporter.tracking.bounds import WaitClass
from exporter.tracking.history import take_ends
from exporter.tracking.machine import advance
from exporter.tracking.model import (
    REMEMBERED_SECONDS,
    MemberKey,
    MemberState,
    Parts,
    TrackedJob,
    Update,
)
from exporter.tracking.totals import GroupTotals, MemberTotals, TrackedMember
from exporter.tracking.waits import ClassKey, Waits, WaitView

GroupKey = tuple[str, str]  # source, group_id
Name = TypeVar("Name")

_ENCODE: Final = msgspec.msgpack.encode


class Step(msgspec.Struct, frozen=True):
    """The changes of one listing to a member's jobs and to the group's totals.

    `interval` is that between polls in seconds.
    """

    update: Update
    group: GroupTotals
    interval: float


class TrackerState(msgspec.Struct):
    """Everything that the tracker remembers: what the store loads."""

    members: dict[MemberKey, TrackedMember] = msgspec.field(default_factory=dict)
    groups: dict[GroupKey, GroupTotals] = msgspec.field(default_factory=dict)
    waits: dict[ClassKey, WaitClass] = msgspec.field(default_factory=dict)
    # Up to when a source's history was read, in Unix seconds.
    marks: dict[str, float] = msgspec.field(default_factory=dict)


class MemberChange(msgspec.Struct):
    """The rows to write for one member: `member` as msgpack, and the changed entries of `PARTS`, None to delete one.

    With `rewrite` they are all there is: whatever else is on disk for the member goes.
    """

    member: bytes
    parts: Parts
    rewrite: bool = False


# The state file's tables of all that belongs to no single member.
Others = Literal["groups", "waits", "marks"]


class Batch(msgspec.Struct):
    """The rows to write in one transaction: whole polls, never a part of one.

    `others` are values as msgpack by key, None to delete a row; members that are `forgotten` are deleted first.
    """

    members: dict[MemberKey, MemberChange] = msgspec.field(default_factory=dict)
    others: dict[Others, dict[tuple[str | bool, ...], bytes | None]] = msgspec.field(
        default_factory=lambda: {table: {} for table in get_args(Others)}
    )
    forgotten: list[MemberKey] = msgspec.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.members or self.forgotten or any(self.others.values()))

    def add(self, key: MemberKey, change: MemberChange) -> None:
        """Put a newer change on top of what there is for the member."""
        if older := self.members.get(key):
            for part, entries in change.parts.items():
                older.parts[part].update(entries)
            change.parts = older.parts
        self.members[key] = change


class Tracker:
    """Counts for all members of the process. No I/O, no clock; not for use from two threads simultaneously.

    `observe` is `work` and `record`. For a large listing `work` can run in another thread, as long as there is only one
    at a time for a member: nothing else touches the member's jobs, and nothing is counted before `record`.
    """

    def __init__(self, state: TrackerState | None = None, *, persistent: bool = True) -> None:
        self._members = state.members if state else {}
        self._groups = {key: totals.rebinned() for key, totals in state.groups.items()} if state else {}
        self._marks = state.marks if state else {}
        self._persistent = persistent
        self._batch = Batch()
        self._rewrite: set[MemberKey] = set()
        self._tracked: dict[str, int] = {}
        for key, member in self._members.items():
            self._count(key.source, len(member.state.jobs))
        self._waits = Waits(state.waits if state else {}, self._members)

    def observe(
        self, key: MemberKey, listing: JobListing, at: float, interval: float, grace: float | None = None
    ) -> None:
        """Count a listing that was read at `at` (see `advance`) of a member polled every `interval` seconds."""
        self.record(key, self.work(self.join(key), listing, at, interval, grace))

    def take_ends(self, key: MemberKey, rows: Sequence[EndedJob], at: float, grace: float) -> None:
        """Count rows of the history that were read at `at`."""
        self.record(key, self.work_ends(self.join(key), rows, at, grace))

    @staticmethod
    def work_ends(member: TrackedMember, rows: Sequence[EndedJob], at: float, grace: float) -> Step:
        """Apply rows of the history that were read at `at` to a member; return what `record` counts."""
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
            self._batch.others["marks"][(source,)] = _ENCODE(self._marks[source])

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
        self.join(key).totals.add(update)
        self._count(key.source, update.growth)
        group_key = (key.source, key.group_id)
        group = self._groups.setdefault(group_key, GroupTotals())
        group.add(step.group)
        self._waits.record(key, update.events, update.at, step.interval)
        if self._persistent and key not in self._rewrite:
            # Encoded now, not when the batch is taken: so the work is spread.
            self._batch.others["groups"][group_key] = _ENCODE(group)
            self._batch.add(key, _change(self._members[key], update.parts()))

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

    def member(self, key: MemberKey) -> MemberTotals:
        """Return a member's counters; all at 0 for one that was never observed."""
        member = self._members.get(key)
        return MemberTotals() if member is None else member.totals.copied()

    def group(self, source: str, group_id: str) -> GroupTotals:
        """Return a group's histograms and counters; all at 0 for one that was never observed."""
        return (self._groups.get((source, group_id)) or GroupTotals()).copied()

    def waits(self, source: str, now: float) -> tuple[WaitView, ...]:
        """Return the bounds for jobs submitted `now`; the same object while nothing changes."""
        return self._waits.views(source, now)

    def sources_with_waits(self) -> Collection[str]:
        return self._waits.sources()

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
        forgotten_waits = self._waits.forget_all_but(inhabited)
        if self._persistent:
            self._batch.forgotten += old
            self._batch.others["groups"].update(dict.fromkeys(empty))
            self._batch.others["waits"].update(dict.fromkeys(forgotten_waits))
        return old, empty

    def take_batch(self, *, everything: bool = False) -> Batch:
        """Return all that has changed since the last call, or `everything`, for an empty file.

        The caller writes it, or gives it back. Not while `work` is done.
        """
        if everything:
            self._batch = Batch()
            self._batch.others["marks"] = {(source,): _ENCODE(until) for source, until in self._marks.items()}
            self.rewrite(self._members.keys())
        batch, self._batch = self._batch, Batch()
        for key in self._rewrite:
            batch.members[key] = _change(self._members[key], self._members[key].state.parts(), rewrite=True)
            group_key = (key.source, key.group_id)
            batch.others["groups"][group_key] = _ENCODE(self._groups.setdefault(group_key, GroupTotals()))
        self._rewrite.clear()
        if self._persistent:
            changed = self._waits.take_changed(everything=everything)
            batch.others["waits"].update((name, _ENCODE(waits)) for name, waits in changed.items())
        return batch

    def give_back(self, batch: Batch) -> None:
        """Note that a batch could not be written.

        Its members, and those that changed since, are written as a whole the next time: untaken changes would pile up.
        """
        self.rewrite({*batch.members, *self._batch.members})
        newer = self._batch
        others = {table: {**rows, **newer.others[table]} for table, rows in batch.others.items()}
        self._batch = Batch(others=others, forgotten=batch.forgotten + newer.forgotten)

    def rewrite(self, keys: Collection[MemberKey]) -> None:
        """Let everything that is known of these members be in the next batch, whatever is on disk."""
        self._rewrite |= self._members.keys() & keys

    def _count(self, source: str, difference: int) -> None:
        self._tracked[source] = self._tracked.get(source, 0) + difference


def _change(member: TrackedMember, parts: Parts, *, rewrite: bool = False) -> MemberChange:
    state = member.state
    whole = MemberState(last=state.last, complete=state.complete, oldest_waiting=state.oldest_waiting, gaps=state.gaps)
    return MemberChange(_ENCODE(TrackedMember(whole, member.totals)), parts, rewrite)
