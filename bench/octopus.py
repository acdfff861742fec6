"""The cost of reading a long Octopus queue, against a loop that only decodes the same pages with msgspec."""

import asyncio
import json
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec

from bench.contenders import Result, by_turns, command, result_of, server
from bench.report import Row, Tables
from bench.upstream import response, serve

ENTRIES, PAGE_SIZE = 50_000, 200
ROUNDS = 3
READINGS = 5
# Before the measured ones, as the first readings allocate what all the others use.
WARM_UP = 3
MANY_READINGS = 40
CHURN = 500


def tables() -> Tables:
    with server(queue, ENTRIES, 0) as resting, server(queue, ENTRIES, CHURN) as moving:
        same, bare_same = by_turns(ROUNDS, (ours, resting, READINGS), (bare, resting, READINGS))
        moved, bare_moved = by_turns(ROUNDS, (ours, moving, READINGS), (bare, moving, READINGS))
        long = result_of(ours, moving, MANY_READINGS)
    yield (
        f"An Octopus queue of {ENTRIES:,} entries, 250 pages",
        [
            Row("CPU of a poll, nothing changed", "ms", same["cpu"], bare_same["cpu"], 2.0),
            Row(f"CPU of a poll, {CHURN} entries left and {CHURN} came", "ms", moved["cpu"], bare_moved["cpu"], 2.0),
            Row("time of a poll, nothing changed", "ms", same["wall"], bare_same["wall"], 2.0),
            Row("longest block of the event loop", "ms", max(same["block"], moved["block"]), aim=20.0),
            Row("memory of the process", "MiB", long["memory"]),
            Row(
                f"memory grown from poll {MANY_READINGS // 2} to poll {MANY_READINGS}",
                "blocks",
                long["grown"],
                aim=1000,
            ),
        ],
    )


async def ours(url: str, readings: int) -> Result:
    """Read the queue, compare it with the reading before, and render it.

    All in milliseconds, but `memory` (MiB after the last reading) and `grown`: by how many blocks of Python's memory
    the second half of the readings grew. MiB would tell less: the allocator keeps what threads gave back.
    """
    from bench.exporter import resident, watching

    project, target = prepared(url)

    async def read(readings: int) -> None:
        for _ in range(readings):
            await target.publish(await target.poll())

    await read(WARM_UP)
    wall, cpu = time.perf_counter(), time.process_time()
    await read(readings // 2)
    halfway = sys.getallocatedblocks()
    await read(readings - readings // 2)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    grown = sys.getallocatedblocks() - halfway
    async with watching() as watch:
        await read(WARM_UP)
    await project.close()
    result = {"cpu": cpu / readings * 1000, "wall": wall / readings * 1000}
    return result | {"block": watch.cpu, "memory": resident(), "grown": grown}


def prepared(url: str) -> tuple[Any, Any]:
    """Return the exporter's project and its only target."""
    from exporter.clock import SystemClock
    from exporter.config import InlineSecret, OctopusProject, OctopusQueue, PollSettings
    from exporter.metrics.exposition import Exposition
    from exporter.sources.octopus.project import Project
    from exporter.sources.source import Context

    queue = OctopusQueue(queue_type="PROCESSOR", cluster_type="MODELARTS", cluster_id="pool-1")
    settings = OctopusProject(
        name="bench",
        base_url=url,
        project_id="bench",
        token=InlineSecret("none"),
        queues=(queue,),
        poll=PollSettings(stale_after=3600.0),
    )
    context = Context(SystemClock(), Exposition())
    project = Project(settings, context, slots=asyncio.Semaphore(16), tls=True)
    (target,) = project.targets()
    return project, target


class Entry(msgspec.Struct, gc=False):
    id: int
    job_type: str
    processor_name: str
    resource_spec: str
    rank_stamp: int


class PageInfo(msgspec.Struct, gc=False):
    total: int


class Payload(msgspec.Struct, gc=False):
    rows: list[Entry] = msgspec.field(name="list")
    page_info: PageInfo


class Page(msgspec.Struct, gc=False):
    payload: Payload


async def bare(url: str, readings: int) -> Result:
    """Return the same pages, one after the other, decoded, and nothing else."""
    decoder = msgspec.json.Decoder(Page)
    async with aiohttp.ClientSession() as session:
        await read(session, url, decoder)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(readings):
            await read(session, url, decoder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / readings * 1000, "wall": wall / readings * 1000}


async def read(session: aiohttp.ClientSession, url: str, decoder: msgspec.json.Decoder[Page]) -> None:
    rows, total = 0, 1
    where = f"{url}/v1.0/bench/data/queuing-jobs?queue_type=PROCESSOR&limit={PAGE_SIZE}&offset="
    while rows < total:
        async with session.get(f"{where}{rows}", headers={"X-Auth-Token": "none"}) as answer:
            payload = decoder.decode(await answer.read()).payload
        rows += len(payload.rows)
        total = payload.page_info.total


async def queue(entries: int, churn: int) -> None:
    """Serve a queue of prepared rows. Before each reading but the first, `churn` entries leave and as many arrive."""
    rows = [entry(number) for number in range(2 * entries + churn)]
    first = -churn

    def page(path: bytes) -> bytes:
        nonlocal first
        query = parse_qs(urlsplit(path.decode()).query)
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        if offset == 0:
            first = (first + churn) % entries
        begin = first + offset
        found = b",".join(rows[begin : min(begin + limit, first + entries)])
        info = json.dumps({"offset": offset, "limit": limit, "total": entries}).encode()
        return response(b'{"meta_info":{},"payload":{"list":[' + found + b'],"page_info":' + info + b"}}")

    await serve(page)


def entry(number: int) -> bytes:
    """As long as those of the official page, with all the fields that it declares."""
    return json.dumps(
        {
            "id": number,
            "job_id": 1_000_000 + number,
            "processor_id": number % 4,
            "source": "API",
            "processor_name": f"lane-detection-{number % 4}",
            "job_type": ("FRAME_EXTRACT", "SCENARIO_AUTO_MINING", "PACKAGE_IMPORT")[number % 3],
            "data_id": f"DPK{number:07d}",
            "output_type": "DATA_SET",
            "rank_stamp": 1_700_000_000_000 + number,
            "project_id": "087679f0aa05c0f0ad2f5e902b",
            "resource_spec": f"{1 << number % 2}Core_4GiB",
            "priority": 0,
            "queue_type": "PROCESSOR",
            "workspace_id": "0",
            "cluster_type": "MODELARTS",
            "cluster_id": "pool-1",
        }
    ).encode()


if __name__ == "__main__":
    command(ours, bare, queue)
