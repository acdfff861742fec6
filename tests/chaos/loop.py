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
from typing import Any

from tools.virtualtime import VirtualClock

# A simulated process takes some thousand.
MOST_STEPS = 500_000


class CrashedError(Exception):
    """The simulated process was killed."""


class StuckError(AssertionError):
    """Nothing is ready and no timer is left, or there is no end of it."""


class ChaosTask(asyncio.Task[Any]):
    """A task whose place in a set is the same in each run."""

    _serials = count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._serial = next(self._serials)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._serial

    @classmethod
    def begin_anew(cls) -> None:
        cls._serials = count()


class ChaosLoop(asyncio.BaseEventLoop):
    """Runs one callback at a time: the tasks that could go on in any order, other callbacks in theirs.

    Where nothing is ready, time jumps to the next timer. `trace` is a checksum of all that was picked, and `problems` are
    the failures that nothing but the event loop heard of. With a `tick`, in seconds, all timers run at multiples of it: what
    happens soon after each other then happens in the same moment, in any order.
    """

    def __init__(self, rng: random.Random, start: float, tick: float = 0.0) -> None:
        super().__init__()
        self.rng = rng
        self.passed = start
        self.tick = tick
        self.steps = self.trace = 0
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
        if not ready and not self._stopping:  # type: ignore[attr-defined]
            if not scheduled:
                raise StuckError("nothing is ready, and no timer is left")
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

    def _pick(self, ready: Any) -> int:
        """Return the index of a task, or that of the first other callback: protocols rely on the order of these."""
        if len(ready) == 1:
            return 0
        index = int(self.rng.random() * len(ready))
        if is_step(ready[index]):
            return index
        return next(first for first, handle in enumerate(ready) if not is_step(handle))

    def _write_to_self(self) -> None:
        """Do nothing: there is no other thread to be woken by."""

    def deferred(self, call: Callable[[], Any]) -> Future[Any]:
        """Make a call at some later time, as a thread would; its result is there at a later one still."""
        result: Future[Any] = Future()

        def run() -> None:
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


def is_step(handle: Any) -> bool:
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)


class ChaosClock(VirtualClock):
    """The exporter's clock on such a loop; an administrator may set the wall clock."""

    def __init__(self, loop: ChaosLoop, start: float) -> None:
        self.start = start
        self._loop = loop

    def jump(self, seconds: float) -> None:
        self.start += seconds
