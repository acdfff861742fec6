"""Longest blocks of the event loop, which delay anything else: a poll that is due, a scrape, a health check."""

import asyncio
from statistics import median

from bench import upstream
from bench.contenders import Result, command, result_of, server
from bench.exporter import Watch, running, serving, watching
from bench.report import Row, Tables
from bench.scrapes import Scraper, scraping
from bench.upstream import Plan

USERS, QUEUES, INTERVAL = 10_000, 10, 20
SECONDS, WINDOWS = 5, 3
AIM = 20.0


def tables() -> Tables:
    series = USERS * (QUEUES * 5 + 3)
    of_idle = result_of(idle, SECONDS)
    with server(upstream.changing, USERS, QUEUES) as url:
        of_ours = result_of(ours, url, USERS, INTERVAL, SECONDS)
    yield (
        f"Longest block, {USERS:,} users, {series:,} series, {USERS // INTERVAL} polls/s, 1 scrape/s",
        [
            Row("processor time without a break", "ms", of_ours["cpu"], aim=AIM),
            # With waits for the interpreter's lock and, as the idle loop shows, for other processes: not ours to promise.
            Row("on the clock; baseline: an idle event loop", "ms", of_ours["wall"], of_idle["wall"]),
        ],
    )


async def idle(seconds: float) -> Result:
    async with watching() as watch:
        await asyncio.sleep(seconds)
        return {"wall": watch.wall}


async def ours(url: str, users: int, interval: float, seconds: float) -> Result:
    """Poll all users while another process scrapes every second, alternately with gzip and without."""
    async with running(Plan(url, users, interval)) as app, serving(app) as metrics, scraping(metrics) as scraper:
        await asyncio.sleep(interval)  # past the start, when everything is new
        async with watching() as watch:
            windows = [await window(watch, scraper, round(seconds)) for _ in range(WINDOWS)]
    return {key: median(each[key] for each in windows) for key in windows[0]}


async def window(watch: Watch, scraper: Scraper, seconds: int) -> Result:
    watch.reset()
    for index in range(seconds):
        scrape = asyncio.create_task(scraper.scrape(gzip=index % 2 == 0))
        await asyncio.sleep(1)
        await scrape
    return {"wall": watch.wall, "cpu": watch.cpu}


if __name__ == "__main__":
    command(ours, idle)
