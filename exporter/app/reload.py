"""Reloads of the configuration, shared by all that request one: a signal, a request, a file that changed."""

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
    """There is no further reload: the application stops."""


class SharedReload:
    """Does one reload after another; requests that come before one has begun share it."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        """`work` reloads. It says itself how that went, because all who requested it may be gone by then."""
        self._work = work
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None
        self._stopped = False

    def request(self) -> asyncio.Task[None]:
        """Have the file read from now on, at the latest after the reload that is under way. Raises StoppedError."""
        if self._stopped:
            raise StoppedError
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
            # Nobody has to look at how it ended.
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._next

    async def finished(self) -> None:
        """Request a reload and wait for its end. A caller that is cancelled leaves it to the others.

        Raises what the reload raises, StoppedError if it was cancelled.
        """
        reload = self.request()
        await asyncio.wait({reload})
        if reload.cancelled():
            raise StoppedError
        reload.result()

    async def stop(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
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
    """Compares contents, not times: a file that was only touched, or copied over itself, is the same."""

    def __init__(self, path: Path, interval: float, clock: Clock, reload: Callable[[], Awaitable[None]]) -> None:
        """`interval` is the pause between two looks in seconds. `reload` says itself why it fails."""
        self._path = path
        self._interval = interval
        self._clock = clock
        self._reload = reload
        self._seen = b""

    async def remember(self) -> None:
        """Take the file as it is for known: to be called before it is loaded for the first time."""
        self._seen = await self._content()

    async def run(self) -> None:
        """Look at the file until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Reload if the content changed. One with mistakes is not tried again before it is another one."""
        found = await self._content()
        if found == self._seen:
            return
        log.info("the configuration file changed, reloading", file=str(self._path))
        with contextlib.suppress(ConfigurationError):
            await self._reload()
        # Not earlier: after an unforeseen failure it is tried again.
        self._seen = found

    async def _content(self) -> bytes:
        try:
            return await read_in_thread(lambda: digest(self._path))
        except UnansweredFileError as error:
            return str(error).encode()
