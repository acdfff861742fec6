"""Slow and numerous clients."""

import asyncio
import resource
import socket
import sys
import time
from contextlib import AsyncExitStack, ExitStack

import pytest

from exporter.web import connections
from exporter.web.connections import MAX_CLOSING, MAX_CONNECTIONS, ConnectionLimiter, connection_limit
from tests.support.face import Kept, Served, eventually, guarded


@pytest.mark.parametrize(
    "said", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX: "], ids=["nothing", "a line", "half"]
)
async def test_a_client_that_does_not_finish_the_headers_is_disconnected(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_TIMEOUT", 0.2)
    async with guarded() as served, served.kept() as client:
        dribbling = asyncio.create_task(dribble(client.writer, said))
        assert await client.ended()
        dribbling.cancel()


async def dribble(writer: asyncio.StreamWriter, said: bytes) -> None:
    """Send a byte now and then, which must not extend the time."""
    writer.write(said)
    while said:
        await asyncio.sleep(0.02)
        writer.write(b"x")


async def test_a_client_that_sent_a_request_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_TIMEOUT", 0.4)
    async with guarded() as served, served.kept() as client:
        assert await client.status() == 200
        async with served.kept() as silent:
            assert await silent.ended()
        assert await client.status() == 200


async def test_a_request_that_arrives_while_the_event_loop_is_busy_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "FIRST_REQUEST_TIMEOUT", 0.2)
    async with guarded() as served, served.kept() as client:
        server = served.runner.server
        assert server is not None
        await eventually(lambda: server.connections)
        asyncio.get_running_loop().call_soon(time.sleep, 0.3)
        assert await client.status() == 200


async def test_silent_clients_are_closed_for_one_with_a_request() -> None:
    async with guarded(max_connections=20) as served, AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(served.kept()) for _ in range(60)]
        for _ in range(5):
            assert await served.status() == 200
        assert await silent[0].ended()
        assert served.runner.server is not None
        assert len(served.runner.server.connections) <= 20


async def test_a_connection_with_a_request_in_flight_is_never_closed() -> None:
    async with guarded(max_connections=5) as served, AsyncExitStack() as stack:
        served.face.may_answer.clear()
        scrape = asyncio.create_task(served.status("/metrics"))
        await eventually(lambda: served.face.scrapes)
        for _ in range(20):
            await stack.enter_async_context(served.kept())
        served.face.may_answer.set()
        assert await scrape == 200


async def test_a_connection_beyond_the_limit_is_closed_when_none_is_idle() -> None:
    async with guarded(max_connections=5, max_requests=0) as served:
        served.face.may_answer.clear()
        scrapes = [asyncio.create_task(served.status("/metrics")) for _ in range(5)]
        await eventually(lambda: served.face.scrapes == 5)
        with pytest.raises(ConnectionError):
            await served.status()
        served.face.may_answer.set()
        assert await asyncio.gather(*scrapes) == [200] * 5
        assert await served.status() == 200


async def test_each_connection_beyond_the_limit_closes_another_one() -> None:
    """Also where those that are closed already are still open for a moment."""
    limiter = ConnectionLimiter(2)
    with ExitStack() as stack:
        for _ in range(4):
            ours, _ = (stack.enter_context(each) for each in socket.socketpair())
            limiter.accepted(ours)
        closing = [connection.is_closing for connection in limiter.open_connections]
    assert closing == [True, True, False, False]


async def test_the_connection_idle_for_longest_is_closed() -> None:
    """The first one is kept: it sent a request just now."""
    async with guarded(max_connections=2) as served, served.kept() as first, served.kept() as second:
        for client in (first, second, first):
            assert await client.status() == 200
        assert await served.status() == 200
        assert await second.ended()
        assert await first.status() == 200


async def test_a_connection_without_a_request_is_closed_before_one_with_requests() -> None:
    async with guarded(max_connections=2) as served, served.kept() as client, served.kept() as silent:
        assert await client.status() == 200
        assert await served.status() == 200
        assert await silent.ended()
        assert await client.status() == 200


async def test_connections_that_do_not_close_do_not_keep_others_from_being_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A transport that reads no more does not see that its socket was shut down."""
    monkeypatch.setattr(connections, "CLOSING_TIMEOUT", 0.2)
    async with guarded(max_connections=2 * MAX_CLOSING) as served, AsyncExitStack() as stack:
        server = served.runner.server
        assert server is not None
        for _ in range(2 * MAX_CLOSING):
            await stack.enter_async_context(served.kept())
        await eventually(lambda: len(server.connections) == 2 * MAX_CLOSING)
        for connection in server.connections:
            assert isinstance(connection.transport, asyncio.Transport)
            connection.transport.pause_reading()
            stack.callback(connection.transport.abort)
        for _ in range(MAX_CLOSING):
            await stack.enter_async_context(served.kept())
        async with asyncio.timeout(100):
            assert await served.status() == 200


@pytest.mark.parametrize(
    ("open_files", "limit"),
    [(20_000, MAX_CONNECTIONS), (1024, 512), (256, 128), (resource.RLIM_INFINITY, 1000), (1, 1)],
)
def test_the_limit_fits_the_open_files(open_files: int, limit: int) -> None:
    assert connection_limit(open_files) == limit


FEW_FILES = """
import asyncio, resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from tests.support.face import guarded
from exporter.web.connections import connection_limit

async def main() -> None:
    async with guarded(max_connections=MOST or connection_limit()) as served:
        print(served.port, flush=True)
        await asyncio.to_thread(input)

asyncio.run(main())
"""


@pytest.mark.parametrize("most", ["None", "1000"])
async def test_floods_of_connections_leave_descriptors_for_clients_with_requests(most: str) -> None:
    """With the limit that fits, and even where descriptors run out before a limit that does not."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", FEW_FILES.replace("MOST", most)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    flood = [socket.create_connection(("127.0.0.1", port), timeout=100) for _ in range(150)]
    async with asyncio.timeout(100):
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await Kept(reader, writer).status() == 200
            writer.close()
    for client in flood:
        client.close()
    _, stderr = await process.communicate(b"\n")
    assert (process.returncode, stderr) == (0, b"")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"X: " + b"x" * 9000 + b"\r\n", b" 400 "),
        (b"".join(b"X%d: y\r\n" % number for number in range(200)), b" 400 "),
        (b"X: " + b"x" * 4000 + b"\r\n", b" 200 "),
    ],
    ids=["long", "many", "usual"],
)
async def test_headers_are_limited(headers: bytes, status: bytes) -> None:
    async with guarded() as served:
        answer = await served.say(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + headers + b"\r\n")
        assert status in answer.partition(b"\r\n")[0]


async def test_a_body_is_neither_kept_nor_waited_for() -> None:
    """No path reads one: the answer comes immediately."""
    async with guarded() as served:
        reader, writer = await served.connect()
        writer.write(b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n" + bytes(200_000))
        async with asyncio.timeout(100):
            assert b" 200 " in await reader.readline()
        writer.transport.abort()
        assert await served.status() == 200


async def test_a_slow_reader_of_a_large_answer_holds_no_copy_of_it() -> None:
    """The server keeps a single body for all scrapes."""
    async with guarded() as served:
        served.face.body = bytes(64 * 2**20)
        reader, writer = await served.connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        await reader.readline()
        await asyncio.sleep(0.1)
        assert sum(buffered(served)) < 2**20
        writer.transport.abort()


def buffered(served: Served) -> list[int]:
    """Bytes that wait in the server's transports."""
    assert served.runner.server is not None
    transports = [connection.transport for connection in served.runner.server.connections]
    return [t.get_write_buffer_size() for t in transports if isinstance(t, asyncio.WriteTransport)]


async def test_it_stops_listening_and_answers_requests_in_flight() -> None:
    async with guarded(shutdown_timeout=100.0) as served:
        served.face.may_answer.clear()
        scrape = asyncio.create_task(served.status("/metrics"))
        await eventually(lambda: served.face.scrapes)
        asyncio.get_running_loop().call_later(0.05, served.face.may_answer.set)
        await served.runner.cleanup()
        assert await scrape == 200
        with pytest.raises(ConnectionRefusedError):
            await served.connect()
