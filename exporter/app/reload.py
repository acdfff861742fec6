"""Reloads of the configuration, shared by all that request one: signals, requests, changes of the file."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.config.files import UnansweredFileError, digest, read_in_thread
from exporter.errors import ConfigurationError

log = structlog.get_logger()


class StoppedError(Exception):
    """A reload was rejected or cancelled because the application stops."""


class SharedReload:
    """Runs one reload at a time; requests that arrive before one begins share it."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        """`work` reloads and logs its outcome itself: all callers may be gone by then."""
        self._work = work
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._stopped = False

    def request(self) -> asyncio.Task[None]:
        """Request a read of the file, which begins after the reload in progress. Raises StoppedError."""
        if self._stopped:
            raise StoppedError
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
            # Marks an exception as retrieved.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._next

    async def finished(self) -> None:
        """Request a reload and wait for its end. The cancellation of a caller does not cancel it.

        Raises the exception of the reload; StoppedError if it was cancelled.
        """
        reload = self.request()
        await asyncio.wait({reload})
        if reload.cancelled():
            raise StoppedError
        reload.result()

    async def stop(self) -> None:
        """Cancel all reloads, and wait until they have ended."""
        self._stopped = True
        reloads = {reload for reload in (self._running, self._next) if reload is not None}
        for reload in reloads:
            reload.cancel()
        if reloads:
            await asyncio.wait(reloads)

    async def _run(self, earlier: asyncio.Task[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait({earlier})
        self._running, self._next = self._next, None
        await self._work()


class AutoReload:
    """Reloads when the content of the file changed; times are ignored."""

    def __init__(self, path: Path, interval: float, clock: Clock, reload: Callable[[], Awaitable[None]]) -> None:
        """`interval` is the pause between two checks in seconds. `reload` logs its own failures."""
        self._path = path
        self._interval = interval
        self._clock = clock
        self._reload = reload
        self._seen = b""

    async def remember(self) -> None:
        """Take the present content as known. Call it before the first load."""
        self._seen = await self._content()

    async def run(self) -> None:
        """Check the file until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            await self.check()

    async def check(self) -> None:
        """Reload if the content changed. A content with mistakes is tried once."""
        found = await self._content()
        if found == self._seen:
            return
        log.info("the configuration file changed, reloading", file=str(self._path))
        with contextlib.suppress(ConfigurationError):
            await self._reload()
        # Not earlier: an unforeseen failure is retried.
        self._seen = found

    async def _content(self) -> bytes:
        try:
            return await read_in_thread(lambda: digest(self._path))
        except UnansweredFileError as error:
            return str(error).encode()
