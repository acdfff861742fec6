"""The whole exporter in the test's process, polling at the pace of the test's own clock."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.app.running import Running, started
from tests.support.clock import FakeClock

INTERVAL = 60.0


class Stepped(Running):
    """An application that polls when a test says so."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        super().__init__(folder, clock)
        self.clock = clock

    @property
    def error(self) -> str:
        """The reason and the text of the only target's last error, "" where its last poll worked."""
        (status,) = self.app.scheduler.statuses
        return "" if status.last_error is None or status.up else f"{status.last_error.reason}: {status.last_error}"

    async def poll(self) -> str:
        """Wait for the end of the only target's next poll; its error."""
        await self.polls()
        return self.error

    async def polls(self, count: int = 1) -> None:
        """Wait until every target was polled this many times more."""
        for _ in range(count):
            before = self.attempts()
            while any(now == then for now, then in zip(self.attempts(), before, strict=True)):
                await self.clock.advance(1.0)
                await self.idle()
            await self.idle()

    def attempts(self) -> list[float | None]:
        return [status.last_attempt for status in self.app.scheduler.statuses]

    async def idle(self) -> None:
        """Wait, in real time, for the sockets; a poll that waits for the test's clock does not count."""
        for _ in range(20_000):
            if not any(status.in_flight for status in self.app.scheduler.statuses):
                return
            await asyncio.sleep(0.002)

    async def lines(self, prefix: str) -> list[str]:
        """Return the samples whose name begins so."""
        return [line for line in (await self.text()).splitlines() if line.startswith(prefix)]

    async def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the samples of a name by the values of their labels, without that of the source."""
        # The tracker's counts are shown a moment later.
        await asyncio.sleep(0)
        return {
            tuple(value for label, value in labels.items() if label not in ("hpc_cluster", "source")): value
            for family in text_string_to_metric_families(await self.text())
            for sample, labels, value, *_ in family.samples
            if sample == name
        }

    async def value(self, name: str, **labels: str) -> float | None:
        """Return the one sample of that name that has these labels; None if there is none."""
        found = [
            float(line.rpartition(" ")[2])
            for line in await self.lines(f"{name}{{")
            if all(f'{label}="{value}"' in line for label, value in labels.items())
        ]
        assert len(found) <= 1
        return found[0] if found else None


def stepped(folder: Path, configuration: str, clock: FakeClock | None = None) -> AbstractAsyncContextManager[Stepped]:
    """Return an application whose targets were not polled yet."""
    return started(Stepped(folder, clock or FakeClock()), configuration)
