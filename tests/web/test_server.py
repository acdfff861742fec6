"""The routes, over real sockets."""

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from exporter.errors import ConfigProblem, ConfigurationError
from exporter.metrics.format import Format
from exporter.web import connections
from tests.support.face import FakeFace, Served, eventually, guarded

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PATHS = ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/config")


@pytest.fixture
def face() -> FakeFace:
    return FakeFace()


@pytest.fixture
async def client(face: FakeFace) -> AsyncIterator[Served]:
    async with guarded(face=face) as served:
        yield served


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text, */*;q=0.1", OPENMETRICS),
        ("*/*", TEXT),
        ("", TEXT),
        ("text/html\r\nAccept: application/openmetrics-text", OPENMETRICS),
    ],
    ids=["OpenMetrics", "any", "empty", "in two lines"],
)
async def test_a_scrape_is_answered_in_the_requested_format(
    face: FakeFace, client: Served, accept: str, content_type: str
) -> None:
    status, headers, _ = await client.ask("/metrics", Accept=accept)
    assert status == 200
    assert headers["Content-Type"] == content_type
    assert headers["Vary"] == "Accept, Accept-Encoding"
    assert face.format is Format(content_type)


@pytest.mark.parametrize("accepted", [{}, {"Accept_Encoding": "gzip"}, {"Accept_Encoding": "gzip;q=0, deflate"}])
async def test_a_scrape_is_text_and_gzip_where_that_is_wanted(client: Served, accepted: dict[str, Any]) -> None:
    _, headers, body = await client.ask("/metrics", **accepted)
    assert headers["Content-Type"] == TEXT
    assert int(headers["Content-Length"]) == len(body)
    compressed = accepted == {"Accept_Encoding": "gzip"}
    assert headers.get("Content-Encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(body) if compressed else body) == b"apples 1\n"


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/targets.csv"])
async def test_every_other_answer_is_gzip_only_where_that_is_wanted_as_well(client: Served, path: str) -> None:
    for accepted, coding in {
        "deflate, gzip, br": "gzip",
        "gzip;q=0": None,
        "gzip;q=0.5, identity": None,
        "deflate": None,
        "gzip-like": None,
        "br\r\nAccept-Encoding: gzip": "gzip",
    }.items():
        _, headers, body = await client.ask(path, Accept_Encoding=accepted)
        assert headers.get("Content-Encoding") == coding
        assert (gzip.decompress(body) if coding else body).decode()


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body(client: Served, path: str) -> None:
    got, gets, _ = await client.ask(path)
    headed, heads, body = await client.ask(path, "HEAD")
    assert (headed, body) == (got, b"")
    assert heads["Content-Type"] == gets["Content-Type"]
    assert heads.get("Content-Length", gets["Content-Length"]) == gets["Content-Length"]


async def test_unknown_paths_are_404_and_counted_together(face: FakeFace, client: Served) -> None:
    """Clients choose paths: not each of them may become a series."""
    for path in ("/nothing", "/metrics/", "/metrics/more", "/-/", "/api/v1/status/../x", "/%2e%2e/etc/passwd"):
        assert await client.status(path) == 404
    assert face.requests == {("other", 404): 6}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_a_wrong_method_is_405_and_says_what_is_allowed(
    face: FakeFace, client: Served, path: str, method: str
) -> None:
    status, headers, _ = await client.ask(path, method)
    assert status == 405
    assert headers["Allow"] == "GET,HEAD"
    assert face.requests == {(path, 405): 1}


async def test_paths_are_counted_alike_below_another_one(face: FakeFace) -> None:
    async with guarded(face=face, prefix="/m") as client:
        for path in ("/metrics", "/m/metrics", "/m/", "/m", "/m/static/page.css", "/mmetrics"):
            await client.ask(path)
    assert face.requests == {
        ("/metrics", 200): 2,
        ("/", 200): 1,
        ("/", 308): 1,
        ("/static", 200): 1,
        ("other", 404): 1,
    }


async def test_a_reload_is_not_a_get(face: FakeFace, client: Served) -> None:
    """A crawler or a prefetching browser must not reload."""
    status, headers, _ = await client.ask("/-/reload")
    assert status == 405
    assert headers["Allow"] == "POST,PUT"
    assert face.reloads == 0


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_reload_that_worked(face: FakeFace, client: Served, method: str) -> None:
    assert await client.status("/-/reload", method) == 200
    assert face.reloads == 1
    assert face.requests == {("/-/reload", 200): 1}


async def test_a_failed_reload_names_every_mistake(face: FakeFace, client: Served) -> None:
    face.reload_error = ConfigurationError(
        [ConfigProblem("a.yml", 1, 2, "poll", "is odd"), ConfigProblem("caf\udce9.yml", 3, 4, "", "no")]
    )
    status, headers, body = await client.ask("/-/reload", "POST")
    assert status == 500
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (
        rb"""a.yml:1:2: poll: is odd
caf\udce9.yml:3:4: no
"""
        in body
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "anything"},
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://{host}:1"},
        {"Origin": "http://{host}.evil.example.com"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example.com"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://{host}"},
    ],
)
async def test_pages_of_other_sites_cannot_reload(face: FakeFace, client: Served, headers: dict[str, Any]) -> None:
    given: dict[str, Any] = {name: value.format(host="localhost") for name, value in headers.items()}
    for method in ("POST", "PUT"):
        status, _, body = await client.ask("/-/reload", method, **given)
        assert status == 403
        assert b"other sites" in body
    assert face.reloads == 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://{host}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://{host}"},
        {"Sec-Fetch-Site": "none"},
    ],
    ids=["a program", "an old browser", "a browser", "typed by hand"],
)
async def test_programs_and_pages_of_its_own_can_reload(
    face: FakeFace, client: Served, headers: dict[str, Any]
) -> None:
    given: dict[str, Any] = {name: value.format(host="localhost") for name, value in headers.items()}
    assert (await client.ask("/-/reload", "POST", **given))[0] == 200
    assert face.reloads == 1


async def test_a_page_of_another_site_may_be_followed_here(client: Served) -> None:
    """A link changes nothing."""
    assert (await client.ask("/", Sec_Fetch_Site="cross-site"))[0] == 200


async def test_a_client_that_hangs_up_does_not_stop_the_reload(face: FakeFace) -> None:
    face.may_answer.clear()
    async with guarded(face=face) as client:
        _, writer = await client.connect()
        writer.write(b"POST /-/reload HTTP/1.1\r\nHost: a\r\n\r\n")
        await eventually(lambda: face.reloads == 1)
        writer.transport.abort()
        await asyncio.sleep(0)
        face.may_answer.set()
        await eventually(lambda: face.reloaded == 1)


async def test_ready_is_503_until_it_is_ready(face: FakeFace, client: Served) -> None:
    face.ready = False
    assert await client.status("/-/ready") == 503
    assert await client.status("/-/healthy") == 200
    face.ready = True
    assert await client.status("/-/ready") == 200
    assert face.requests == {("/-/ready", 503): 1, ("/-/ready", 200): 1, ("/-/healthy", 200): 1}


async def test_the_status_is_json(client: Served) -> None:
    _, headers, body = await client.ask("/api/v1/status")
    assert headers["Content-Type"] == "application/json"
    assert body.startswith(b'{"version":"1"')


async def test_the_metrics_can_be_elsewhere(face: FakeFace) -> None:
    async with guarded(face=face, telemetry_path="/probe/all") as client:
        assert await client.status("/probe/all") == 200
        assert await client.status("/metrics") == 404
        assert b'href="./probe/all"' in (await client.ask("/"))[2]
    assert face.requests == {("/probe/all", 200): 1, ("other", 404): 1, ("/", 200): 1}


async def test_an_internal_error_is_answered_and_counted(face: FakeFace, client: Served) -> None:
    face.reload_error = ZeroDivisionError()
    assert await client.status("/-/reload", "POST") == 500
    assert face.requests == {("/-/reload", 500): 1}


@pytest.mark.parametrize("path", ["/metrics", "/", "/api/v1/status", "/config"])
async def test_300_parallel_requests_of_a_path_block_no_other(
    face: FakeFace, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a limit of its own; beyond it requests are rejected, with the time of the next try."""
    monkeypatch.setattr(connections, "FIRST_REQUEST_TIMEOUT", 600.0)  # a busy machine takes long to send all of them
    face.may_answer.clear()
    async with guarded(face=face, max_requests=10) as client, asyncio.TaskGroup() as group:
        asked = [group.create_task(client.ask(path)) for _ in range(300)]
        await eventually(lambda: sum(each.done() for each in asked) == 290)
        for status, headers, body in [each.result() for each in asked if each.done()]:
            assert (status, headers["Retry-After"]) == (503, "1")
            assert body == b"Limit of concurrent requests reached (10), try again later.\n"
        assert await client.status("/-/healthy") == 200
        others = {"/metrics", "/", "/api/v1/status", "/config"} - {path}
        waiting = [group.create_task(client.status(other)) for other in others]
        await eventually(lambda: face.requests[path, 503] == 290)
        face.may_answer.set()
        assert [await each for each in waiting] == [200] * 3
        assert [each.result()[0] for each in asked if each.result()[0] != 503] == [200] * 10
        assert await client.status(path) == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/api/v1/jobs", "/api/v1/members.csv"])
async def test_nothing_is_made_for_a_client_that_left_before_its_turn(
    face: FakeFace, client: Served, path: str
) -> None:
    """A page that asks again after each time-out would otherwise wait behind its own earlier requests."""
    face.may_answer.clear()
    async with client.kept() as impatient:
        asked = asyncio.create_task(impatient.status(path=path))
        await eventually(lambda: face.wanted)
        asked.cancel()
    await eventually(lambda: not any(wanted() for wanted in face.wanted))
    face.may_answer.set()
    await eventually(lambda: face.requests)
    assert (dict(face.requests), face.made) == ({(path, 499): 1}, 0)


async def test_no_limit_where_it_is_0(face: FakeFace) -> None:
    face.may_answer.clear()
    async with guarded(face=face, max_requests=0) as client, asyncio.TaskGroup() as group:
        scrapes = [group.create_task(client.status("/metrics")) for _ in range(60)]
        await eventually(lambda: face.scrapes == 60)
        face.may_answer.set()
        assert {await task for task in scrapes} == {200}


@asynccontextmanager
async def slow_reader(port: int, path: str = "/metrics") -> AsyncIterator[socket.socket]:
    """Yield a client that sends a request, by default a scrape, and does not read the answer."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        yield client


async def test_a_slow_reader_counts_until_it_is_disconnected(face: FakeFace) -> None:
    face.body = b"#" * 16 * 2**20
    face.config = "#" * 16 * 2**20
    async with guarded(face=face, max_requests=1) as client, slow_reader(client.port):
        await eventually(lambda: face.scrapes == 1)
        assert await client.status("/metrics") == 503
        async with slow_reader(client.port, "/config"):

            async def is_busy() -> bool:
                return await client.status("/config", "HEAD") == 503

            await eventually(is_busy)
            await asyncio.sleep(0)
            assert await is_busy(), "until the answer is sent"
    async with guarded(face=face, max_requests=1, sending_timeout=0.2) as client, slow_reader(client.port):
        await eventually(lambda: face.scrapes == 2)
        face.body = b"apples 1\n"
        await until_answered(client, 200)


async def test_a_reader_that_disconnects_no_longer_counts_and_is_not_logged(
    face: FakeFace, caplog: pytest.LogCaptureFixture
) -> None:
    face.body = b"#" * 16 * 2**20
    async with guarded(face=face, max_requests=1) as client:
        async with slow_reader(client.port):
            await eventually(lambda: face.scrapes == 1)
        face.body = b"apples 1\n"
        await until_answered(client, 200)
    assert not caplog.records


async def until_answered(client: Served, wanted: int) -> None:
    async def answered() -> bool:
        return await client.status("/metrics") == wanted

    await eventually(answered)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /-/reload HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /-/reload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nbody",
    ],
    ids=["header", "TLS", "long header", "version", "path", "length", "chunk", "coding"],
)
async def test_malformed_requests_end_in_no_traceback(
    face: FakeFace, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A port scanner must not be able to fill the log."""
    async with guarded(face=face) as client, asyncio.timeout(100):
        reader, writer = await client.connect()
        writer.write(garbage)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
