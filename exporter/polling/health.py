"""Targets and their health: the only place where it changes, and where a change is logged and shown."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, KeysView
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple, Protocol

import structlog

from exporter.clock import Clock, Timer
from exporter.errors import DecodeError, NotThereError, PollError, TransientError, UnexpectedStatusError

log = structlog.get_logger()

# The states of targets in the order of urgency.
STATES: Final = ("stale", "failing", "pending", "up", "absent")
# A failing host times out, hangs up and sends 5xx in turn: one incident.
UNREACHABLE = frozenset({"connection", "timeout", "http"})


class TargetKey(NamedTuple):
    """The labels of a target: the region's or project's name, the collector, and the user, member or queue."""

    source: str
    collector: str
    target: str


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to poll, and how its result is published.

    `interval` and `stale_after` are seconds. `poll` requests the upstream and raises PollError. `publish` shows the
    result of `poll` and must not fail. A target that replaces one of the same key keeps its data only if `identity` is
    equal, too (the host, for example). `optional` targets do not decide whether their source answers, unless it has no
    others. Targets with the same text in `together` and the same interval are polled at the same moments, so that they
    can share an answer.
    """

    key: TargetKey
    interval: float
    stale_after: float
    poll: Callable[[], Awaitable[Any]]
    publish: Callable[[Any], Awaitable[None]]
    identity: Hashable = None
    optional: bool = False
    together: str = ""


@dataclass(slots=True)
class TargetStatus:
    """The state of a target's polls. `last_*` and `next_poll` are Unix times; `up` is None before the first poll."""

    target: Target
    up: bool | None = None
    stale: bool = False
    # The source does not have the endpoint, which is optional; `up` is None then.
    absent: bool = False
    failures: int = 0
    last_attempt: float | None = None
    last_success: float | None = None
    last_error: PollError | None = None
    last_error_at: float | None = None
    next_poll: float | None = None
    # The scheduler's own: on the monotonic clock.
    succeeded_at: float | None = None
    due: float = 0.0
    # Reused: a new one for every poll of every target would burden the garbage collector.
    start: Callable[[], None] = lambda: None
    timer: Timer | None = None
    task: asyncio.Task[None] | None = None
    # New data is being published: to expire the old data now would remove it as well.
    publishing: bool = False

    @property
    def key(self) -> TargetKey:
        return self.target.key

    @property
    def state(self) -> str:
        """One of `STATES`.

        Absent without the optional endpoint, pending before the first try, then up, failing (its data is still shown)
        or stale (it is not).
        """
        if self.absent:
            return "absent"
        if self.up is None:
            return "pending"
        if self.stale:
            return "stale"
        return "up" if self.up else "failing"

    @property
    def in_flight(self) -> bool:
        """Whether a poll is under way."""
        return self.task is not None

    def copy(self) -> "TargetStatus":
        """Return a copy without the scheduler's own fields, to be read while polls go on."""
        return replace(self, succeeded_at=None, due=0.0, start=lambda: None, timer=None, task=None, publishing=False)


NOTHING: frozenset[TargetKey] = frozenset()


class Listener(Protocol):
    """Receives the results of polls. Called on the event loop; must be quick and must not fail."""

    def polled(self, key: TargetKey, seconds: float, error: PollError | None) -> None:
        """Note that a poll ended."""
        ...

    def health_changed(self, status: TargetStatus, *, flipped: bool) -> None:
        """`up` or `stale` of a target changed, or only its `last_success` where they have not `flipped`."""
        ...

    def source_changed(self, source: str, status: "SourceStatus") -> None:
        """Whether `source` answers, or how many of its targets work."""
        ...

    def expired(self, key: TargetKey) -> None:
        """Remove the data of a target, which is too old to be shown."""
        ...

    def removed(self, key: TargetKey) -> None:
        """Remove all that is shown of a target that is no longer configured."""
        ...


class Health:
    """The health of all targets and of their sources.

    The state of a target is `TargetStatus.state`. Failures for the same reason are one incident, which is logged once
    when it begins and once when it is over.
    """

    def __init__(self, clock: Clock, listener: Listener) -> None:
        self._clock = clock
        self._listener = listener
        self._incidents = IncidentLog()
        self._sources: dict[str, SourceHealth] = {}
        # Set once every target was tried; a later reload does not take it back.
        self.tried_all = asyncio.Event()
        # No success becomes stale before this moment: most scrapes need not check all targets.
        self._stale_not_before = 0.0

    def expect(self, target: Target) -> None:
        """Count a target as not tried yet, unless it is known."""
        health = self._sources.get(target.key.source)
        if health is None:
            health = self._sources[target.key.source] = SourceHealth()
        health.add(target.key, optional=target.optional)

    def remove(self, key: TargetKey) -> None:
        """Forget a target that is no longer polled."""
        self._sources[key.source].remove(key)
        self._incidents.forget(key)
        self._listener.removed(key)

    def keep_only(self, keys: Collection[TargetKey]) -> None:
        """Forget expected targets that are not among `keys`, and show the health of the sources."""
        wanted = set(keys)
        for health in self._sources.values():
            for key in health.known - wanted:
                health.remove(key)
        self._sources = {source: health for source, health in self._sources.items() if health.known}
        for source, health in self._sources.items():
            self._listener.source_changed(source, health.status)
        self._stale_not_before = 0.0
        self._note_tried()

    def record(self, status: TargetStatus, error: PollError | None) -> frozenset[TargetKey]:
        """Record the end of a poll of the target.

        Returns the targets that failed for a reason that seems to be over: they may be polled early.
        """
        before = status.up, status.stale, status.absent
        status.last_attempt = self._clock.now()
        recovering = NOTHING
        if isinstance(error, NotThereError):
            self._record_absence(status, error)
        elif error is not None:
            self._record_failure(status, error)
        else:
            recovering = self._record_success(status)
        source = self._sources[status.key.source]
        source_before = source.status
        source.record(status.key, status.up)
        if before == (None, False, False):
            self._note_tried()
        self._listener.health_changed(status, flipped=before != (status.up, status.stale, status.absent))
        if source.status != source_before:
            self._listener.source_changed(status.key.source, source.status)
        return recovering

    def expire(self, statuses: Iterable[TargetStatus]) -> None:
        """Mark targets as stale whose data is older than their `stale_after`. Call it before showing anything."""
        now = self._clock.monotonic()
        if now < self._stale_not_before:
            return
        earliest = float("inf")
        for status in statuses:
            if status.succeeded_at is None or status.stale:
                continue
            deadline = status.succeeded_at + status.target.stale_after
            if deadline < now and not status.publishing:
                status.stale = True
                self._listener.expired(status.key)
                self._listener.health_changed(status, flipped=True)
            else:
                earliest = min(earliest, deadline)
        self._stale_not_before = earliest

    def _record_success(self, status: TargetStatus) -> frozenset[TargetKey]:
        now = self._clock.monotonic()
        status.up, status.stale, status.absent, status.failures, status.last_error = True, False, False, 0, None
        status.last_success, status.succeeded_at = status.last_attempt, now
        self._stale_not_before = min(self._stale_not_before, now + status.target.stale_after)
        incident = self._incidents.record_success(status.key, self._clock.now())
        return NOTHING if incident is None else self._incidents.affected_by(incident)

    def _record_failure(self, status: TargetStatus, error: PollError) -> None:
        status.up, status.absent, status.last_error, status.last_error_at = False, False, error, status.last_attempt
        status.stale = status.stale or status.succeeded_at is None
        status.failures += 1
        self._incidents.record_failure(status.key, error, self._clock.now())

    def _record_absence(self, status: TargetStatus, error: NotThereError) -> None:
        """Record that the source does not have the endpoint; log it once. It may get it later."""
        if not status.absent:
            log.info("optional endpoint is not there", **status.key._asdict(), error=str(error))
        if status.succeeded_at is not None:
            self._listener.expired(status.key)
        status.absent, status.up, status.stale, status.failures = True, None, False, 0
        status.last_error, status.succeeded_at = None, None
        self._incidents.forget(status.key)

    def _note_tried(self) -> None:
        if all(health.tried for health in self._sources.values()):
            self.tried_all.set()


class SourceStatus(NamedTuple):
    """Whether a source answers, how many of its targets are polled, and of how many the last poll worked.

    None: not known yet. Targets whose endpoint is not there are not counted.
    """

    up: bool | None
    targets: int
    working: int | None


# The last poll of a target: whether it worked; None where the optional endpoint is not there.
Last = bool | Literal["untried"] | None


def source_up(default: Counter[Last], optional: Counter[Last]) -> bool | None:
    """Return whether a source answers, by the last polls of its targets; None where it is not known yet.

    Optional targets decide only where there are no others.
    """
    deciding = default if default.total() else optional
    # While others may still work, none that failed decides.
    return True if deciding[True] else False if deciding[False] and not deciding["untried"] else None


class SourceHealth:
    """Counts of one source's targets by health, so that not all have to be looked at after every poll."""

    def __init__(self) -> None:
        self._default, self._optional = Counter[Last](), Counter[Last]()
        # Where each target is counted, and as what.
        self._counted: dict[TargetKey, tuple[Counter[Last], Last]] = {}

    @property
    def known(self) -> KeysView[TargetKey]:
        return self._counted.keys()

    @property
    def tried(self) -> bool:
        """Whether every target was tried."""
        return not self._default["untried"] and not self._optional["untried"]

    def add(self, key: TargetKey, *, optional: bool = False) -> None:
        """Expect `key` to be tried, unless it is known."""
        if key not in self._counted:
            counts = self._optional if optional else self._default
            self._counted[key] = counts, "untried"
            counts["untried"] += 1

    def remove(self, key: TargetKey) -> None:
        counts, last = self._counted.pop(key)
        counts[last] -= 1

    def record(self, key: TargetKey, up: bool | None) -> None:
        """Record the end of a poll of `key`; `up` is None where its optional endpoint is not there."""
        counts, last = self._counted[key]
        self._counted[key] = counts, up
        counts[last] -= 1
        counts[up] += 1

    @property
    def status(self) -> SourceStatus:
        default, optional = self._default, self._optional
        known, untried = len(self._counted), default["untried"] + optional["untried"]
        return SourceStatus(
            up=source_up(default, optional),
            targets=known - default[None] - optional[None],
            working=None if untried == known else default[True] + optional[True],
        )


class Incident(NamedTuple):
    """A reason for failures: `culprit` is a credential, an endpoint, or an endpoint's target.

    Empty for a whole source.
    """

    source: str
    kind: str
    culprit: str


@dataclass(slots=True)
class AffectedTargets:
    """The targets that an incident affects now, and the maximum so far; `since` is Unix time."""

    since: float
    failing: set[TargetKey] = field(default_factory=set)
    most: int = 0
    # Whether a target recovered since the last failure.
    recovering: bool = False


class IncidentLog:
    """Groups failing targets by incident: one log line when an incident begins, one when it is over."""

    def __init__(self) -> None:
        self._affected: dict[Incident, AffectedTargets] = {}
        self._incident_of: dict[TargetKey, Incident] = {}

    def record_failure(self, key: TargetKey, error: PollError, now: float) -> None:
        incident = incident_of(key, error)
        previous = self._incident_of.get(key)
        affected = self._affected.get(incident)
        if affected is not None:
            affected.recovering = False
        if previous == incident:
            return
        if affected is None:
            affected = self._affected[incident] = AffectedTargets(since=now)
            log.warning("polling failed", **key._asdict(), reason=error.reason, error=str(error))
        self._incident_of[key] = incident
        affected.failing.add(key)
        affected.most = max(affected.most, len(affected.failing))
        # After the new one exists: an incident that turned into another is not over.
        if previous is not None:
            self._leave(key, previous)

    def record_success(self, key: TargetKey, now: float) -> Incident | None:
        """Record a success. Returns the incident of `key`, if this is the first sign that it is over."""
        incident = self._incident_of.pop(key, None)
        if incident is None:
            return None
        affected = self._leave(key, incident)
        if not affected.failing:
            seconds = round(now - affected.since, 1)
            log.info("polling recovered", **key._asdict(), targets=affected.most, after_seconds=seconds)
        first_sign = not affected.recovering
        affected.recovering = True
        return incident if first_sign else None

    def forget(self, key: TargetKey) -> None:
        """Forget a target that is no longer polled, or whose endpoint is not there."""
        incident = self._incident_of.pop(key, None)
        if incident is not None:
            self._leave(key, incident)

    def affected_by(self, incident: Incident) -> frozenset[TargetKey]:
        """Return the targets that still fail for this reason."""
        affected = self._affected.get(incident)
        return frozenset(affected.failing) if affected else NOTHING

    def _leave(self, key: TargetKey, incident: Incident) -> AffectedTargets:
        affected = self._affected[incident]
        affected.failing.discard(key)
        if not affected.failing:
            del self._affected[incident]
        return affected


def incident_of(key: TargetKey, error: PollError) -> Incident:
    """Return the incident of an error, as wide as its cause: many targets share a log line."""
    if error.reason == "auth":
        return Incident(key.source, "auth", error.culprit)
    if isinstance(error, UnexpectedStatusError | DecodeError):
        return Incident(key.source, error.reason, key.collector)
    if error.reason in UNREACHABLE:
        return Incident(key.source, "unreachable", "")
    if isinstance(error, TransientError):
        return Incident(key.source, error.reason, "")
    return Incident(key.source, error.reason, f"{key.collector} {key.target}")
