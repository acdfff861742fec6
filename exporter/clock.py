"""The one clock and the one timer of the exporter, so that tests of schedules run in no time."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """The source of time."""

    def now(self) -> float:
        """Unix time in seconds: for people and for metrics. It can jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment: for durations and ages. It never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for at least that many seconds."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the event loop after that many seconds."""
        ...


# Shared by all timers: a context of its own for each would be one more object per target for the garbage collector.
_CONTEXT = contextvars.Context()


class SystemClock:
    """The machine's time."""

    # CLOCK_BOOTTIME goes on while a laptop sleeps: after it wakes, hours-old data must be stale immediately.
    _boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(self._boottime)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback, context=_CONTEXT)


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC, to the millisecond. The part up to the minute is cached: thousands share it."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, rest = divmod(whole, 60)
    return f"{_minute(minutes)}:{rest:02}.{milliseconds:03}Z"


def timestamp_or_none(seconds: float | None) -> str | None:
    """As `timestamp`; None where the moment is not known."""
    return None if seconds is None else timestamp(seconds)


@lru_cache(maxsize=1024)
def _minute(minutes: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M", time.gmtime(minutes * 60))
