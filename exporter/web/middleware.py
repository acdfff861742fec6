"""Middleware around every request: counting, limits, and the time allowed for sending an answer."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exporter.web.connections import Connection, ConnectionLimiter

# Bytes of an answer that a slow reader holds in buffers of its own at most.
CHUNK: Final = 128 * 1024
# The status that nginx logs for a request whose client left before the answer.
CLIENT_GONE: Final = 499
CONNECTION: Final[web.RequestKey[Connection]] = web.RequestKey("CONNECTION", Connection)


def connection(limiter: ConnectionLimiter, sending_timeout: float) -> Middleware:
    """Return the outermost middleware: a request's connection is not idle until its answer is sent.

    A client that has not read the answer after `sending_timeout` seconds is disconnected.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        found = limiter.request_started(request.transport)
        if found is not None:
            request[CONNECTION] = found
        try:
            answer = await handler(request)
            await send(request, answer, sending_timeout)
        finally:
            limiter.request_ended(found)
        return answer

    return middleware


def counting(count: Callable[[str, int], None], known: frozenset[str], prefix: str = "") -> Middleware:
    """Return middleware that counts requests by path and status, below the path `prefix` as without it.

    A path that is not `known` is `other`: clients may send any.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if path not in known and f"{path}/".startswith(f"{prefix}/"):
            path = path.removeprefix(prefix) or "/"
        path = "/static" if path.startswith("/static/") else path if path in known else "other"
        try:
            answer = await handler(request)
        except web.HTTPException as rejection:
            count(path, rejection.status)
            raise
        except Exception:
            # aiohttp logs it and sends this status.
            count(path, 500)
            raise
        count(path, answer.status)
        return answer

    return middleware


def limit_requests(handler: Handler, limit: int, sending_timeout: float) -> Handler:
    """Return `handler` with a limit of simultaneous requests of its own; beyond it the answer is 503. 0: no limit.

    A request counts until its answer is sent, so that slow readers count as well.
    """
    running = 0

    async def limited(request: web.Request) -> web.StreamResponse:
        nonlocal running
        if limit and running >= limit:
            text = f"Limit of concurrent requests reached ({limit}), try again later."
            return rejection(503, text, {"Retry-After": "1"})
        running += 1
        try:
            answer = await handler(request)
            await send(request, answer, sending_timeout)
        except ConnectionAbortedError:
            return rejection(CLIENT_GONE, "The client is gone.")
        finally:
            running -= 1
        return answer

    return limited


async def send(request: web.Request, answer: web.StreamResponse, sending_timeout: float, body: bytes = b"") -> None:
    """Send an answer to its end. A `body` that answers share is sent in pieces: a slow reader holds no copy of it."""
    # A client that disconnected is no error of the server; aiohttp closes the connection.
    with suppress(ConnectionError):
        try:
            async with asyncio.timeout(sending_timeout):
                await answer.prepare(request)
                if body and request.method != "HEAD":
                    view = memoryview(body)
                    for start in range(0, len(body), CHUNK):
                        await answer.write(view[start : start + CHUNK])
                await answer.write_eof()
        except TimeoutError:
            disconnect(request)


def rejection(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)


def disconnect(request: web.Request) -> web.Response:
    """End a connection without an answer, as a failed TLS handshake does."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=403)
