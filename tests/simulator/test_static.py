import asyncio
import json
from typing import Any

import aiohttp
import pytest

from exporter.simulator import StaticRegion


async def fetch(session: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Any]:
    async with session.get(url, headers=headers) as response:
        body = await response.read()
        return response.status, json.loads(body) if body else None


async def test_every_user_has_queues_and_jobs(session: aiohttp.ClientSession) -> None:
    async with StaticRegion(users=20, queues=3, jobs=2) as region:
        ids = []
        for user in region.users:
            _, queues = await fetch(session, region.hpc_url + region.queue_path(user))
            _, members = await fetch(session, region.ac_url + region.member_path(user))
            assert [row["name"] for row in queues["data"]] == ["queue0", "queue1", "queue2"]
            ids += [job["id"] for job in members["data"]]
        assert len(set(ids)) == 40
        _, schedulers = await fetch(session, f"{region.hpc_url}/hpc/openapi/v2/cluster")
        assert schedulers["data"][0]["id"] == 1638523853
        assert (await fetch(session, f"{region.hpc_url}/elsewhere"))[0] == 404
        assert region.requests == 42


async def test_answers_stay_until_they_are_changed(session: aiohttp.ClientSession) -> None:
    async with StaticRegion(users=50) as region:

        async def everything() -> list[Any]:
            return [await fetch(session, region.url + region.queue_path(user)) for user in region.users]

        first = await everything()
        assert await everything() == first
        region.change(0.5)
        changed = sum(before != after for before, after in zip(first, await everything(), strict=True))
        assert 10 < changed < 40


async def test_only_the_given_token_is_let_in(session: aiohttp.ClientSession) -> None:
    async with StaticRegion(users=1, token="secret") as region:
        url = region.url + region.queue_path("user00000")
        codes = [(await fetch(session, url, **headers))[1]["code"] for headers in ({}, {"token": "secre"})]
        assert codes == ["911406", "911406"]
        assert (await fetch(session, url, token="secret"))[1]["code"] == "0"


async def test_requests_split_or_joined_on_the_wire_are_answered_in_order() -> None:
    async with StaticRegion(users=2) as region:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(region.url.rpartition(":")[2]))
        one, two = (f"GET {region.queue_path(user)} HTTP/1.1\r\n\r\n".encode() for user in region.users)
        writer.write(one + two[:10])
        answers = [await _read(reader)]
        writer.write(two[10:] + b"POST / HTTP/1.1\r\n\r\n")
        answers.append(await _read(reader))
        assert answers[0] != answers[1]
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))


async def test_stopping_closes_the_connections() -> None:
    region = StaticRegion(users=1)
    await region.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(region.url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\n")
    while not region.max_connections:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    await region.stop()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_only_loopback_is_listened_on() -> None:
    with pytest.raises(ValueError, match="is not a loopback address"):
        await StaticRegion(users=1).start("0.0.0.0")  # noqa: S104 - refused
