"""Long-lived tasks: an unforeseen exception is logged and counted, and the work is started again after a pause."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog

from exporter.clock import Clock

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


class TaskObserver(Protocol):
    """Receives the starts and restarts of background tasks; `task` is the name given to `supervise`."""

    def task_started(self, task: str) -> None: ...
    def task_restarted(self, task: str) -> None: ...


async def supervise(name: str, work: Callable[[], Awaitable[None]], *, clock: Clock, observer: TaskObserver) -> None:
    """Run ``work()`` until it returns or this task is cancelled.

    Any exception that leaves `work` is logged with its traceback and reported to `observer`, and `work` is called again
    after a pause in seconds that doubles from `FIRST_PAUSE` to `LONGEST_PAUSE`. A run that lasted longer than
    `LONGEST_PAUSE` starts over with the shortest pause. The `name` is the label value `task` of
    ``hpc_exporter_task_restarts_total``.
    """
    observer.task_started(name)
    pause = FIRST_PAUSE
    while True:
        started = clock.monotonic()
        try:
            return await work()
        except (Exception, asyncio.CancelledError) as error:
            # The cancellation of something awaited is a failure of the work; only that of our own task ends it.
            if isinstance(error, asyncio.CancelledError) and cancelled_on_purpose():
                raise
            if clock.monotonic() - started > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            observer.task_restarted(name)
            log.exception("background task failed, restarting it; please report this", task=name, pause_seconds=pause)
        await clock.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


@asynccontextmanager
async def supervised(
    works: Mapping[str, Callable[[], Awaitable[None]]], *, clock: Clock, observer: TaskObserver
) -> AsyncIterator[None]:
    """Run `works`, by name, under `supervise` for as long as the block runs."""
    tasks = [asyncio.create_task(supervise(name, work, clock=clock, observer=observer)) for name, work in works.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cancelled_on_purpose() -> bool:
    """Whether the running task itself was cancelled, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class ShortTasks:
    """Tasks that end by themselves: kept alive, an unforeseen exception in one is logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; a failure is logged with `name`."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - what is left then is cancelled
        """Wait until all have ended, at most `timeout` seconds; cancel what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
        await self.stop()

    async def stop(self) -> None:
        """Cancel all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed; please report this", task=task.get_name(), exc_info=error)
