"""One request and its answer, or whatever comes instead of one."""

import asyncio
import gc
import gzip
import socket
import tracemalloc
import zlib
from contextlib import ExitStack

import pytest
from aiohttp import web

from exporter.errors import (
    DecodeError,
    PollError,
    RejectedError,
    UnexpectedStatusError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import Response, client
from tests.support.clock import FakeClock
from tests.support.face import eventually
from tests.support.http import Network, body_of, get
from tools.virtualtime import VirtualTimeLoop

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJjb21wdXRlVXNlciI6InRlc3QifQ.c2lnbmF0dXJl"


async def test_an_answer_arrives_whole_with_its_status_headers_and_time(network: Network) -> None:
    url = await network.answer(status=418, body=b"short and stout", headers={"Retry-After": "7"})
    response = await network.upstream(clock=FakeClock(now=123.0)).call(get(url), lambda r: r)

    assert (response.status, response.body, response.received) == (418, b"short and stout", 123.0)
    assert response.headers.get("retry-after") == "7"
    assert network.counts.codes == {418: 1}
    assert network.counts.labels == {("kunshan", "queue_jobs")}


async def test_method_headers_body_and_url_travel_as_they_are(network: Network) -> None:
    async def echo(request: web.Request) -> web.Response:
        text = await request.text()
        seen = [
            request.method,
            request.raw_path,
            *(request.headers[name] for name in ("token", "Accept", "User-Agent")),
            text,
        ]
        return web.json_response(seen)

    url = await network.serve(echo)
    request = get(f"{url}/a%2Fb/%E4%BD%A0?q=%26%3D+x", method="DELETE", headers={"token": TOKEN}, data=b"jobMethod=5")
    response = await network.upstream().call(request, body_of)

    expected = (
        f'["DELETE", "/a%2Fb/%E4%BD%A0?q=%26%3D+x", "{TOKEN}", "application/json", "hpc-exporter", "jobMethod=5"]'
    )
    assert response.decode() == expected


async def test_cookies_are_not_kept(network: Network) -> None:
    """Two credentials share a session: what a server remembers of one must not travel with the other."""
    cookies: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        return web.Response(headers={"Set-Cookie": "session=alice"})

    upstream, url = network.upstream(), await network.serve(answer)
    await upstream.call(get(url), body_of)
    await upstream.call(get(url), body_of)
    assert cookies == [None, None]


async def test_no_answer_is_a_timeout_after_the_time_allowed(network: Network) -> None:
    url = await network.answer(60)
    started = asyncio.get_running_loop().time()
    with pytest.raises(UpstreamTimeoutError, match=r"no complete answer from 127\.0\.0\.1:\d+ within 0\.2 s"):
        await network.upstream(timeout=0.2).call(get(url), body_of)
    assert 0.15 < asyncio.get_running_loop().time() - started < 50
    assert network.counts.codes == {None: 1}


async def test_no_connection_is_a_timeout_of_its_own(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a host that does not shake hands, or has no room for more connections: a few more than it was told, and no other."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr(client, "CONNECT_SHARE", 0.01)
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        silent_url = (await network.serve_raw(silent)).replace("http:", "https:")
        for url in (silent_url, f"http://127.0.0.1:{full.getsockname()[1]}"):
            with pytest.raises(UpstreamTimeoutError, match=r"no connection to 127\.0\.0\.1:\d+ within 18 s") as raised:
                await network.upstream(timeout=20).call(get(url), body_of)
            assert raised.value.unreached == "connection"


async def test_a_body_that_trickles_is_a_timeout_too(network: Network) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    with pytest.raises(UpstreamTimeoutError):
        await network.upstream(timeout=2.0).call(get(await network.serve(trickle)), body_of)
    assert network.counts.codes == {200: 1}, "the status was there, so it is counted"


async def test_waiting_for_a_slot_is_not_part_of_the_time_allowed(network: Network) -> None:
    upstream, url = network.upstream(timeout=2.5, max_concurrency=1), await network.answer(0.5, body=b"ok")
    assert await asyncio.gather(*(upstream.call(get(url), body_of) for _ in range(6))) == [b"ok"] * 6


LIMIT = 3 * 1024**2


async def test_the_largest_body_allowed_is_read(network: Network) -> None:
    url = await network.answer(body=b"1" * LIMIT)
    assert len(await network.upstream(max_body=LIMIT).call(get(url), body_of)) == LIMIT


async def test_long_bodies_are_read_one_after_the_other(network: Network) -> None:
    """Each may be of 64 MiB, and there are sixteen slots."""
    sent: list[int] = []
    goes_on = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        number = len(sent)
        sent.append(0)
        while sent[number] < 40:
            if sent[number] == 30:
                await goes_on.wait()
            await response.write(b"1" * 1024**2)
            sent[number] += 1
        return response

    upstream, url = network.upstream(timeout=100.0), await network.serve(answer)
    async with asyncio.TaskGroup() as tasks:
        bodies = [tasks.create_task(upstream.call(get(url), body_of)) for _ in range(3)]
        await eventually(lambda: len(sent) == 3 and 30 in sent)
        await asyncio.sleep(0.2)
        # Beyond 4 MiB, the others fill the buffers of their sockets.
        assert max(sorted(sent)[:2]) < 25
        goes_on.set()
    assert [len(body.result()) for body in bodies] == [40 * 1024**2] * 3


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate"])
async def test_a_longer_body_is_rejected_also_where_compression_hides_its_length(network: Network, coding: str) -> None:
    plain = bytes(20 * LIMIT if coding != "identity" else LIMIT + 1)
    bomb = {"identity": lambda b: b, "gzip": gzip.compress, "deflate": zlib.compress}[coding](plain)

    url = await network.answer(body=bomb, headers={"Content-Encoding": coding})
    with pytest.raises(DecodeError, match=r"longer than poll\.max_body allows, which is 3 MiB"):
        await network.upstream(max_body=LIMIT).call(get(url), body_of)


async def test_a_compressed_body_is_decompressed(network: Network) -> None:
    url = await network.answer(body=gzip.compress(b'{"code":"0"}'), headers={"Content-Encoding": "gzip"})
    assert await network.upstream().call(get(url), body_of) == b'{"code":"0"}'


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_rejected_and_the_token_does_not_travel(network: Network, status: int) -> None:
    visits: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        visits.append(request.raw_path)
        return web.Response()

    other = await network.serve(elsewhere)

    url = await network.answer(status=status, headers={"Location": f"{other}/login?token={TOKEN}#{TOKEN}"})
    with pytest.raises(UnexpectedStatusError, match=f"HTTP {status}, a redirect to '{other}/login': not followed") as e:
        await network.upstream().call(get(url, headers={"token": TOKEN}), body_of)
    assert "c2lnbmF0dXJl" not in str(e.value)
    assert visits == []


@pytest.mark.parametrize("status", [300, 304, 307])
async def test_without_a_location_it_is_no_redirect(network: Network, status: int) -> None:
    with pytest.raises(UnexpectedStatusError, match=rf"^HTTP {status}, without data$"):
        await network.upstream().call(get(await network.answer(status=status)), body_of)


async def test_a_redirects_target_cannot_write_on_the_terminal(network: Network) -> None:
    async def redirect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _.readuntil(b"\r\n\r\n")
        writer.write("HTTP/1.1 302 Found\r\nLocation: /\x85\u202e红\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    with pytest.raises(PollError) as error:
        await network.upstream().call(get(await network.serve_raw(redirect)), body_of)
    assert str(error.value).isprintable()


async def test_a_closed_port(network: Network) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(UpstreamConnectionError, match=rf"cannot connect to 127\.0\.0\.1:{port}: .*"):
            await network.upstream().call(get(f"http://127.0.0.1:{port}"), body_of)
    assert network.counts.codes == {None: 1}


async def test_an_unknown_host_name(network: Network) -> None:
    """Names under .invalid never resolve (RFC 6761)."""
    with pytest.raises(UpstreamConnectionError, match=r"the name of nowhere\.invalid:81 cannot be resolved") as error:
        await network.upstream().call(get("http://nowhere.invalid:81"), body_of)
    assert error.value.culprit == "nowhere.invalid:81"


BROKEN_ANSWERS = {
    b"": (UpstreamConnectionError, "hung up without an answer"),
    b"HTTP/1.1 200": (UpstreamConnectionError, "hung up without an answer"),
    b"HTTP/1.1 200 OK\r\nContent-Le": (UpstreamConnectionError, "hung up without an answer"),
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{": (UpstreamConnectionError, "broke off"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab": (UpstreamConnectionError, "broke off"),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n": (DecodeError, "is not HTTP"),
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello": (
        UpstreamConnectionError,
        "garbled",
    ),
    b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n": (DecodeError, "is not HTTP"),
    b"SSH-2.0-OpenSSH_9.6\r\n": (DecodeError, "is not HTTP"),
    b"<html>\r\n\r\n": (DecodeError, "is not HTTP"),
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\r\n": (DecodeError, "is not HTTP"),
    b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n": (DecodeError, "is not HTTP"),
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n": (PollError, "127.0.0.1"),
}


@pytest.mark.parametrize(("sent", "expected"), BROKEN_ANSWERS.items(), ids=lambda v: repr(v)[:50])
async def test_a_broken_answer_is_a_poll_error_in_plain_words(
    network: Network, sent: bytes, expected: tuple[type[PollError], str]
) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        await writer.drain()

    kind, text = expected
    with pytest.raises(kind, match=text) as error:
        await network.upstream().call(get(await network.serve_raw(broken)), body_of)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("short_backoff")
async def test_nothing_is_left_of_answers_that_broke_off(network: Network) -> None:
    """Errors with their tracebacks can be garbage that only a full collection frees, which hardly ever takes place."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + LIMIT * b"1")
        await writer.drain()
        writer.close()

    upstream, url = network.upstream(retries=9), await network.serve_raw(cut)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        with pytest.raises(UpstreamConnectionError, match="broke off"):
            await upstream.call(get(url), body_of)
        assert tracemalloc.get_traced_memory()[0] < LIMIT
    finally:
        tracemalloc.stop()
        gc.enable()


async def test_a_reset_connection_is_a_connection_failure(network: Network) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    with pytest.raises(UpstreamConnectionError):
        await network.upstream().call(get(await network.serve_raw(reset)), body_of)


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX-Admin: 1", "a\0b", "a\x7f\x01"])
async def test_a_header_that_cannot_be_sent_is_rejected_without_a_word_of_it(network: Network, token: str) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    url, upstream = await network.serve(answer), network.upstream(retries=3)
    for _ in range(20):
        with pytest.raises(RejectedError) as error:
            await upstream.call(get(url, headers={"token": token}), body_of)
        assert repr(token).strip("'") not in repr(error.value)
    assert network.counts.retries == 0
    assert seen == []
    assert await upstream.call(get(url), body_of) == b"", "a bad token says nothing about the host"


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://", "http://[::1", "http://h:99999/", "http://h:x/", "ftp://h/", "//h/x", "http://\x00/"],
)
async def test_an_address_that_is_none_is_rejected(network: Network, url: str) -> None:
    with pytest.raises(PollError):
        await network.upstream().call(get(url), body_of)


async def test_a_password_in_an_address_is_in_no_error(network: Network) -> None:
    with pytest.raises(UpstreamConnectionError) as error:
        await network.upstream().call(get("http://alice:hunter2@nowhere.invalid/x"), body_of)
    assert "hunter2" not in f"{error.value!r} {error.value.culprit}"


async def test_what_decode_raises_comes_out_unless_it_is_a_foreseen_error(network: Network) -> None:
    """A defect in a decoder must be seen, not be taken for a failed poll."""

    def defect(_: Response) -> None:
        raise ZeroDivisionError

    url = await network.answer()
    with pytest.raises(ZeroDivisionError):
        await network.upstream().call(get(url), defect)


def test_a_request_shows_no_secret_in_its_repr() -> None:
    shown = repr(get("http://h/", headers={"token": TOKEN}, secrets=(TOKEN,), data=TOKEN.encode()))
    assert TOKEN not in shown


@pytest.mark.parametrize("status", [b"511 Network Authentication Required", b"404 NOT FOUND"])
async def test_an_error_that_is_sent_twice_is_one_answer(network: Network, status: bytes) -> None:
    """As slurmrestd of Slurm 26.05 sends them, in one piece."""

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 %s\r\nConnection: Close\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n"
        writer.write(head % (status, 5) + b"first" + head % (status, 6) + b"second")
        await writer.drain()

    answer = await network.upstream().call(get(await network.serve_raw(twice)), lambda response: response)
    assert (answer.status, answer.body) == (int(status[:3]), b"first")


async def test_a_request_that_is_cancelled_in_the_moment_in_which_its_time_is_over_ends(network: Network) -> None:
    """Both come in one turn of the event loop where a callback before them took long."""
    asked = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await asyncio.sleep(3600)
        return web.Response()

    upstream = network.upstream(timeout=1, retries=3)
    request = asyncio.create_task(upstream.call(get(await network.serve(answer)), body_of))
    await asked.wait()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.call_later(0.1, request.cancel)
    loop._virtual.passed += 10
    with pytest.raises(asyncio.CancelledError):
        await request
    assert network.counts.retries == 0
