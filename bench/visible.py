"""Delay until a change of the upstream is seen in /metrics: its target's next poll is at most an interval away.

For every user a change is made up, at a moment of one interval drawn at random. Another process scrapes all the time,
and the change is seen at the end of the first scrape with an answer that was given after it.
"""

import asyncio
import random
import re
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

from bench import upstream
from bench.contenders import Result, command, result_beside, result_of, server
from bench.exporter import running, serving
from bench.report import Row, Tables
from bench.upstream import Plan

USERS = 10_000
INTERVAL = 10
BETWEEN_SCRAPES = 0.3
AIM = 1.0
RUNNING = re.compile(rb'^hpc_queue_jobs\{.*user="([^"]+)".*state="running"\} (\d+)$', re.MULTILINE)


def tables() -> Tables:
    title = f"Seconds after one interval until a change is seen, {USERS:,} users, {USERS // INTERVAL} polls/s"
    with server(upstream.clock) as url:
        late = result_of(ours, url, USERS, INTERVAL)
    yield (
        title,
        [
            Row("p50", "s", late["p50"]),
            Row("p99", "s", late["p99"], aim=AIM),
            Row("the latest of all", "s", late["worst"]),
        ],
    )


async def ours(url: str, users: int, interval: float) -> Result:
    async with running(Plan(url, users, interval)) as app, serving(app) as metrics:
        await asyncio.sleep(1.5 * interval)  # until each target has its own phase
        return await result_beside(scraper, metrics, interval)


async def scraper(url: str, interval: float) -> Result:
    """Seconds, beyond one interval, until changes are seen."""
    found = sorted(delay - interval for delay in delays(url, interval))
    return {"p50": found[len(found) // 2], "p99": found[len(found) * 99 // 100], "worst": found[-1]}


def delays(url: str, interval: float) -> list[float]:
    """Seconds from each change until it is seen."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = HTTPConnection(address.hostname, address.port)
    now, given = scrape(connection, address.path)
    rng = random.Random(1)  # noqa: S311 - repeatable
    waiting = {user: now + rng.uniform(0, interval) for user in given}
    seen: list[float] = []
    while waiting:
        time.sleep(BETWEEN_SCRAPES)
        now, given = scrape(connection, address.path)
        arrived = [user for user, change in waiting.items() if given[user] >= change]
        seen += [now - waiting.pop(user) for user in arrived]
    return seen


def scrape(connection: HTTPConnection, path: str) -> tuple[float, dict[bytes, float]]:
    """Return the Unix time at its end, and when each user's answer was given."""
    connection.request("GET", path)
    body = connection.getresponse().read()
    return time.time(), {user: int(value) / 1000 for user, value in RUNNING.findall(body)}


if __name__ == "__main__":
    command(ours, scraper)
