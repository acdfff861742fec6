"""The one clock and the one timer of the exporter, so that tests of schedules run in no time."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will happen unless it is cancelled."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> float:
        """Unix time in seconds: for people and for metrics. It can jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment: for durations and ages. It never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let others run for at least so long."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the event loop after so many seconds."""
        ...


# One for all timers: of its own, each would be one more object for every target that the garbage collector looks at.
_CONTEXT = contextvars.Context()


class SystemClock:
    """The machine's time."""

    # CLOCK_BOOTTIME goes on while a laptop sleeps: after it wakes, hours-old data must be stale at once.
    _boottime = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.clock_gettime(self._boottime)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, callback, context=_CONTEXT)
