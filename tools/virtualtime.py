"""An event loop whose time passes only when nothing is left to do: hours of timers in seconds, with real sockets.

Both ends of every socket live on the loop, and loopback delivers immediately: where nothing is readable and
no thread is at work, nothing will happen before the next timer, and time can jump to it.
"""

import asyncio
import selectors
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

from exporter.clock import Timer
from exporter.threads import CallThread

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class _Selector(selectors.DefaultSelector):
    """Advances the clock to the next timer instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0
        self.busy_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # As code takes time. Else a timer that is due a rounding error later, as in aiolimiter, is set again without end.
        self.passed += 1e-9
        if self.busy_threads or timeout is None:
            return super().select(timeout)
        if any(isinstance(thread, CallThread) for thread in threading.enumerate()):
            # Its end wakes the loop; until then, time stands still.
            return super().select(0.01)
        # Twice: what the first look itself let the kernel deliver is there at the second.
        ready = super().select(0) or super().select(0)
        if not ready and timeout > 0:
            self.passed += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time()` begins at 0; that was at `began`, a Unix time."""

    def __init__(self) -> None:
        self.began = time.time()
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Arguments], _Result], *args: *_Arguments
    ) -> asyncio.Future[_Result]:
        """Time stands still while a thread works."""
        self._virtual.busy_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *_: object) -> None:
        """Wait for threads in the same way; since Python 3.12 there is a time limit, which would expire immediately."""
        self._virtual.busy_threads += 1
        await super().shutdown_default_executor()
        self._virtual.busy_threads -= 1

    def _thread_done(self, _: object) -> None:
        self._virtual.busy_threads -= 1


class VirtualClock:
    """The exporter's `Clock` on such a loop; `start` is the Unix time at which the loop began, if another than that."""

    def __init__(self, start: float | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        assert isinstance(self._loop, VirtualTimeLoop)
        self.start = self._loop.began if start is None else start

    def now(self) -> float:
        return self.start + self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        return self._loop.call_later(seconds, callback)


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Like `asyncio.run`, on a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
