"""The whole application inside the test's process, with real sockets below it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from exporter.app import Application, Options
from exporter.app.status import Selection
from exporter.clock import Clock
from exporter.metrics.format import Format
from exporter.polling import WHOLE, Shard
from tests.e2e.process import DOMAIN, eventually, samples_of
from tests.support.clock import clock_of_loop


async def status_of(app: Application) -> dict[str, Any]:
    """Return the content of /api/v1/status for an application."""
    status: dict[str, Any] = msgspec.json.decode(await app.status_as(msgspec.json.encode, Selection()))
    return status


class Running:
    """An application and its configuration file."""

    def __init__(self, folder: Path, clock: Clock | None = None, shard: Shard = WHOLE) -> None:
        self.file = folder / "exporter.yml"
        self.app = Application(Options(self.file, shard=shard), clock or clock_of_loop())

    async def reload(self, configuration: str) -> None:
        self.file.write_text(configuration, encoding="utf-8")
        await self.app.reload()

    async def status(self) -> dict[str, Any]:
        """Return the content of /api/v1/status."""
        return await status_of(self.app)

    async def text(self) -> str:
        return (await self.app.metrics(Format.TEXT, compress=False)).decode()

    async def samples(self) -> dict[str, float]:
        return samples_of(await self.text())

    async def domain(self) -> dict[str, float]:
        """Return the samples of what the regions said."""
        return {series: value for series, value in (await self.samples()).items() if DOMAIN.match(series)}

    async def shows(self, condition: Callable[[dict[str, float]], object], what: str) -> dict[str, float]:
        """Wait until `condition` holds for the samples; the samples then."""
        samples: dict[str, float] = {}

        async def look() -> object:
            nonlocal samples
            samples = await self.samples()
            return condition(samples)

        await eventually(look, f"/metrics shows {what}")
        return samples

    async def ready(self) -> None:
        await eventually(lambda: self.app.ready, "every target was tried")


A = TypeVar("A", bound=Running)


@asynccontextmanager
async def started(application: A, configuration: str) -> AsyncIterator[A]:
    """Yield an application with this configuration, and stop it."""
    application.file.write_text(configuration, encoding="utf-8")
    await application.app.start()
    try:
        yield application
    finally:
        await application.app.stop()


def running(
    folder: Path, configuration: str, clock: Clock | None = None, shard: Shard = WHOLE
) -> AbstractAsyncContextManager[Running]:
    """Return an application that polls what `configuration` says."""
    return started(Running(folder, clock, shard), configuration)


@asynccontextmanager
async def ready(
    folder: Path, configuration: str, clock: Clock | None = None, shard: Shard = WHOLE
) -> AsyncIterator[Running]:
    """Yield such an application once every target was tried."""
    async with running(folder, configuration, clock, shard) as application:
        await application.ready()
        yield application
