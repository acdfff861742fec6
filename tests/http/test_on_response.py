"""A hook for responses is called for the requests of its own task and no others."""

import asyncio

from aiohttp import web

from exporter.http import Request, Response, on_response
from tests.support.http import Network, body_of, get


async def test_a_hook_gets_the_responses_to_the_requests_within_its_block(network: Network) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=request.path.encode())

    url = await network.serve(answer)
    upstream = network.upstream()

    async def asking(path: str) -> list[bytes]:
        seen: list[bytes] = []

        def see(_request: Request, response: Response) -> None:
            seen.append(response.body)

        with on_response(see):
            await upstream.call(get(f"{url}/{path}"), body_of)
        await upstream.call(get(f"{url}/unseen"), body_of)
        return seen

    one, other = await asyncio.gather(asking("a"), asking("b"))
    assert (one, other) == ([b"/a"], [b"/b"])
