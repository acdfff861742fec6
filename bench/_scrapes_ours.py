"""``python -m bench._scrapes_ours SERIES``: what a scrape costs the process that serves it, over HTTP on loopback.

Who scrapes is another process. Lines change between scrapes, not during them: rendering is a poll's cost.
"""

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bench._exporter import configuration, serving
from bench._plan import QUEUE_JOBS, SOURCE, Plan
from exporter import log
from exporter.app import Application, Options
from exporter.metrics import families
from exporter.metrics.snapshot import Exposition
from exporter.polling import TargetKey
from exporter.records import JobState, QueueCounts, QueueStatistics

STATES = (JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED, JobState.OTHER)
QUEUES = 5
HEALTH_SERIES = 3
SCRAPES = 5


class Targets:
    """As many targets as have so many series, put into the exposition the way polls do it."""

    def __init__(self, exposition: Exposition, series: int) -> None:
        self._exposition = exposition
        self._rng = random.Random(1)  # noqa: S311 - repeatable, hides nothing
        self._count = round(series / (QUEUES * len(STATES) + HEALTH_SERIES))
        self.every_target_changed()

    def nothing_changed(self) -> None:
        pass

    def one_target_changed(self) -> None:
        index = self._rng.randrange(self._count)
        self._poll(index)
        self._change(index)

    def every_target_polled(self) -> None:
        """Only the times of the last success change."""
        for index in range(self._count):
            self._poll(index)

    def every_target_changed(self) -> None:
        self.every_target_polled()
        for index in range(self._count):
            self._change(index)

    def _poll(self, index: int) -> None:
        key = self._key(index)
        chunks = families.target_health(*key, up=True, stale=False, last_success=time.time())
        self._exposition.put(("health", key), chunks)

    def _change(self, index: int) -> None:
        key = self._key(index)
        counts = [{state: self._rng.randrange(100) for state in STATES} for _ in range(QUEUES)]
        queues = tuple(QueueCounts(f"queue{number}", of_queue) for number, of_queue in enumerate(counts))
        self._exposition.put(key, families.queue_statistics(SOURCE, QueueStatistics(key.target, queues), ()))

    def _key(self, index: int) -> TargetKey:
        return TargetKey(SOURCE, QUEUE_JOBS, f"user{index:05d}")


class Scraper:
    """Another process that scrapes when it is told to."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def scrape(self, *, gzip: bool) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"gzip\n" if gzip else b"identity\n")
        assert await self._process.stdout.readline(), "the scraper failed"

    async def cpu(self, change: Callable[[], None], *, gzip: bool) -> float:
        """Our processor time for a scrape after a change, in milliseconds."""
        seconds = []
        for _ in range(SCRAPES):
            change()
            before = time.process_time()
            await self.scrape(gzip=gzip)
            seconds.append(time.process_time() - before)
        return statistics.median(seconds) * 1000


async def measure(series: int) -> dict[str, float]:
    log.setup("error")
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-bench-") as folder:
        config_file = Path(folder) / "exporter.yml"
        # Nothing listens there; the poll is not before the interval is over, and the lines are ours.
        config_file.write_text(configuration(Plan("http://127.0.0.1:9", 1, 3600)), encoding="utf-8")
        app = Application(Options(config_file))
        targets = Targets(app._services.exposition, series)  # noqa: SLF001 - where polls put their lines
        async with serving(app) as url, a_scraper(url) as scraper:
            return await all_cases(targets, scraper)


@asynccontextmanager
async def a_scraper(url: str) -> AsyncIterator[Scraper]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench._scraper", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Scraper(process)
    finally:
        process.kill()
        await process.wait()


async def all_cases(targets: Targets, scraper: Scraper) -> dict[str, float]:
    results = {}
    for gzip in (False, True):
        await scraper.scrape(gzip=gzip)
        for change in (
            targets.nothing_changed,
            targets.one_target_changed,
            targets.every_target_polled,
            targets.every_target_changed,
        ):
            case = f"{'gzip' if gzip else 'plain'}, {change.__name__.replace('_', ' ')}"
            results[case] = await scraper.cpu(change, gzip=gzip)
    return results


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
