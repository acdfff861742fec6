"""What every request passes before anything of the exporter is shown to it, whatever its path."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.web.guard.door import Doorkeeper
from exporter.web.guard.logins import Logins, TooManyLoginsError

CHALLENGE: Final = 'Basic realm="hpc-exporter", charset="UTF-8"'
HEADERS: Final[web.RequestKey[Mapping[str, str]]] = web.RequestKey("HEADERS", Mapping)
# A slow reader holds no more than this of an answer in buffers of its own, in bytes.
CHUNK: Final = 128 * 1024


def connection(keeper: Doorkeeper, sending_timeout: float) -> Middleware:
    """The outermost middleware: a request keeps its connection from being given up until its answer is sent.

    Who has not read the answer after `sending_timeout` seconds is hung up on.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        protocol = request.protocol
        keeper.asked(protocol)
        try:
            answer = await handler(request)
            await send(request, answer, sending_timeout)
        finally:
            keeper.answered(protocol)
        return answer

    return middleware


def gate(keeper: Doorkeeper, logins: Logins) -> Middleware:
    """Middleware that refuses who may not pass."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        policy = await keeper.policy.current()
        request[HEADERS] = policy.settings.headers
        if request.transport is None or not policy.admits(request.transport):
            return hung_up_on(request)
        if keeper.policy.broken:
            return refusal(500, "The web configuration cannot be used; the exporter's log says why.")
        if not await policy.within_rate():
            return refusal(429, "Too many requests: see rate_limit in the web configuration.")
        try:
            users = policy.settings.users
            if users and not await logins.check(request.headers.get("Authorization"), users):
                return refusal(401, "Unauthorized", {"WWW-Authenticate": CHALLENGE})
        except TooManyLoginsError:
            return refusal(503, "Too many passwords to check, try again later.", {"Retry-After": "5"})
        return await handler(request)

    return middleware


async def add_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """A signal handler: put the configured headers onto an answer that is about to be sent."""
    # Strangers need not know the versions of what runs here.
    answer.headers.popall("Server", None)
    answer.headers.update(request.get(HEADERS, {}))


async def send(request: web.Request, answer: web.StreamResponse, patience: float, body: bytes = b"") -> None:
    """Send an answer to its end. `body` is one without a copy of its own: it is handed over piece by piece."""
    # Who hung up is no error of ours; aiohttp notices when it looks after us.
    with suppress(ConnectionError):
        try:
            async with asyncio.timeout(patience):
                await answer.prepare(request)
                if body and request.method != "HEAD":
                    view = memoryview(body)
                    for start in range(0, len(body), CHUNK):
                        await answer.write(view[start : start + CHUNK])
                await answer.write_eof()
        except TimeoutError:
            hung_up_on(request)


def refusal(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)


def hung_up_on(request: web.Request) -> web.Response:
    """End a connection without an answer, as a failed TLS handshake does."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=403)
