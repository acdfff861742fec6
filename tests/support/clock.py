"""Time that passes only when a test says so."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

import pytest

from exporter.clock import Clock, SystemClock
from tools.virtualtime import VirtualClock, VirtualTimeLoop

# Turns of the event loop after a timer. A task that only hands on what it was given is through in far fewer.
SETTLING_TURNS = 50
# The error of adding up intervals.
ROUNDING = 1e-6


def virtual_loops(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the event loop of a test whose time jumps to the next timer when nothing is left to do.

    Tests with a thread that does not answer, for which time would stand still, or with another process, for which nothing
    would wait, are marked with `real_time`.
    """
    real = item.get_closest_marker("real_time") is not None
    return {"real": asyncio.new_event_loop} if real else {"virtual": VirtualTimeLoop}


def clock_of_loop() -> Clock:
    """Return the time of the running event loop."""
    return VirtualClock() if isinstance(asyncio.get_running_loop(), VirtualTimeLoop) else SystemClock()


class FakeTimer:
    """A timer of FakeClock."""

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeClock:
    """An `exporter.clock.Clock` without real waiting.

    `now` and `monotonic` go on together; `jump` moves `now` alone.
    """

    def __init__(self, now: float = 1_700_000_000.0, monotonic: float = 5000.0) -> None:
        self._now = now
        self._monotonic = monotonic
        self._order = count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        timer = self.call_later(seconds, wake)
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(self._monotonic + max(0.0, seconds), callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back, as an administrator does: no time passes."""
        self._now += seconds

    @property
    def pending(self) -> list[float]:
        """Seconds until each timer that is still to come."""
        return sorted(timer.due - self._monotonic for _, _, timer in self._timers if not timer.cancelled)

    async def settle(self) -> None:
        """Let every task go on until it waits for something."""
        for _ in range(SETTLING_TURNS):
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass: every timer due by then is called at its own moment, in order, and has its effect."""
        await self.settle()
        end = self._monotonic + seconds
        while self._timers and self._timers[0][0] <= end + ROUNDING:
            due, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._pass(due - self._monotonic)
                timer.callback()
                await self.settle()
        self._pass(end - self._monotonic)

    def _pass(self, seconds: float) -> None:
        self._monotonic += max(0.0, seconds)
        self._now += max(0.0, seconds)
