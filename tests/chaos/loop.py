"""An event loop without threads, sockets and waiting: what is ready runs in an order that a seed picks."""

import asyncio
import contextvars
import heapq
import math
import random
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any, Final, TypeVar

from tools.virtualtime import VirtualClock

T = TypeVar("T")

# A simulated process takes some thousand.
MOST_STEPS: Final = 500_000
# Where tasks have priorities: the probability at each step that the task which makes it has the lowest one from then on.
CHANGES: Final = 0.01
# Steps after the cancellation of a task in which time may well pass, and the probability that it does before each of them.
AFTERMATH, HASTE = 4, 0.4
# Seconds for which a callback can hold up the others, at most.
LONGEST_STEP: Final = 1.0


class CrashedError(Exception):
    """The simulated process was killed."""


class StuckError(AssertionError):
    """Nothing is ready and no timer is left, or there is no end of it."""


class ChaosTask(asyncio.Task[Any]):
    """A task whose place in a set is the same in each run. Where tasks have priorities, the most urgent one goes first."""

    _serials = count()

    def __init__(self, coro: Any, *, loop: "ChaosLoop", **more: Any) -> None:
        self._serial = next(self._serials)
        self._of = loop
        self.urgency = loop.rng.random()
        super().__init__(coro, loop=loop, **more)

    def __hash__(self) -> int:
        return self._serial

    def cancel(self, msg: Any = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self._of.note_cancellation()
        return cancelled

    @classmethod
    def begin_anew(cls) -> None:
        cls._serials = count()


class ChaosLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time: the tasks that could go on in any order, other callbacks in theirs.

    Where nothing is ready, time jumps to the next timer. `trace` is a checksum of all that was picked, and `problems` are
    the failures that nothing but the event loop heard of. With a `tick`, in seconds, all timers run at multiples of it: what
    happens soon after each other then happens in the same moment, in any order.

    `in_order` of priorities: each task has one at random, which few steps change, so that one task may be left behind while
    all others go on. Bugs that need a certain order of few steps are found so with a probability that has a lower bound
    (Burckhardt and others, A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs, 2010).

    `slowness`: the probability that time goes on to the next timer although something is ready, as where a callback is slow;
    then the same is likely while a cancelled task ends.
    """

    def __init__(
        self,
        rng: random.Random,
        start: float,
        tick: float = 0.0,
        *,
        in_order: bool = False,
        slowness: float = 0.0,
    ) -> None:
        super().__init__()
        self.rng = rng
        self.passed = start
        self.tick = tick
        self.in_order = in_order
        self.slowness = slowness
        self.steps = self.trace = 0
        # Tasks that were cancelled, and the step after the aftermath of the last of them.
        self.cancellations = self._aftermath = 0
        self._urgency_of_calls = rng.random()
        # Calls that threads have not begun.
        self.calls = 0
        self._watches: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        # The step before which the process is killed.
        self.crash_at: int | None = None
        self.problems: list[str] = []
        # The longest that a call in a thread takes, in seconds.
        self.longest_call = 0.01
        # Makes a connection; see tests.chaos.network.
        self.connect: Callable[..., Any]
        self.set_task_factory(lambda loop, coro, **more: ChaosTask(coro, loop=loop, **more))
        self.set_exception_handler(self._note)

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.problems.append(f"{context['message']}: {context.get('exception')!r}")

    def time(self) -> float:
        return self.passed

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:  # type: ignore[override]
        if self.tick and when < math.inf:
            when = max(self.passed, round(when / self.tick) * self.tick)
        return super().call_at(when, callback, *args, context=context)

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready  # type: ignore[attr-defined]  # the base class's own
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)
        if not ready and not self._stopping and not scheduled:  # type: ignore[attr-defined]
            raise StuckError("nothing is ready, and no timer is left")
        if scheduled and (self._is_slow(scheduled[0]._when) if ready else not self._stopping):  # type: ignore[attr-defined]
            self.passed = max(self.passed, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self.passed:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        if not ready:
            return
        self.steps += 1
        if self.steps == self.crash_at:
            raise CrashedError
        if self.steps > MOST_STEPS:
            raise StuckError(f"no end after {MOST_STEPS} steps")
        index = self._pick(ready)
        handle = ready[index]
        del ready[index]
        self.trace = zlib.crc32(struct.pack("dii", self.passed, index, len(ready)), self.trace)
        if not handle._cancelled:
            handle._run()
        if self._watches:
            self._look()

    def _is_slow(self, until: float) -> bool:
        if not self.slowness:
            return False
        chance = HASTE if self.steps < self._aftermath else self.slowness
        return until <= self.passed + LONGEST_STEP and self.rng.random() < chance

    def _pick(self, ready: Any) -> int:
        """Return the index of a task, or that of the first other callback: protocols rely on the order of these."""
        if len(ready) == 1:
            return 0
        if self.in_order:
            return self._most_urgent(ready)
        index = int(self.rng.random() * len(ready))
        if is_step(ready[index]):
            return index
        return next(first for first, handle in enumerate(ready) if not is_step(handle))

    def _most_urgent(self, ready: Any) -> int:
        """Pick by priority; all callbacks that are no tasks share one, which changes more often."""
        most, picked, task, calls = -math.inf, 0, None, False
        for index, handle in enumerate(ready):
            this = handle._callback.__self__ if is_step(handle) else None
            if this is None and calls:
                continue
            calls |= this is None
            urgency = self._urgency_of_calls if this is None else this.urgency
            if urgency > most:
                most, picked, task = urgency, index, this
        if self.rng.random() < CHANGES:
            self._urgency_of_calls = self.rng.random()
            if task is not None:
                task.urgency = -self.rng.random()
        return picked

    def note_cancellation(self) -> None:
        self.cancellations += 1
        self._aftermath = self.steps + AFTERMATH

    async def until(self, condition: Callable[[], T], seconds: float) -> T | None:
        """Wait for something that is true after a step, and return it; None if it does not come."""
        if found := condition():
            return found
        seen: asyncio.Future[T | None] = self.create_future()
        watch = condition, seen
        self._watches.append(watch)
        timer = self.call_later(seconds, settle, seen, None)
        try:
            return await seen
        finally:
            timer.cancel()
            if watch in self._watches:
                self._watches.remove(watch)

    def _look(self) -> None:
        for watch in tuple(self._watches):
            condition, seen = watch
            if found := condition():
                self._watches.remove(watch)
                settle(seen, found)

    def _write_to_self(self) -> None:
        """Do nothing: there is no other thread to be woken by."""

    def deferred(self, call: Callable[[], Any]) -> Future[Any]:
        """Make a call at some later time, as a thread would; its result is there at a later one still."""
        result: Future[Any] = Future()
        self.calls += 1

        def run() -> None:
            self.calls -= 1
            if not result.set_running_or_notify_cancel():
                return
            deliver: Callable[[], None]
            try:
                value = contextvars.Context().run(call)
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                failure = error
                deliver = lambda: result.set_exception(failure)  # noqa: E731
            else:
                deliver = lambda: result.set_result(value)  # noqa: E731
            self.call_later(self.rng.uniform(0, self.longest_call), deliver)

        self.call_later(self.rng.uniform(0, self.longest_call), run)
        return result

    def run_in_executor(self, _: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        return asyncio.wrap_future(self.deferred(lambda: func(*args)), loop=self)

    async def create_connection(self, factory: Callable[[], Any], *, sock: Any, **_: Any) -> Any:  # type: ignore[override]
        """Return transport and protocol of a connection; `sock` is what `connect` made."""
        protocol = factory()
        sock.begin(protocol)
        return sock, protocol


def settle(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)


def is_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


class ChaosClock(VirtualClock):
    """The exporter's clock on such a loop; an administrator may set the wall clock."""

    def __init__(self, loop: ChaosLoop, start: float) -> None:
        self.start = start
        self._loop = loop

    def jump(self, seconds: float) -> None:
        self.start += seconds
