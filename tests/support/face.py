"""The web server of the tests, and an application for it of which everything can be set."""

import asyncio
import gzip
import inspect
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from exporter.app.status import Selection
from exporter.clock import Clock, SystemClock
from exporter.metrics.format import Format
from exporter.web.connections import ConnectionLimiter
from exporter.web.security import WebConfig
from exporter.web.server import create_app, server_of

Made = TypeVar("Made")


class FakeFace:
    """An application of which everything can be set."""

    def __init__(self) -> None:
        self.ready = True
        self.requests: Counter[tuple[str, int]] = Counter()
        self.body = b"apples 1\n"
        self.config = "poll: {}\n"
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.scrapes = self.made = 0
        # Of each request for a status, whether its client is still there.
        self.wanted: list[Callable[[], bool]] = []
        self._turn = asyncio.Semaphore(1)
        self.format: Format | None = None
        self.reloads = self.reloaded = 0
        self.reload_error: Exception | None = None

    async def metrics(self, fmt: Format, *, compress: bool) -> bytes:
        self.scrapes += 1
        self.format = fmt
        await self.may_answer.wait()
        return gzip.compress(self.body) if compress else self.body

    def status(self, selection: Selection | None = None) -> dict[str, Any]:  # noqa: ARG002 - there is nothing to select from
        return {
            "version": "1",
            "time": "2026-01-01T00:00:00.000Z",
            "started": "2026-01-01T00:00:00.000Z",
            "ready": self.ready,
            "shard": {"ordinal": 0, "total": 1},
            "config": {"file": "exporter.yml", "last_reload_successful": True, "warnings": []},
            "summary": {"total": 0, "stale": 0, "failing": 0, "pending": 0, "up": 0},
            "sources": [],
            "page": {"offset": 0, "limit": 100, "matching": 0, "total": 0, "next_offset": None},
            "targets": [],
            "waits": [],
            "jobs": {"enabled": False, "total": None},
        }

    async def status_as(
        self, made: Callable[[dict[str, Any]], Made], selection: Selection, wanted: Callable[[], bool]
    ) -> Made:
        """One at a time, in a thread, as the application does it."""
        self.wanted.append(wanted)
        await self.may_answer.wait()
        async with self._turn:
            if not wanted():
                raise ConnectionAbortedError
            self.made += 1
            return await asyncio.to_thread(lambda: made(self.status(selection)))

    async def effective_config(self) -> str:
        await self.may_answer.wait()
        return self.config

    async def reload(self) -> None:
        self.reloads += 1
        await self.may_answer.wait()
        self.reloaded += 1
        if self.reload_error is not None:
            raise self.reload_error

    def http_request(self, path: str, code: int) -> None:
        self.requests[path, code] += 1


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until the result of a function or a coroutine function is true: most conditions set no event."""
    async with asyncio.timeout(100):
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)


class Kept:
    """A client's connection, kept until it is closed or the server disconnects."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def status(self, authorization: str = "", path: str = "/-/healthy") -> int:
        """Return the status of one more request.

        Raises OSError or IncompleteReadError where the connection is closed.
        """
        header = f"Authorization: {authorization}\r\n" if authorization else ""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
        async with asyncio.timeout(100):
            head = await self.reader.readuntil(b"\r\n\r\n")
            await self.reader.readexactly(int(head.partition(b"Content-Length: ")[2].split()[0]))
        return int(head.split()[1])

    async def ended(self) -> bool:
        """Wait until the server disconnects; False where it sends something first."""
        try:
            async with asyncio.timeout(100):
                return await self.reader.read() == b""
        except ConnectionResetError:
            return True


class Served:
    """A running web server."""

    def __init__(
        self, face: FakeFace, config: WebConfig, limiter: ConnectionLimiter, runner: web.AppRunner, port: int
    ) -> None:
        self.face = face
        self.config = config
        self.limiter = limiter
        self.runner = runner
        self.port = port

    async def ask(
        self, path: str = "/-/healthy", method: str = "GET", *, tls: ssl.SSLContext | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over a connection of its own: status, headers, body. Raises OSError where there is no answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        answer = await self.say("\r\n".join([*lines, "", ""]).encode(), tls)
        if not answer:
            raise ConnectionResetError("disconnected without an answer")
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        return int(first.split()[1]), dict(line.split(": ", 1) for line in rest), body

    async def status(
        self, path: str = "/-/healthy", method: str = "GET", *, tls: ssl.SSLContext | None = None, **headers: str
    ) -> int:
        return (await self.ask(path, method, tls=tls, **headers))[0]

    async def say(self, request: bytes, tls: ssl.SSLContext | None = None) -> bytes:
        """Send these bytes; all that is received until the server disconnects."""
        async with asyncio.timeout(100):
            reader, writer = await self.connect(tls)
            try:
                writer.write(request)
                return await reader.read()
            finally:
                writer.close()

    async def is_answered(self, tls: ssl.SSLContext | None = None) -> bool:
        """Whether a client gets an answer, rather than being disconnected."""
        try:
            return await self.status(tls=tls) == 200
        except (OSError, ssl.SSLError):
            return False

    @asynccontextmanager
    async def kept(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Kept]:
        reader, writer = await self.connect(tls)
        try:
            yield Kept(reader, writer)
        finally:
            writer.close()

    async def connect(self, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = "localhost" if tls else None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, server_hostname=host)


@asynccontextmanager
async def guarded(
    settings: Path | None = None,
    *,
    face: FakeFace | None = None,
    clock: Clock | None = None,
    max_connections: int = 500,
    shutdown_timeout: float = 0.1,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve as `serve` does."""
    face = face or FakeFace()
    config = await WebConfig.load(settings, clock or SystemClock())
    limiter = ConnectionLimiter(max_connections)
    app = create_app(face, config=config, limiter=limiter, **options)
    runner = server_of(app, shutdown_timeout=shutdown_timeout)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    port = listener.getsockname()[1]
    await web.SockSite(runner, limiter.listener(listener), ssl_context=config.context).start()
    watch = asyncio.create_task(config.watch())
    try:
        yield Served(face, config, limiter, runner, port)
    finally:
        watch.cancel()
        await runner.cleanup()
        if watch.done() and not watch.cancelled():
            watch.result()
