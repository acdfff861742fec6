"""Memory of the exporter, in total, for each target and for each series. Linux only."""

import asyncio

from bench import upstream
from bench.contenders import Result, command, result_of, server
from bench.exporter import polls_of, resident, running, serving
from bench.report import Row, Tables
from bench.scrapes import scraping
from bench.upstream import QUEUE_JOBS, Plan

# Users, queues of each (5 states a queue, and 3 series about each user), and seconds between two polls.
SMALL, MANY_SERIES, LARGE = (1_000, 10, 3), (1_000, 50, 3), (10_000, 10, 12)
SCRAPES = 3
MIB = 1024 * 1024
AIM = 250.0


def tables() -> Tables:
    small, many_series, large = (measured(*size) for size in (SMALL, MANY_SERIES, LARGE))
    a_series = (many_series["polled"] - small["polled"]) * MIB / (series(*MANY_SERIES) - series(*SMALL))
    targets = LARGE[0] - SMALL[0]
    a_target = ((large["polled"] - small["polled"]) * MIB - a_series * (series(*LARGE) - series(*SMALL))) / targets
    what = f"{LARGE[0]:,} users, {series(*LARGE):,} series"
    yield (
        "Resident memory",
        [
            Row(f"{what}: polled", "MiB", large["polled"]),
            Row(f"{what}: scraped with gzip", "MiB", large["scraped"], aim=AIM),
            Row(f"{what}: highest, scraped without", "MiB", large["highest"]),
            Row("a target without its series", "bytes", a_target),
            Row("a series", "bytes", a_series),
        ],
    )


def measured(users: int, queues: int, interval: float) -> Result:
    with server(upstream.unchanging, users, queues) as url:
        return result_of(ours, url, users, interval)


def series(users: int, queues: int, _interval: float) -> int:
    return users * (queues * 5 + 3)


async def ours(url: str, users: int, interval: float) -> Result:
    """Memory after two polls of everything: without a scrape, after Prometheus' scrapes, at the worst in any scrape."""
    async with running(Plan(url, users, interval)) as app, serving(app) as metrics, scraping(metrics) as scraper:
        while polls_of(app, QUEUE_JOBS) < 2 * users:  # noqa: ASYNC110 - the exporter has no event for it
            await asyncio.sleep(1)
        results = {"polled": resident()}
        for _ in range(SCRAPES):
            await scraper.scrape(gzip=True)
        results["scraped"] = resident()
        for _ in range(SCRAPES):
            await scraper.scrape(gzip=False)
        return {**results, "highest": resident("VmHWM")}


if __name__ == "__main__":
    command(ours)
