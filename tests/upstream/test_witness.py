"""Whoever wants to see the answers to requests made on its behalf sees its own and no others."""

import asyncio

from aiohttp import web

from exporter.upstream import Response, witnessed
from tests.support.http import Network, body_of, get


async def test_a_witness_sees_the_answers_to_its_own_requests(network: Network) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=request.path.encode())

    url = await network.serve(answer)
    upstream = network.upstream()

    async def asking(path: str) -> list[bytes]:
        seen: list[bytes] = []

        def see(response: Response) -> None:
            seen.append(response.body)

        with witnessed(see):
            await upstream.call(get(f"{url}/{path}"), body_of)
        await upstream.call(get(f"{url}/unseen"), body_of)
        return seen

    one, other = await asyncio.gather(asking("a"), asking("b"))
    assert (one, other) == ([b"/a"], [b"/b"])
