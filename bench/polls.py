"""Processor time of a poll, against a loop that only sends the same requests with aiohttp and decodes the answers."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import aiohttp
import msgspec

from bench import upstream
from bench.contenders import Result, command, pairs, server, take_turns
from bench.report import Row, Tables, paired
from bench.upstream import MEMBER_JOBS, QUEUE_JOBS, Plan

USERS = 500
ROUNDS = 5
SECONDS = 0.6
# A poll of each every 2 s is 250 polls a second, which leaves processor time to spare; every 0.1 s is more than one
# processor can do, so that all request slots are always taken.
PACED, FLAT_OUT = 2.0, 0.1


def tables() -> Tables:
    with server(upstream.unchanging, USERS) as unchanged, server(upstream.changing, USERS) as changing:
        yield (
            "CPU of a poll, whole process",
            [
                compared("queue_jobs, nothing changed, 250 polls/s", unchanged, PACED, QUEUE_JOBS, aim=1.3),
                compared("queue_jobs, nothing changed, flat out", unchanged, FLAT_OUT, QUEUE_JOBS, aim=1.3),
                compared("queue_jobs, every value changed, 250 polls/s", changing, PACED, QUEUE_JOBS, aim=1.6),
                compared("queue_jobs, every value changed, flat out", changing, FLAT_OUT, QUEUE_JOBS, aim=1.6),
                compared("member_jobs, nothing changed, 250 polls/s", unchanged, PACED, MEMBER_JOBS, aim=1.3),
            ],
        )


def compared(what: str, url: str, interval: float, endpoint: str, *, aim: float) -> Row:
    args = (url, USERS, interval, endpoint, SECONDS)
    rounds = pairs(ROUNDS, (ours, *args), (bare, *args))
    return paired(what, "us", [(of_ours["cpu"], of_bare["cpu"]) for of_ours, of_bare in rounds], aim)


async def ours(url: str, users: int, interval: float, endpoint: str, seconds: float) -> None:
    from bench.exporter import polls_of, running

    async with running(Plan(url, users, interval, endpoint)) as app:
        await asyncio.sleep(interval)  # past the start, when everything is new
        await take_turns(lambda: cpu_per_poll(lambda: polls_of(app, endpoint), seconds))


async def bare(url: str, users: int, interval: float, endpoint: str, seconds: float) -> None:
    loop = BareLoop(Plan(url, users, interval, endpoint), interval)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(interval + 0.5)
    await take_turns(lambda: cpu_per_poll(lambda: loop.polls, seconds))
    task.cancel()
    await asyncio.wait([task])


async def cpu_per_poll(polls: Callable[[], float], seconds: float) -> Result:
    """Processor time of the process for each poll over some seconds, in microseconds."""
    before, cpu = polls(), time.process_time()
    await asyncio.sleep(seconds)
    cpu = time.process_time() - cpu
    return {"cpu": cpu / (polls() - before) * 1e6}


T = TypeVar("T")


class Value(msgspec.Struct, gc=False, rename="camel"):
    metric_name: str
    metric_value: int


class Queue(msgspec.Struct, gc=False):
    name: str
    values: list[Value]


class Job(msgspec.Struct, gc=False, rename="camel"):
    id: str
    status: str
    name: str
    node_num_req: int
    proc_num_req: int
    gpu_num_req: int
    dcu_num_req: int
    cpu_core: int
    gpu_num: int
    dcu_num_used: int


class Envelope(msgspec.Struct, Generic[T], gc=False):
    code: str
    msg: str
    data: T


_queues = msgspec.json.Decoder(Envelope[list[Queue]])
_jobs = msgspec.json.Decoder(Envelope[list[Job]])


class BareLoop:
    """Request every user at the exporter's interval, through one session with bounded concurrency."""

    def __init__(self, plan: Plan, spread: float) -> None:
        """Send the first request for each user within `spread` seconds."""
        self._plan = plan
        self._spread = spread
        self._slots = asyncio.Semaphore(plan.concurrency)
        self.polls = 0

    async def run(self) -> None:
        headers = {"User-Agent": "hpc-exporter", "Accept": "application/json"}
        async with (
            aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session,
            asyncio.TaskGroup() as users,
        ):
            for index in range(self._plan.users):
                users.create_task(self._poll(session, f"user{index:05d}"))

    async def _poll(self, session: aiohttp.ClientSession, user: str) -> None:
        queues = self._plan.endpoint == QUEUE_JOBS
        decode: Callable[[bytes], object] = _queues.decode if queues else _jobs.decode
        url = self._plan.url + (upstream.queue_path if queues else upstream.member_path)(user)
        interval = self._plan.interval
        loop = asyncio.get_running_loop()
        due = loop.time() + random.uniform(0, self._spread)  # noqa: S311 - spreads load, hides nothing
        while True:
            await asyncio.sleep(due - loop.time())
            async with self._slots, session.get(url, headers={"token": "none"}) as answer:
                decode(await answer.read())
            self.polls += 1
            due += interval * (1 + max(0.0, loop.time() - due) // interval)


if __name__ == "__main__":
    command(ours, bare)
