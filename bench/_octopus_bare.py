"""``python -m bench._octopus_bare URL READINGS``: the same pages, one after the other, decoded, and nothing else."""

import asyncio
import json
import sys
import time

import aiohttp
import msgspec

PAGE_SIZE = 200


class Row(msgspec.Struct, gc=False):
    id: int
    job_type: str
    processor_name: str
    resource_spec: str
    rank_stamp: int


class PageInfo(msgspec.Struct, gc=False):
    total: int


class Payload(msgspec.Struct, gc=False):
    rows: list[Row] = msgspec.field(name="list")
    page_info: PageInfo


class Page(msgspec.Struct, gc=False):
    payload: Payload


async def read(session: aiohttp.ClientSession, url: str, decoder: msgspec.json.Decoder[Page]) -> int:
    """The number of rows."""
    rows, total = 0, 1
    where = f"{url}/v1.0/bench/data/queuing-jobs?queue_type=PROCESSOR&limit={PAGE_SIZE}&offset="
    while rows < total:
        async with session.get(f"{where}{rows}", headers={"X-Auth-Token": "none"}) as answer:
            payload = decoder.decode(await answer.read()).payload
        rows += len(payload.rows)
        total = payload.page_info.total
    return rows


async def measure(url: str, readings: int) -> dict[str, float]:
    decoder = msgspec.json.Decoder(Page)
    async with aiohttp.ClientSession() as session:
        await read(session, url, decoder)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(readings):
            await read(session, url, decoder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"cpu": cpu / readings * 1000, "wall": wall / readings * 1000}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))))
