"""Targets whose polls do as they are told, and a listener that remembers."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from exporter.errors import PollError
from exporter.polling import SourceStatus, Target, TargetKey, TargetStatus


class Heard:
    """A Listener that remembers."""

    def __init__(self) -> None:
        self.polls: list[tuple[TargetKey, PollError | None]] = []
        self.seconds: list[float] = []
        self.health: list[tuple[TargetKey, bool | None, bool]] = []
        self.sources: list[tuple[str, SourceStatus]] = []
        self.expirations: list[TargetKey] = []
        self.removals: list[TargetKey] = []
        # Changes of health that were not told as such, or were none. `of_last` is what was told last.
        self.wrong_flips: list[TargetKey] = []
        self.of_last: dict[TargetKey, tuple[bool | None, bool, bool]] = {}

    def polled(self, key: TargetKey, seconds: float, error: PollError | None) -> None:
        self.polls.append((key, error))
        self.seconds.append(seconds)

    def health_changed(self, status: TargetStatus, *, flipped: bool) -> None:
        self.health.append((status.key, status.up, status.stale))
        before, now = self.of_last.get(status.key, (None, False, False)), (status.up, status.stale, status.absent)
        if flipped != (before != now):
            self.wrong_flips.append(status.key)
        self.of_last[status.key] = now

    def source_changed(self, source: str, status: SourceStatus) -> None:
        self.sources.append((source, status))

    def expired(self, key: TargetKey) -> None:
        self.expirations.append(key)

    def removed(self, key: TargetKey) -> None:
        self.removals.append(key)
        self.of_last.pop(key, None)


@dataclass
class Played:
    """A scripted target, whose polls take `seconds`, then raise `error` or give a number; and what was seen of them."""

    clock: Any
    name: str = "alice"
    source: str = "kunshan"
    collector: str = "queue_jobs"
    interval: float = 60.0
    stale_after: float = 180.0
    identity: str = ""
    optional: bool = False
    together: str = ""
    seconds: float = 0.0
    publish_seconds: float = 0.0
    error: BaseException | None = None
    publish_error: BaseException | None = None
    started: list[float] = field(default_factory=list)
    published: list[int] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    @property
    def key(self) -> TargetKey:
        return TargetKey(self.source, self.collector, self.name)

    def target(self) -> Target:
        return Target(
            self.key,
            self.interval,
            self.stale_after,
            self.poll,
            self.publish,
            self.identity,
            self.optional,
            self.together,
        )

    async def poll(self) -> int:
        self.started.append(self.clock.monotonic())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.seconds:
                await self.clock.sleep(self.seconds)
            if self.error is not None:
                raise self.error
            return len(self.started)
        finally:
            self.under_way -= 1

    async def publish(self, records: int) -> None:
        if self.publish_seconds:
            await self.clock.sleep(self.publish_seconds)
        if self.publish_error is not None:
            raise self.publish_error
        self.published.append(records)

    @property
    def gaps(self) -> list[float]:
        """Seconds from each poll to the next."""
        return [after - before for before, after in zip(self.started, self.started[1:], strict=False)]


def running_tasks() -> int:
    """Return the number of tasks beside the test's own."""
    return len(asyncio.all_tasks()) - 1
