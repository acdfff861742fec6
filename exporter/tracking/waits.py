"""Wait bounds of all regions by queue: assigns heads to classes, and keeps the views that are shown."""

from collections.abc import Collection, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from exporter.tracking.bounds import QUANTILES, Bounds, WaitClass
from exporter.tracking.model import NEVER, Dequeued, Events, MemberKey, Phase, Queued
from exporter.tracking.totals import TrackedMember

# A scheduler whose queues have other names all the time must not fill the memory: those of further ones are not followed.
MOST_CLASSES: Final = 256  # of one source
# Bounds grow while jobs wait: after this time they are computed anew even if nothing has happened, limited in number at a time.
_VIEW_SECONDS: Final = 30.0
_RENEWED_AT_ONCE: Final = 8
# Of a source with more classes than this, what is shown changes once a second at most: each poll may change one of them.
_FEW: Final = 32


class ClassKey(NamedTuple):
    """Jobs that queue together: those in a `queue` where that is known, else those of a group; with accelerators apart.

    One of `group_id` and `queue` is empty.
    """

    source: str
    group_id: str
    queue: str
    accelerated: bool


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """The bound of one quantile, and how often such bounds held.

    `seconds` is None while too little is known, or the bound is `withheld` because it failed too often of the `recent`
    ones.
    """

    quantile: float
    seconds: float | None
    withheld: bool
    checked: int
    held: int
    recent_checked: int
    recent_held: int


class WaitView(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds for the first job submitted now, computed from the waits of a number of `heads`; immutable."""

    key: ClassKey
    heads: int
    promises: tuple[Promise, ...]


class Waits:
    """The classes of all sources."""

    def __init__(self, classes: dict[ClassKey, WaitClass], members: Mapping[MemberKey, TrackedMember]) -> None:
        """Find among the jobs of `members`, who come and go, the heads that wait in `classes`."""
        self._classes = classes
        self._members = members
        self._changed: set[ClassKey] = set()
        # By class and by source, each with the time when it was made. A class that has changed is not there.
        self._view_of: dict[ClassKey, tuple[float, WaitView]] = {}
        self._views: dict[str, tuple[float, tuple[WaitView, ...]]] = {}
        # The class of each head that waits, by its member and job id, and the other way round by its key.
        self._heads: dict[MemberKey, dict[str, ClassKey]] = {}
        self._followed: dict[ClassKey, dict[str, tuple[MemberKey, str]]] = {key: {} for key in classes}
        self._find_heads()

    def _find_heads(self) -> None:
        lost = {key: (name, waits) for name, waits in self._classes.items() for key in waits.waiting()}
        if lost:
            for member, tracked in self._members.items():
                for job_id, job in tracked.state.jobs.items():
                    if job.phase is Phase.WAIT and (found := lost.pop(key_of(member, job_id), None)) is not None:
                        self._follow(found[0], member, job_id)
        for key, (_, waits) in lost.items():
            waits.left(key, 0.0)

    def record(self, member: MemberKey, events: Events, at: float, interval: float) -> None:
        """Record the events of a member's listing, in the order of time.

        `interval` is that between two polls in seconds.
        """
        news: list[Queued | Dequeued] = [*events.queued, *events.dequeued]
        for event in sorted(news, key=_by_time):
            if isinstance(event, Queued):
                self._submit(member, event, interval)
            elif (name := self._heads.get(member, {}).pop(event.job_id, None)) is not None:
                self._end(name, member, event)
        for job_id, name in list(self._heads.get(member, {}).items()):
            if self._known(member, job_id) == NEVER:  # no longer followed, whatever the reason
                del self._heads[member][job_id]
                self._end(name, member, Dequeued(NEVER, job_id, started=False))
        for name in set(self._heads.get(member, {}).values()):
            if self._classes[name].look(at, self._seen(name)):
                self._let_go(name)
                self._change(name)

    def _submit(self, member: MemberKey, job: Queued, interval: float) -> None:
        group_id = "" if job.queue else member.group_id
        name = ClassKey(member.source, group_id, job.queue, job.accelerated)
        if name not in self._classes:
            if sum(key.source == member.source for key in self._classes) >= MOST_CLASSES:
                return
            self._classes[name], self._followed[name] = WaitClass(), {}
        gap = 0.0 if job.reported else interval
        if self._classes[name].submitted(key_of(member, job.job_id), job.at, gap, self._seen(name)):
            self._follow(name, member, job.job_id)
            self._let_go(name)
            self._change(name)

    def _follow(self, name: ClassKey, member: MemberKey, job_id: str) -> None:
        self._heads.setdefault(member, {})[job_id] = name
        self._followed[name][key_of(member, job_id)] = member, job_id

    def _let_go(self, name: ClassKey) -> None:
        """Follow no longer what the class has dropped: heads that wait beyond all bounds, and old ones without a bound."""
        for key in self._followed[name].keys() - set(self._classes[name].waiting()):
            member, job_id = self._followed[name].pop(key)
            # It may wait as a head of another class by now.
            if self._heads[member].get(job_id) == name:
                del self._heads[member][job_id]

    def _end(self, name: ClassKey, member: MemberKey, job: Dequeued) -> None:
        key = key_of(member, job.job_id)
        del self._followed[name][key]
        waits = self._classes[name]
        (waits.started if job.started else waits.left)(key, job.at)
        self._change(name)

    def _seen(self, name: ClassKey) -> dict[str, float]:
        return {key: self._known(*job) for key, job in self._followed[name].items()}

    def _known(self, member: MemberKey, job_id: str) -> float:
        """Return until when a job is known to wait: usually, until its member's last listing. NEVER where it does not."""
        state = self._members[member].state
        job = state.jobs.get(job_id)
        if job is None or job.phase is not Phase.WAIT:
            return NEVER
        return state.last if job.known is None else job.known

    def _change(self, name: ClassKey) -> None:
        self._changed.add(name)
        self._view_of.pop(name, None)

    def views(self, source: str, now: float) -> tuple[WaitView, ...]:
        """Return the classes of a source, those of queues first; the same object while nothing changes."""
        made, views = self._views.get(source, (NEVER, ()))
        if len(views) > _FEW and 0 <= now - made < 1.0:
            return views
        names = sorted(name for name in self._classes if name.source == source)
        old = sorted(
            (made, name) for name in names if (made := self._view_of.get(name, (now,))[0]) <= now - _VIEW_SECONDS
        )
        for _, name in old[:_RENEWED_AT_ONCE]:
            del self._view_of[name]
        for name in names:
            if name not in self._view_of:
                self._view_of[name] = now, _view(name, self._classes[name], now, self._seen(name))
        new = tuple(self._view_of[name][1] for name in names)
        if new != views:
            self._views[source] = now, new
            return new
        return views

    def sources(self) -> set[str]:
        """Return the sources that have classes."""
        return {name.source for name in self._classes}

    def forget_member(self, member: MemberKey, last: float) -> None:
        """Follow a member's jobs no longer; they are known to have waited until `last`."""
        for job_id, name in self._heads.pop(member, {}).items():
            self._end(name, member, Dequeued(last, job_id, started=False))

    def forget_all_but(self, groups: Collection[tuple[str, str]]) -> list[ClassKey]:
        """Drop the classes of groups that are not among these, and of queues in sources without a group.

        Return them.
        """
        sources = {source for source, _ in groups}
        dropped = [
            name
            for name in self._classes
            if (name.source not in sources if name.queue else (name.source, name.group_id) not in groups)
        ]
        for name in dropped:
            # Their members were forgotten, with their heads.
            del self._classes[name], self._followed[name]
            self._changed.discard(name)
            self._view_of.pop(name, None)
            self._views.pop(name.source, None)
        return dropped

    def take_changed(self, *, everything: bool = False) -> dict[ClassKey, WaitClass]:
        """Return the classes that have changed since the last call, or `everything`."""
        changed = {name: self._classes[name] for name in (self._classes if everything else self._changed)}
        self._changed.clear()
        return changed


def key_of(member: MemberKey, job_id: str) -> str:
    """Return the key of a head in the state file, in which a job's id may be of any length."""
    return blake2b("\0".join((*member, job_id)).encode(), digest_size=8).hexdigest()


def _by_time(event: Queued | Dequeued) -> tuple[float, bool]:
    return event.at, isinstance(event, Dequeued)


def _view(name: ClassKey, waits: WaitClass, now: float, seen: Mapping[str, float]) -> WaitView:
    bounds: Bounds = waits.bounds(now, seen)
    promises = (
        Promise(
            quantile=quantile,
            seconds=bound,
            withheld=withheld,
            checked=score.checked,
            held=score.held,
            recent_checked=len(score.recent),
            recent_held=score.recent.count("1"),
        )
        for quantile, bound, withheld, score in zip(QUANTILES, bounds, waits.withheld(), waits.scores, strict=True)
    )
    return WaitView(key=name, heads=len(waits.heads), promises=tuple(promises))
