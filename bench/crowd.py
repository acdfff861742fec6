"""A thousand scrapes, forty at a time, while ten thousand users are polled.

How long they take, against a single one.
"""

import asyncio
import time
from statistics import median
from urllib.parse import urlsplit

from bench import upstream
from bench.contenders import Result, command, result_beside, result_of, server
from bench.exporter import running, serving
from bench.report import Row, Tables
from bench.upstream import Plan

USERS, QUEUES, INTERVAL = 10_000, 10, 20
SINGLE, CROWD, AT_A_TIME = 20, 1000, 40
AIM = 10.0


def tables() -> Tables:
    series = USERS * (QUEUES * 5 + 3)
    with server(upstream.changing, USERS, QUEUES) as url:
        found = result_of(ours, url, USERS, INTERVAL)
    yield (
        f"1,000 scrapes, 40 at a time, gzip, {series:,} series, {USERS // INTERVAL} polls/s",
        [
            Row("p50; baseline: a single one", "s", found["p50"], found["single"]),
            Row("p99; baseline: a single one", "s", found["p99"], found["single"], AIM),
            Row("how many failed", "", found["failed"], aim=0),
        ],
    )


async def ours(url: str, users: int, interval: float) -> Result:
    async with running(Plan(url, users, interval)) as app, serving(app) as metrics:
        await asyncio.sleep(interval)  # past the start, when everything is new
        return await result_beside(scrapers, metrics)


async def scrapers(url: str) -> Result:
    """Scrape alone, then from many connections; seconds for each scrape, and how many failed."""
    connections = [Connection(url) for _ in range(AT_A_TIME)]
    for connection in connections:
        await connection.open()
    single = await some(connections[0], SINGLE)
    share = CROWD // AT_A_TIME
    crowd = [each for of_one in await asyncio.gather(*(some(one, share) for one in connections)) for each in of_one]
    seconds = sorted(taken for taken, _ in crowd)
    return {
        "single": median(taken for taken, _ in single),
        "p50": median(seconds),
        "p99": seconds[len(seconds) * 99 // 100],
        "failed": sum(not worked for _, worked in crowd),
    }


class Connection:
    """To one server, kept open."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port)

    async def scrape(self) -> tuple[float, bool]:
        """Scrape once; the seconds it took, and whether it worked."""
        started = time.perf_counter()
        request = f"GET {self._url.path} HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n\r\n"
        self._writer.write(request.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return time.perf_counter() - started, b" 200 " in head.split(b"\r\n")[0]


async def some(connection: Connection, scrapes: int) -> list[tuple[float, bool]]:
    return [await connection.scrape() for _ in range(scrapes)]


if __name__ == "__main__":
    command(ours, scrapers)
