"""Real servers on loopback, and upstreams that talk to them."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.clock import Clock
from exporter.http import Request, Response, Settings, Upstream
from tests.support.clock import clock_of_loop

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(seconds: float = 0.0, **response: Any) -> Handler:
    """Answer every request with a response of these parts, after some seconds."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response(**response)

    return answer


class Counts:
    """A RequestObserver that remembers."""

    def __init__(self) -> None:
        self.codes: Counter[int | None] = Counter()
        self.api_codes: Counter[str] = Counter()
        self.retries = 0
        self.labels: set[tuple[str, str]] = set()

    def request(self, source: str, collector: str, code: int | None) -> None:
        self.labels.add((source, collector))
        self.codes[code] += 1

    def api_error(self, source: str, collector: str, api_code: str) -> None:
        self.labels.add((source, collector))
        self.api_codes[api_code] += 1

    def retry(self, source: str, collector: str) -> None:
        self.labels.add((source, collector))
        self.retries += 1


class Network:
    """Starts servers and upstreams; all end with the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.counts = Counts()

    async def serve(self, handler: Handler, tls: ssl.SSLContext | None = None) -> str:
        """Answer every path with `handler`, which is cancelled when the client leaves; the URL without a path."""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        application = web.Application()
        application.router.add_route("*", r"/{path:[\s\S]*}", handle)
        server = TestServer(application)
        await server.start_server(ssl=tls, shutdown_timeout=0.1, max_field_size=64 * 1024)
        self._stack.push_async_callback(server.close)
        return str(server.make_url("/")).rstrip("/")

    async def answer(self, seconds: float = 0.0, **response: Any) -> str:
        """Answer every request with a response of these parts, after some seconds; the URL without a path."""
        return await self.serve(answering(seconds, **response))

    async def serve_raw(self, handler: RawHandler) -> str:
        """Give every connection to `handler`; the URL without a path."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            finally:
                writer.close()

        tasks: set[asyncio.Task[None]] = set()

        def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(connected(reader, writer))
            tasks.add(task)

        server = await asyncio.start_server(start, "127.0.0.1", 0)

        async def close() -> None:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._stack.push_async_callback(close)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def upstream(
        self,
        name: str = "kunshan",
        *,
        timeout: float = 5.0,
        retries: int = 0,
        max_concurrency: int = 16,
        requests_per_second: float | None = None,
        max_body: int = 64 * 1024**2,
        slots: asyncio.Semaphore | None = None,
        clock: Clock | None = None,
        tls: ssl.SSLContext | bool = True,
        unix_socket: str = "",
    ) -> Upstream:
        upstream = Upstream(
            Settings(name, timeout, retries, max_concurrency, requests_per_second, max_body, unix_socket),
            slots=slots or asyncio.Semaphore(16),
            observer=self.counts,
            clock=clock or clock_of_loop(),
            tls=tls,
        )
        self._stack.push_async_callback(upstream.close)
        return upstream


@asynccontextmanager
async def a_network() -> AsyncIterator[Network]:
    async with AsyncExitStack() as stack:
        yield Network(stack)


def get(url: str, **more: object) -> Request:
    """Return a plain request as a client makes it."""
    return Request("queue_jobs", url, **more)  # type: ignore[arg-type]  # the caller's keywords are Request's


def body_of(response: Response) -> bytes:
    return response.body
