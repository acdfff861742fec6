"""Polls every target in its rhythm and keeps track of how that goes."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import structlog

from exporter.clock import Clock
from exporter.errors import DecodeError, NotThereError, PollError, TransientError
from exporter.polling.edges import EdgeLog, Trouble
from exporter.polling.schedule import backoff_delay, first_delay, regular_delay, second_delay
from exporter.polling.source_health import SourceHealth
from exporter.polling.target import Target, TargetKey, TargetStatus

log = structlog.get_logger()

T = TypeVar("T")
# How many targets are dealt with before others have their turn; each takes up to some 10 us.
SLICE = 200
# Seconds until an optional endpoint that was not there is requested again.
ABSENT_INTERVAL = 3600.0


class Listener(Protocol):
    """Who shows how the polls go. Called on the event loop; must be quick and must not fail."""

    def polled(self, key: TargetKey, seconds: float, error: PollError | None) -> None:
        """A poll ended."""
        ...

    def health_changed(self, status: TargetStatus) -> None:
        """`up`, `stale` or `last_success` of a target changed."""
        ...

    def source_changed(self, source: str, up: bool | None) -> None:
        """Whether the last poll of every target of `source` worked; None while some were not tried and none failed."""
        ...

    def expired(self, key: TargetKey) -> None:
        """What the target showed is too old to be shown."""
        ...

    def removed(self, key: TargetKey) -> None:
        """The target is no longer configured."""
        ...


class Poller:
    """The schedule of all targets. Everything happens on the event loop that called `update`."""

    def __init__(self, clock: Clock, listener: Listener, *, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._listener = listener
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._statuses: dict[TargetKey, TargetStatus] = {}
        self._edges = EdgeLog()
        # All that are under way, with what they poll: also of targets that were removed or replaced meanwhile.
        self._polls: dict[asyncio.Task[None], Target] = {}
        self._stopped = False
        self._updates = 0
        self._sources: dict[str, SourceHealth] = {}
        self._tried_all = asyncio.Event()
        # No success can become stale before this moment; spares looking at all of them at every scrape.
        self._stale_not_before = 0.0

    @property
    def statuses(self) -> tuple[TargetStatus, ...]:
        """All targets, in the order of the configuration."""
        return tuple(self._statuses.values())

    @property
    def ready(self) -> bool:
        """Whether every target was tried at least once; a later reload does not take it back."""
        return self._tried_all.is_set()

    async def wait_ready(self) -> None:
        await self._tried_all.wait()

    def update(self, targets: Iterable[Target]) -> None:
        """Poll these from now on. A target that was polled before keeps its data and, if it can, its rhythm.

        A poll under way of a target that is gone, or is another one under its old name, is cancelled.
        """
        self._updates += 1
        new = {target.key: target for target in targets}
        for key in [key for key, status in self._statuses.items() if not same_data(status.target, new.get(key))]:
            self._remove(key)
        for key, target in new.items():
            known = self._statuses.get(key)
            if known is None or known.target is not target:
                self._take(target)
        self._statuses = {key: self._statuses[key] for key in new}
        for health in self._sources.values():
            for key in health.known - new.keys():
                health.remove(key)
        self._sources = {source: health for source, health in self._sources.items() if not health.empty}
        for source, health in self._sources.items():
            self._listener.source_changed(source, health.up)
        self._stale_not_before = 0.0
        self._check_tried_all()

    async def set_targets(self, targets: Sequence[Target]) -> None:
        """Do the same as `update`, bit by bit; an `update` in between has the last word.

        Thousands of targets at once would keep the event loop from everything else for too long.
        """
        updates = self._updates
        new = {target.key: target for target in targets}
        async for keys in in_slices(tuple(self._statuses)):
            if self._updates != updates:
                return
            for key in keys:
                status = self._statuses.get(key)
                if status is not None and not same_data(status.target, new.get(key)):
                    self._remove(key)
        # All of them from the beginning, or a source would count as tried, and as up, after its first few targets.
        for target in targets:
            self._expect(target.key)
        async for some in in_slices(targets):
            if self._updates != updates:
                return
            for target in some:
                self._take(target)
        self.update(targets)

    async def replaced_polls(self, source: str) -> None:
        """Wait for the polls under way of a source's targets that were replaced since: they go on as they began.

        Not longer than until what they bring would be too old to be shown.
        """
        polls = {
            task: target
            for task, target in self._polls.items()
            if target.key.source == source and self._target(target.key) is not target
        }
        if polls:
            await asyncio.wait(polls, timeout=max(target.stale_after for target in polls.values()))

    async def stop(self) -> None:
        """Stop polling for good; polls under way are cancelled."""
        self._stopped = True
        for status in self._statuses.values():
            if status.timer is not None:
                status.timer.cancel()
        for task in self._polls:
            task.cancel()
        await asyncio.gather(*self._polls, return_exceptions=True)

    def expire(self) -> None:
        """Let go of data that is older than its `stale_after`. To be called before anything is shown."""
        now = self._clock.monotonic()
        if now < self._stale_not_before:
            return
        earliest = float("inf")
        for status in self._statuses.values():
            if status.succeeded_at is None or status.stale:
                continue
            deadline = status.succeeded_at + status.target.stale_after
            if deadline < now:
                status.stale = True
                self._listener.expired(status.key)
                self._listener.health_changed(status)
            else:
                earliest = min(earliest, deadline)
        self._stale_not_before = earliest

    def poll_soon(self, keys: Iterable[TargetKey]) -> None:
        """Bring forward the next polls of `keys` to within a second."""
        for key in keys:
            status = self._statuses.get(key)
            if status is not None and not status.in_flight:
                remaining = status.due - self._clock.monotonic()
                self._schedule(status, min(remaining, first_delay(status.target.interval, self._rng)))

    def _take(self, target: Target) -> None:
        """Poll `target` from now on, whether it is new or not."""
        status = self._statuses.get(target.key)
        if status is not None and not same_data(status.target, target):
            self._remove(target.key)
            status = None
        if status is None:
            self._begin(target)
        elif status.target is not target:
            self._replace(status, target)

    def _expect(self, key: TargetKey) -> None:
        health = self._sources.get(key.source)
        if health is None:
            health = self._sources[key.source] = SourceHealth()
        health.add(key)

    def _begin(self, target: Target) -> None:
        status = self._statuses[target.key] = TargetStatus(target)
        status.start = partial(self._start, status)
        self._expect(target.key)
        self._schedule(status, first_delay(target.interval, self._rng))

    def _replace(self, status: TargetStatus, target: Target) -> None:
        rhythm_changed = target.interval != status.target.interval
        status.target = target
        if rhythm_changed and not status.in_flight:
            self._schedule(status, min(status.due - self._clock.monotonic(), target.interval))

    def _remove(self, key: TargetKey) -> None:
        status = self._statuses.pop(key)
        # It refers to the status: without it, both are gone at once instead of being left to the garbage collector.
        status.start = nothing
        if status.timer is not None:
            status.timer.cancel()
        if status.task is not None:
            # It may not have begun, and then never will: it cannot take itself out of the set.
            status.task.add_done_callback(self._forget_poll)
            status.task.cancel()
        self._sources[key.source].remove(key)
        self._edges.forget(key)
        self._listener.removed(key)

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
        # This keeps the task alive after its target was removed: the event loop itself holds only a weak reference.
        self._polls[task] = status.target

    def _ended(self, status: TargetStatus) -> None:
        if status.task is not None:
            self._forget_poll(status.task)
            status.task = None

    def _forget_poll(self, task: asyncio.Task[None]) -> None:
        self._polls.pop(task, None)

    def _target(self, key: TargetKey) -> Target | None:
        status = self._statuses.get(key)
        return None if status is None else status.target

    def _current(self, status: TargetStatus) -> bool:
        return self._statuses.get(status.key) is status

    async def _poll(self, status: TargetStatus) -> None:
        target = status.target
        started = self._clock.monotonic()
        error: PollError | None = None
        try:
            records = await target.poll()
            if self._current(status):
                await target.publish(records)
        except PollError as failure:
            error = forgetful(failure)
        except (Exception, asyncio.CancelledError) as failure:
            # Cancelled by somebody else than us (a task that many polls share, say), it must not end the target.
            if isinstance(failure, asyncio.CancelledError) and cancelled_on_purpose():
                raise
            log.exception("a poll failed in an unforeseen way; please report this", **target.key._asdict())
            error = DecodeError("an error inside the exporter, see its log")
        finally:
            self._ended(status)
        if self._current(status):
            seconds = self._clock.monotonic() - started
            self._settle(status, error)
            self._listener.polled(target.key, seconds, None if status.absent else error)

    def _settle(self, status: TargetStatus, error: PollError | None) -> None:
        """Note how a poll ended and plan the next one."""
        first = status.up is None and not status.absent
        status.last_attempt = self._clock.now()
        if isinstance(error, NotThereError):
            delay = self._settle_absent(status, error)
        else:
            status.absent = False
            delay = self._settle_success(status, first) if error is None else self._settle_failure(status, error)
        self._schedule(status, delay)
        source = self._sources[status.key.source]
        up_before = source.up
        source.note(status.key, ok=error is None or status.absent)
        if first:
            self._check_tried_all()
        self._listener.health_changed(status)
        if source.up != up_before:
            self._listener.source_changed(status.key.source, source.up)

    def _settle_success(self, status: TargetStatus, first: bool) -> float:
        now = self._clock.monotonic()
        status.up, status.stale, status.failures, status.last_error = True, False, 0, None
        status.last_success, status.succeeded_at = status.last_attempt, now
        self._stale_not_before = min(self._stale_not_before, now + status.target.stale_after)
        trouble = self._edges.succeeded(status.key, self._clock.now())
        if trouble is not None:
            self._hurry(trouble)
        interval = status.target.interval
        return second_delay(status.key, interval) if first else regular_delay(status.due, now, interval)

    def _settle_failure(self, status: TargetStatus, error: PollError) -> float:
        status.up, status.last_error, status.last_error_at = False, error, status.last_attempt
        status.stale = status.stale or status.succeeded_at is None
        status.failures += 1
        self._edges.failed(status.key, error, self._clock.now())
        retry_after = error.retry_after if isinstance(error, TransientError) else None
        return backoff_delay(status.failures, status.target.interval, retry_after, self._rng)

    def _settle_absent(self, status: TargetStatus, error: NotThereError) -> float:
        """Note that the source does not have the endpoint, once; it may get it one day."""
        if not status.absent:
            log.info("optional endpoint is not there", **status.key._asdict(), error=str(error))
        if status.succeeded_at is not None:
            self._listener.expired(status.key)
        status.absent, status.up, status.stale, status.failures = True, None, False, 0
        status.last_error, status.succeeded_at = None, None
        self._edges.forget(status.key)
        return max(status.target.interval, ABSENT_INTERVAL)

    def _hurry(self, trouble: Trouble) -> None:
        """What kept others of the same region from working is over: do not let them wait out their backoff."""
        now = self._clock.monotonic()
        for key in self._edges.sharing(trouble):
            other = self._statuses[key]
            if not other.in_flight and other.due - now > other.target.interval:
                self._schedule(other, self._rng.uniform(0, other.target.interval))

    def _check_tried_all(self) -> None:
        if all(health.tried for health in self._sources.values()):
            self._tried_all.set()


def forgetful(error: PollError) -> PollError:
    """The error without where it came from: kept for as long as it is the last one, it would keep all that was in use."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


def cancelled_on_purpose() -> bool:
    """Whether it is the running task itself that was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def same_data(old: Target, new: Target | None) -> bool:
    """Whether what `old` yielded may still be shown under `new`."""
    return new is old or (new is not None and new.identity == old.identity)


def nothing() -> None:
    """What a target that is no longer polled does when it is due."""


async def in_slices(items: Sequence[T]) -> AsyncIterator[Sequence[T]]:
    """The items, some at a time; everybody else has a turn before each of them."""
    for start in range(0, len(items), SLICE):
        await asyncio.sleep(0)
        yield items[start : start + SLICE]
