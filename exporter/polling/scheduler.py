"""Polls and their schedule: spread over the interval, never two of a target at a time, with backoff after failures."""

import asyncio
import random
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import structlog

from exporter.clock import Clock
from exporter.errors import DecodeError, NotThereError, PollError, TransientError
from exporter.polling.health import Health, Listener, Target, TargetKey, TargetStatus
from exporter.supervise import cancelled_on_purpose
from exporter.text import Text

log = structlog.get_logger()

T = TypeVar("T")
# Targets that are processed before the event loop has a turn; each takes up to some 10 us.
SLICE = 200
# Seconds until an optional endpoint that was not there is requested again.
ABSENT_INTERVAL = 3600.0
# All targets are tried soon after the start, but not in the same instant.
START_SPREAD = 1.0
BACKOFF_CAP = 10


# A struct, because one is made at every poll and a frozen dataclass takes five times as long.
class Outcome(msgspec.Struct, frozen=True):
    """The result of a poll: `records` or `error`. `at` is Unix time, `seconds` the duration."""

    key: TargetKey
    at: float
    seconds: float
    records: Any = None
    error: PollError | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing failed; an optional endpoint that is not there is no failure."""
        return self.error is None or isinstance(self.error, NotThereError)

    @property
    def unreadable(self) -> int:
        """The number of records and of single values of a good answer that were left out."""
        return getattr(self.records, "rejected", 0) + getattr(self.records, "rejected_values", 0)


async def poll_target(target: Target, clock: Clock, is_wanted: Callable[[], bool] = lambda: True) -> Outcome:
    """Poll a target and publish the result, if it `is_wanted` then. Raises nothing but its own cancellation."""
    started = clock.monotonic()
    records, error = None, None
    try:
        records = await target.poll()
        if is_wanted():
            await target.publish(records)
    except PollError as failure:
        error = without_traceback(failure)
    except (Exception, asyncio.CancelledError) as failure:
        # The cancellation of something awaited, such as a shared task, is a failure of the poll.
        if isinstance(failure, asyncio.CancelledError) and cancelled_on_purpose():
            raise
        log.exception("a poll failed in an unforeseen way; please report this", **target.key._asdict())
        error = DecodeError(Text("an error inside the exporter, see its log", "exporter 内部错误，请查看其日志"))
    return Outcome(target.key, clock.now(), clock.monotonic() - started, None if error else records, error)


def without_traceback(error: PollError) -> PollError:
    """Return the error without its traceback and causes, which would keep their frames alive while it is stored."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


class Scheduler:
    """The schedule of all targets. Everything happens on the event loop that called `update`."""

    def __init__(self, clock: Clock, listener: Listener, *, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._listener = listener
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._health = Health(clock, listener)
        self._statuses: dict[TargetKey, TargetStatus] = {}
        # Polls in flight with their targets, including those that were removed or replaced meanwhile.
        self._polls: dict[asyncio.Task[None], Target] = {}
        self._stopped = False
        # Identifies the latest call of `set_targets`.
        self._latest: object = None

    @property
    def statuses(self) -> tuple[TargetStatus, ...]:
        """All targets, in the order of the configuration."""
        return tuple(self._statuses.values())

    @property
    def ready(self) -> bool:
        """Whether every target was tried at least once; a later reload does not take it back."""
        return self._health.tried_all.is_set()

    async def wait_ready(self) -> None:
        await self._health.tried_all.wait()

    async def set_targets(self, targets: Sequence[Target]) -> None:
        """Poll these from now on. A target that was polled before keeps its data and, if possible, its rhythm.

        The poll in flight of a target that is gone, or has another identity, is cancelled. Yields to the event loop
        after every `SLICE` targets; a later call supersedes this one.
        """
        self._latest = latest = object()
        for _ in self._change_to(targets):
            await asyncio.sleep(0)
            if self._latest is not latest:
                return

    def update(self, targets: Iterable[Target]) -> None:
        """As `set_targets`, without yielding to the event loop."""
        self._latest = None
        for _ in self._change_to(tuple(targets)):
            pass

    async def replaced_polls(self, source: str) -> None:
        """Wait for the polls in flight of a source's targets that were replaced since.

        At most until their data would be stale.
        """
        polls = {
            task: target
            for task, target in self._polls.items()
            if target.key.source == source
            and ((status := self._statuses.get(target.key)) is None or status.target is not target)
        }
        if polls:
            await asyncio.wait(polls, timeout=max(target.stale_after for target in polls.values()))

    async def stop(self) -> None:
        """Stop polling for good; polls in flight are cancelled."""
        self._stopped = True
        for status in self._statuses.values():
            if status.timer is not None:
                status.timer.cancel()
        # In the order of their start: those that wait for a slot are at the front of its queue.
        async for polls in batched(tuple(self._polls)):
            for task in polls:
                task.cancel()
            await asyncio.wait(polls)

    def expire(self) -> None:
        """Drop data that is older than its `stale_after`. Call it before showing anything."""
        self._health.expire(self._statuses.values())

    def poll_soon(self, keys: Iterable[TargetKey]) -> None:
        """Bring forward the next polls of `keys` to within a second."""
        for key in keys:
            status = self._statuses.get(key)
            if status is not None and not status.in_flight:
                remaining = status.due - self._clock.monotonic()
                self._schedule(status, min(remaining, first_delay(status.target.interval, self._rng)))

    def _change_to(self, targets: Sequence[Target]) -> Iterator[None]:
        """Poll `targets` from now on, with a pause after every `SLICE` of them."""
        new = {target.key: target for target in targets}
        for keys in slices(tuple(self._statuses)):
            for key in keys:
                if key in self._statuses and not same_data(self._statuses[key].target, new.get(key)):
                    self._remove(key)
            yield
        # All before the first slice, or a source would count as tried, and as up, after its first few targets.
        for target in new.values():
            self._health.expect(target)
        for some in slices(tuple(new.values())):
            for target in some:
                self._upsert(target)
            yield
        self._statuses = {key: self._statuses[key] for key in new}
        self._health.keep_only(new.keys())

    def _upsert(self, target: Target) -> None:
        """Add or update a target."""
        status = self._statuses.get(target.key)
        if status is None:
            self._register(target)
        elif status.target is not target:
            rhythm_changed = target.interval != status.target.interval
            status.target = target
            if rhythm_changed and not status.in_flight:
                self._schedule(status, min(status.due - self._clock.monotonic(), target.interval))

    def _register(self, target: Target) -> None:
        status = self._statuses[target.key] = TargetStatus(target)
        status.start = partial(self._start, status)
        self._schedule(status, first_delay(target.interval, self._rng))

    def _remove(self, key: TargetKey) -> None:
        status = self._statuses.pop(key)
        # It refers to the status: without it, both are freed immediately instead of being left to the garbage collector.
        status.start = nothing
        if status.timer is not None:
            status.timer.cancel()
        if status.task is not None:
            # A task that is cancelled before it begins cannot remove itself.
            status.task.add_done_callback(self._forget_poll)
            status.task.cancel()
        self._health.remove(key)

    def _schedule(self, status: TargetStatus, delay: float) -> None:
        if status.timer is not None:
            status.timer.cancel()
        if self._stopped:
            return
        delay = max(0.0, delay)
        status.due = self._clock.monotonic() + delay
        status.next_poll = self._clock.now() + delay
        status.timer = self._clock.call_later(delay, status.start)

    def _start(self, status: TargetStatus) -> None:
        status.timer, status.next_poll = None, None
        status.task = task = asyncio.get_running_loop().create_task(self._poll(status))
        # Keeps the task alive after its target was removed: the event loop holds only a weak reference.
        self._polls[task] = status.target

    def _begin_publishing(self, status: TargetStatus) -> bool:
        """Mark the target as publishing, unless it was removed meanwhile; return whether it was marked."""
        status.publishing = self._is_current(status)
        return status.publishing

    async def _poll(self, status: TargetStatus) -> None:
        try:
            outcome = await poll_target(status.target, self._clock, partial(self._begin_publishing, status))
        finally:
            status.publishing = False
            if status.task is not None:
                self._forget_poll(status.task)
                status.task = None
        if self._is_current(status):
            self._record(status, outcome.error)
            self._listener.polled(status.key, outcome.seconds, None if status.absent else outcome.error)

    def _record(self, status: TargetStatus, error: PollError | None) -> None:
        """Record the end of a poll and schedule the next one."""
        first = status.up is None and not status.absent
        recovering = self._health.record(status, error)
        self._schedule(status, self._delay(status, error, first=first))
        for key in recovering:
            self._reschedule(self._statuses[key])

    def _delay(self, status: TargetStatus, error: PollError | None, *, first: bool) -> float:
        """Seconds to the next poll."""
        interval = status.target.interval
        if isinstance(error, NotThereError):
            return max(interval, ABSENT_INTERVAL)
        if error is not None:
            retry_after = error.retry_after if isinstance(error, TransientError) else None
            delay = backoff_delay(status.failures, interval, retry_after, self._rng)
            if status.target.together:
                return self._together(status.target, delay if retry_after else delay - interval / 2)
            return delay
        if status.target.together:
            return self._together(status.target, interval / 10)
        if first:
            return second_delay(status.key, interval)
        return regular_delay(status.due, self._clock.monotonic(), interval)

    def _reschedule(self, status: TargetStatus) -> None:
        """Shorten a backoff whose reason seems to be over."""
        interval = status.target.interval
        if not status.in_flight and status.due - self._clock.monotonic() > interval:
            together = status.target.together
            self._schedule(status, self._together(status.target, 0.0) if together else self._rng.uniform(0, interval))

    def _together(self, target: Target, after: float) -> float:
        """Seconds to the first moment, not before `after`, at which all targets that are polled together are due."""
        return after + time_to_phase(target.together, target.interval, self._clock.monotonic() + after)

    def _forget_poll(self, task: asyncio.Task[None]) -> None:
        self._polls.pop(task, None)

    def _is_current(self, status: TargetStatus) -> bool:
        return self._statuses.get(status.key) is status


def same_data(old: Target, new: Target | None) -> bool:
    """Whether the data of `old` may still be shown for `new`."""
    return new is old or (new is not None and new.identity == old.identity)


def nothing() -> None:
    """Do nothing, as the start of a target that is no longer polled."""


def slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Return the items, `SLICE` at a time."""
    return (items[start : start + SLICE] for start in range(0, len(items), SLICE))


async def batched(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """Yield the items, `SLICE` at a time, with a turn of the event loop before each slice."""
    for some in slices(items):
        await asyncio.sleep(0)
        yield some


def first_delay(interval: float, rng: random.Random) -> float:
    """Seconds from the start to a target's first poll."""
    return rng.uniform(0, min(START_SPREAD, interval / 2))


def second_delay(key: TargetKey, interval: float) -> float:
    """Seconds from the first poll to the second: half to one and a half intervals.

    From then on the target keeps its own phase, spread evenly over the interval and the same after every restart.
    """
    return interval * (0.5 + phase_of("\0".join(key)))


def time_to_phase(name: str, interval: float, now: float) -> float:
    """Seconds from `now` to the next moment of the phase of `name`: the same for all targets with that name."""
    return (phase_of(name) * interval - now) % interval


def phase_of(name: str) -> float:
    """Return the phase of a name within an interval, from 0 to 1."""
    return zlib.crc32(name.encode()) / 2**32


def backoff_delay(failures: int, interval: float, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to the next poll after a number of consecutive failures (1 or more), at most ten intervals.

    The first failure does not delay the next poll; then the pause doubles. `Retry-After` is honoured, up to the same
    bound.
    """
    doubled = interval * 2.0 ** min(failures - 1, BACKOFF_CAP)
    longest = BACKOFF_CAP * interval
    pause = min(doubled, longest) * (rng.uniform(0.9, 1.0) if failures > 1 else 1.0)
    return max(pause, min(retry_after or 0.0, longest))


def regular_delay(due: float, now: float, interval: float) -> float:
    """Seconds to the next poll of the target's own rhythm; missed polls are skipped."""
    behind = max(0.0, now - due)
    return interval - behind % interval
