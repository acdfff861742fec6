"""Targets, the status of their polls, and a single poll."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from exporter.clock import Clock, Timer
from exporter.errors import DecodeError, NotThereError, PollError
from exporter.supervise import cancelled_on_purpose
from exporter.text import Text

log = structlog.get_logger()

# The states of targets in the order of urgency.
STATES: Final = ("stale", "failing", "pending", "up", "absent")


class TargetKey(NamedTuple):
    """The labels of a target: the region's or project's name, the collector, and the user, member or queue."""

    source: str
    collector: str
    target: str


@dataclass(frozen=True, slots=True)
class Target:
    """A poll and the destination of its result.

    `interval` and `stale_after` are seconds. `poll` requests the upstream and raises PollError. `publish` shows the
    result of `poll` and must not fail. Two targets of one key with different `identity` (another host, say) share no
    data. An `optional` one says nothing of whether its source answers, as long as there are others.
    Those with the same text in `together` and the same interval are polled at the same moments, so that they can share an
    answer.
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
        return replace(self, succeeded_at=None, due=0.0, start=lambda: None, timer=None, task=None)


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
