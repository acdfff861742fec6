"""Reloads of the configuration, shared by all who request one: a signal, a request, a file that changed."""

import asyncio
from collections.abc import Awaitable, Callable


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
