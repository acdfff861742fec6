"""Reloads by itself when the configuration file holds something else than before."""

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.config.files import UnansweredFileError, digest, read_in_thread
from exporter.errors import ConfigurationError

log = structlog.get_logger()


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
