"""Requests to a server on a unix socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from exporter.errors import UpstreamConnectionError
from exporter.http import Endpoint, StaticToken, TokenProvider
from tests.support.http import Network, body_of


class Given:
    """A secret of the test."""

    origin = "test"

    def __init__(self, token: str) -> None:
        self._token = token

    def value(self) -> str:
        return self._token


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[str]:
    """Return the path of a socket whose server says which path and which credentials it was asked with."""

    async def handle(request: web.Request) -> web.Response:
        sent = {name: request.headers.get(name) for name in ("Authorization", "X-SLURM-USER-NAME")}
        return web.json_response([request.path, sent])

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application)
    await runner.setup()
    socket = str(tmp_path / "socket")
    await web.UnixSite(runner, socket).start()
    yield socket
    await runner.cleanup()


@pytest.mark.parametrize(
    ("token", "sent"),
    [("made-up", '["/jobs", {"Authorization": "Bearer made-up", "X-SLURM-USER-NAME": "me"}]'),
     ("", '["/jobs", {"Authorization": null, "X-SLURM-USER-NAME": "me"}]')],
    ids=["with a token", "without one"],
)  # fmt: skip
async def test_a_request_goes_to_the_socket_with_what_belongs_to_it(
    network: Network, path: str, token: str, sent: str
) -> None:
    tokens: TokenProvider = StaticToken(Given(token))
    upstream = network.upstream(unix_socket=path)
    headers = {"X-SLURM-USER-NAME": "me"}
    endpoint = Endpoint(upstream, tokens, "jobs", "http://localhost/jobs", "Authorization", "Bearer ", headers)
    assert (await endpoint.get(body_of)).decode() == sent


async def test_the_message_about_a_socket_that_is_not_there_names_it(network: Network, tmp_path: Path) -> None:
    path = str(tmp_path / "nothing")
    endpoint = Endpoint(network.upstream(unix_socket=path), StaticToken(Given("")), "jobs", "http://localhost/jobs")
    with pytest.raises(UpstreamConnectionError, match=f"cannot connect to {path}: No such file"):
        await endpoint.get(body_of)
