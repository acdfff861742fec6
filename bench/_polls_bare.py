"""``python -m bench._polls_bare URL USERS INTERVAL ENDPOINT SECONDS``: the same requests, decoded, and nothing else, by turns.

Every user is asked in the same rhythm as by the exporter, through one session, at most so many at a time.
"""

import asyncio
import random
import sys
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import aiohttp
import msgspec

from bench._plan import GROUP_ID, QUEUE_JOBS, Plan
from bench._turns import take_turns

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
    def __init__(self, plan: Plan, spread: float | None = None) -> None:
        """The first request for each user is sent within `spread` seconds; left out: within the interval."""
        self._plan = plan
        self._spread = plan.interval if spread is None else spread
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
        decode: Callable[[bytes], object]
        if self._plan.endpoint == QUEUE_JOBS:
            decode, path = _queues.decode, f"/hpc/openapi/v2/view/queue/jobs?userName={user}"
        else:
            decode = _jobs.decode
            path = f"/ac/openapi/v2/clusters/11112/groups/{GROUP_ID}/clusterUserNames/{user}/jobs"
        url = self._plan.url + path
        interval = self._plan.interval
        loop = asyncio.get_running_loop()
        due = loop.time() + random.uniform(0, self._spread)  # noqa: S311 - spreads load, hides nothing
        while True:
            await asyncio.sleep(due - loop.time())
            async with self._slots, session.get(url, headers={"token": "none"}) as answer:
                decode(await answer.read())
            self.polls += 1
            due += interval * (1 + max(0.0, loop.time() - due) // interval)


async def compete(plan: Plan, seconds: float) -> None:
    async def measure() -> dict[str, float]:
        before, cpu = loop.polls, time.process_time()
        await asyncio.sleep(seconds)
        return {"cpu": (time.process_time() - cpu) / (loop.polls - before) * 1e6}

    loop = BareLoop(plan)
    task = asyncio.create_task(loop.run())
    await asyncio.sleep(plan.interval + 0.5)
    await take_turns(measure)
    task.cancel()
    await asyncio.wait([task])


if __name__ == "__main__":
    url, users, interval, endpoint, seconds = sys.argv[1:]
    asyncio.run(compete(Plan(url, int(users), float(interval), endpoint), float(seconds)))
