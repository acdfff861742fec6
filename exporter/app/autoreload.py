"""Reloads by itself when the configuration file holds something else than before."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.config.files import digest
from exporter.errors import ConfigurationError

log = structlog.get_logger()


class AutoReload:
    """Compares contents, not times: a file that was only touched, or copied over itself, is the same."""

    def __init__(self, path: Path, interval: float, clock: Clock, reload: Callable[[], Awaitable[None]]) -> None:
        """`interval` is the pause between two looks in seconds. Made before the file is loaded for the first time."""
        self._path = path
        self._interval = interval
        self._clock = clock
        self._reload = reload
        self._seen = digest(path)

    async def run(self) -> None:
        """Look at the file until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Reload if the content changed. One that is refused is not tried again before it is another one."""
        found = await asyncio.to_thread(digest, self._path)
        if found == self._seen:
            return
        self._seen = found
        log.info("the configuration file changed, reloading", file=str(self._path))
        try:
            await self._reload()
        except ConfigurationError as error:
            # Its text says all; a traceback would only hide it.
            log.error("the configuration was not reloaded; the old one goes on", error=str(error))  # noqa: TRY400
