"""One polled thing, and what is known of its polls."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

from exporter.clock import Timer
from exporter.errors import PollError


class TargetKey(NamedTuple):
    """The labels of a target: the region's or project's name, the endpoint, and the user, member or queue."""

    source: str
    endpoint: str
    target: str


@dataclass(frozen=True, slots=True)
class Target:
    """What to poll and where the answer goes.

    `interval` and `stale_after` are seconds. `poll` asks the upstream and raises PollError. `publish` shows what `poll`
    returned and must not fail. Two targets of one key with different `identity` (another host, say) share no data.
    """

    key: TargetKey
    interval: float
    stale_after: float
    poll: Callable[[], Awaitable[Any]]
    publish: Callable[[Any], Awaitable[None]]
    identity: Hashable = None


@dataclass(slots=True)
class TargetStatus:
    """What is known of a target's polls. `last_*` and `next_poll` are unix times; `up` is None before the first try."""

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
    # The poller's own: on the monotonic clock.
    succeeded_at: float | None = None
    due: float = 0.0
    # Kept, because one made anew for every poll of every target is much for the garbage collector to look at.
    start: Callable[[], None] = lambda: None
    timer: Timer | None = None
    task: asyncio.Task[None] | None = None

    @property
    def key(self) -> TargetKey:
        return self.target.key

    @property
    def in_flight(self) -> bool:
        """Whether a poll is under way."""
        return self.task is not None

    def copy(self) -> "TargetStatus":
        """What is known now, without what only the poller needs: it can be read while polls go on."""
        return TargetStatus(
            self.target,
            self.up,
            self.stale,
            self.absent,
            self.failures,
            self.last_attempt,
            self.last_success,
            self.last_error,
            self.last_error_at,
            self.next_poll,
        )
