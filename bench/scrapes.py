"""Processor time of a scrape over HTTP, against `prometheus_client.generate_latest` of as many series.

The scraper is another process. Lines change between scrapes, not during them: rendering is a poll's cost.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from bench.contenders import Result, arguments, by_turns, command
from bench.exporter import serving
from bench.report import Row, Tables
from bench.upstream import QUEUE_JOBS, SOURCE
from exporter import log
from exporter.app import Application, Options
from exporter.metrics import health
from exporter.polling import TargetKey
from exporter.records import JobState
from exporter.sources.scnet.queue_jobs import QueueCounts, rendered

ROUNDS = {100_000: 3, 500_000: 1}
SCRAPES = 5
# Numbers of series; scraped with nothing changed since the last scrape, and with some.
AIMED_AT, UNCHANGED, CHANGED = 500_000, 1 / 1000, 1 / 60
QUEUES, STATES, HEALTH_SERIES = 5, ("running", "queued", "held", "suspended", "other"), 3


def tables() -> Tables:
    for series, rounds in ROUNDS.items():
        of_ours, of_bare = by_turns(rounds, (ours, series), (bare, series))
        rows = [Row(case, "ms", cpu, of_bare["cpu"], aim_of(case, series)) for case, cpu in of_ours.items()]
        yield f"CPU of a scrape of {series:,} series", rows


def aim_of(case: str, series: int) -> float | None:
    if series != AIMED_AT or not case.startswith("gzip"):
        return None
    return UNCHANGED if case == "gzip, nothing changed" else CHANGED


async def bare(series: int) -> Result:
    registry = CollectorRegistry(auto_describe=False)
    labels = ("hpc_cluster", "user", "queue", "state")
    gauge = Gauge("hpc_queue_jobs", "Jobs of a scheduler user in a queue, by state.", labels, registry=registry)
    for index in range(series // (QUEUES * len(STATES))):
        for queue in range(QUEUES):
            for state in STATES:
                gauge.labels("bench", f"user{index:05d}", f"queue{queue}", state).set(index % 100)
    before = time.process_time()
    generate_latest(registry)
    return {"cpu": (time.process_time() - before) * 1000}


async def ours(series: int) -> Result:
    log.setup("error")
    app = not_started()
    targets = Targets(app, series)
    async with serving(app) as url, scraping(url) as scraper:
        return await all_cases(targets, scraper)


def not_started() -> Application:
    """Return an exporter that polls nothing: all lines are ours."""
    return Application(Options(Path("unread")))


class Targets:
    """Fill the exposition as polls do, with as many targets as it takes to reach a number of series."""

    def __init__(self, app: Application, series: int) -> None:
        self._exposition = app._display.exposition  # noqa: SLF001 - where polls put their lines
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
        chunks = health.target_health(key, up=True, stale=False, last_success=time.time())
        self._exposition.put(("health", key), chunks)

    def _change(self, index: int) -> None:
        key = self._key(index)
        counts = [{JobState(state): self._rng.randrange(100) for state in STATES} for _ in range(QUEUES)]
        queues = tuple(QueueCounts(f"queue{number}", of_queue) for number, of_queue in enumerate(counts))
        self._exposition.put(key, rendered(SOURCE, key.target, {queue.queue: queue.counts for queue in queues}))

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


@asynccontextmanager
async def scraping(url: str) -> AsyncIterator[Scraper]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments(scrape, url), stdin=pipe, stdout=pipe)
    try:
        yield Scraper(process)
    finally:
        process.kill()
        await process.wait()


async def scrape(url: str) -> None:
    """Scrape for every line of standard input, in the coding that it names."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = HTTPConnection(address.hostname, address.port)
    for line in sys.stdin:
        connection.request("GET", address.path, headers={"Accept-Encoding": line.strip()})
        answer = connection.getresponse()
        size = len(answer.read())
        assert answer.status == 200
        print(size, flush=True)


async def all_cases(targets: Targets, scraper: Scraper) -> Result:
    """Our processor time for a scrape after each kind of change, in milliseconds."""
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
            results[case] = await cpu_of_scrape(scraper, change, gzip=gzip)
    return results


async def cpu_of_scrape(scraper: Scraper, change: Callable[[], None], *, gzip: bool) -> float:
    seconds = []
    for _ in range(SCRAPES):
        change()
        before = time.process_time()
        await scraper.scrape(gzip=gzip)
        seconds.append(time.process_time() - before)
    return median(seconds) * 1000


if __name__ == "__main__":
    command(ours, bare, scrape)
