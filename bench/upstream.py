"""Upstreams that answer from prepared bytes.

At ten thousand users a web framework would cost more than what is measured.

They import nothing of the exporter, and speak just enough HTTP/1.1 to serve GET. Each serves until standard input ends.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.contenders import command

SOURCE, GROUP_ID = "bench", 533686286955839488
QUEUE_JOBS, MEMBER_JOBS = "queue_jobs", "member_jobs"
JOBS, LETTERS = 3, "RQHSO"
END_OF_HEAD = b"\r\n\r\n"
# As long as the Unix time in milliseconds is for the next centuries, so that all answers are of one length.
MARK = 1234567890123


@dataclass(frozen=True, slots=True)
class Plan:
    """The load: users of the region at `url`, each polled every `interval` seconds."""

    url: str
    users: int
    interval: float
    endpoint: str = QUEUE_JOBS
    concurrency: int = 16
    source: str = SOURCE


class Region:
    """Users named user00000, user00001, ..., each with jobs in `queues` queues and three listed jobs."""

    def __init__(self, users: int, queues: int) -> None:
        self._queues = queues
        self._rng = random.Random("static")  # noqa: S311 - repeatable, hides nothing
        self._users = users
        self.answers = self.draw()

    def draw(self) -> dict[bytes, bytes]:
        """Return new answers for all users, by path."""
        drawn = {}
        for index in range(self._users):
            user = f"user{index:05d}"
            drawn[queue_path(user).encode()] = region_response(self._queue_rows())
            drawn[member_path(user).encode()] = region_response(self._job_rows(index))
        return drawn

    def answer(self, path: bytes) -> bytes:
        return self.answers[path]

    def _queue_rows(self) -> list[dict[str, object]]:
        return [
            {"name": f"queue{index}", "values": [value(letter, self._rng.randrange(100)) for letter in LETTERS]}
            for index in range(self._queues)
        ]

    def _job_rows(self, user: int) -> list[dict[str, object]]:
        first = 1_000_000 + user * JOBS
        return [self._job_row(str(job)) for job in range(first, first + JOBS)]

    def _job_row(self, job_id: str) -> dict[str, object]:
        cores, running = 1 << self._rng.randrange(6), self._rng.choice((True, False))
        none = dict.fromkeys(("gpuNumReq", "gpuNum", "dcuNumReq", "dcuNumUsed"), 0)
        status = "statR" if running else "statQ"
        row = {"id": job_id, "name": f"vasp_std_{job_id}", "status": status, "nodeNumReq": 1}
        return {**row, "cpuCore": cores * running, "procNumReq": cores, **none}


class ChangingRegion(Region):
    """Every user has two answers, given alternately."""

    def __init__(self, users: int, queues: int) -> None:
        super().__init__(users, queues)
        self._next = self.draw()

    def answer(self, path: bytes) -> bytes:
        self.answers[path], self._next[path] = self._next[path], self.answers[path]
        return self.answers[path]


def value(letter: str, count: int) -> dict[str, object]:
    return {"metricName": letter, "metricValue": count}


def queue_path(user: str) -> str:
    return f"/hpc/openapi/v2/view/queue/jobs?userName={user}"


def member_path(user: str) -> str:
    return f"/ac/openapi/v2/clusters/11112/groups/{GROUP_ID}/clusterUserNames/{user}/jobs"


def region_response(data: object) -> bytes:
    return response(json.dumps({"code": "0", "msg": "success", "data": data}, separators=(",", ":")).encode())


def response(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection, kept alive; requests that arrive together are answered in order."""

    def __init__(self, answer: Callable[[bytes], bytes], delay: float) -> None:
        self._answer = answer
        self._delay = delay
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._pending = (self._pending + data).split(END_OF_HEAD)
        for head in heads:
            answer = self._answer(head.split(b" ", 2)[1])
            if self._delay:
                asyncio.get_running_loop().call_later(self._delay, self._transport.write, answer)
            else:
                self._transport.write(answer)


async def serve(answer: Callable[[bytes], bytes], delay: float = 0.0) -> None:
    """Print the URL and answer paths, each after `delay` seconds, until standard input ends."""
    async with serving(answer, delay) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def serving(answer: Callable[[bytes], bytes], delay: float = 0.0) -> AsyncIterator[str]:
    """Answer paths, each after `delay` seconds; yield the URL."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answer, delay), "127.0.0.1", 0, backlog=4096)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def unchanging(users: int, queues: int = 5, delay: float = 0.0) -> None:
    await serve(Region(users, queues).answer, delay)


async def changing(users: int, queues: int = 5) -> None:
    await serve(ChangingRegion(users, queues).answer)


async def clock() -> None:
    """Each user has one queue; its running jobs are the time of the answer in Unix milliseconds."""
    template = region_response([{"name": "debug", "values": [value("R", MARK), value("Q", 1)]}])
    mark = str(MARK).encode()
    await serve(lambda _: template.replace(mark, b"%d" % (time.time() * 1000)))


if __name__ == "__main__":
    command(unchanging, changing, clock)
