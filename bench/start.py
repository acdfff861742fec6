"""Time from the start until every user was polled once, against a bare loop with as many requests at a time."""

import asyncio
import time

from bench import upstream
from bench.contenders import Contender, command, run, server
from bench.polls import BareLoop
from bench.report import Row, Tables
from bench.upstream import Plan

USERS, INTERVAL = 10_000, 60
MILLISECONDS = 20
# Seconds within which both send the first request for each user.
SPREAD = 1.0
AIM = 3.0


def tables() -> Tables:
    title = f"From start to ready, {USERS:,} users, answers take {MILLISECONDS} ms, 16 requests at a time"
    with server(upstream.unchanging, USERS, 5, MILLISECONDS / 1000) as url:
        yield title, [Row("until ready", "s", seconds(ours, url), seconds(bare, url), AIM)]


def seconds(contender: Contender, url: str) -> float:
    """On the clock, from nothing to the end of the process."""
    started = time.perf_counter()
    run(contender, url, USERS, INTERVAL)
    return time.perf_counter() - started


async def ours(url: str, users: int, interval: float) -> None:
    from bench.exporter import running

    async with running(Plan(url, users, interval)):
        pass


async def bare(url: str, users: int, interval: float) -> None:
    loop = BareLoop(Plan(url, users, interval), SPREAD)
    task = asyncio.create_task(loop.run())
    while loop.polls < users:  # noqa: ASYNC110 - to set an event would be work that the others do not have
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


if __name__ == "__main__":
    command(ours, bare)
