"""The steps of a probe of a host: its name, a connection, TLS; and that each of them ends."""

import asyncio
import errno
import re
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from exporter.http import probe as probes
from exporter.http.probe import Reached, probe, why_not_connected
from tests.support.http import Network


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_host_that_is_there(network: Network) -> None:
    assert (await probe(await network.serve_raw(silent), tls=True, seconds=5)).failed is None


@pytest.mark.parametrize("url", ["https://host.invalid:65106", f"http://{'a' * 64}.example.com"])
async def test_a_name_that_does_not_resolve(url: str) -> None:
    reached = await probe(url, tls=True, seconds=5)
    assert reached == Reached("address", f"the name of {urlsplit(url).hostname} cannot be resolved")


async def test_a_closed_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        reached = await probe(f"https://127.0.0.1:{port}/path", tls=True, seconds=5)
    assert (reached.failed, reached.reason) == ("connection", f"cannot connect to 127.0.0.1:{port}: Connection refused")


@pytest.mark.parametrize(
    ("url", "port"), [("https://h/p", 443), ("http://h", 80), ("https://h:8443", 8443), ("http://h:8080", 8080)]
)
async def test_the_port_is_that_of_the_scheme_where_none_is_named(
    url: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def look_up(*arguments: object) -> None:
        asked.append(arguments)
        raise OSError(errno.ETIMEDOUT, "no answer")

    monkeypatch.setattr(probes, "look_up", look_up)
    assert await probe(url, tls=True, seconds=2.5) == Reached("address", "the name of h was not resolved within 2.5 s")
    assert asked == [("h", port, socket.AF_UNSPEC, 2.5)]


async def test_a_host_that_takes_no_connection_in_time(tmp_path: Path) -> None:
    """The system takes a few more than it was told to keep waiting, and none after."""
    with socket.socket() as full, ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        reached = await probe(f"http://127.0.0.1:{port}", tls=True, seconds=0.2)
    assert reached == Reached("connection", f"no connection to 127.0.0.1:{port} within 0.2 s")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        reached = await probe(f"unix:{tmp_path}/socket", tls=True, seconds=0)
    assert reached == Reached("connection", f"no connection to {tmp_path}/socket within 0 s")


def test_the_reason_of_a_host_at_several_addresses_can_be_unknown() -> None:
    assert why_not_connected(OSError()) == "none of its addresses answers"
    assert why_not_connected(OSError(111, "?")) == "Connection refused"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"", "127.0.0.1 hung up during the TLS handshake"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "TLS with 127.0.0.1 is not possible (WRONG_VERSION_NUMBER)"),
    ],
)
async def test_a_host_without_tls(network: Network, words: bytes, said: str) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(words)

    url = (await network.serve_raw(plain)).replace("http:", "https:")
    reached = await probe(url, tls=True, seconds=5)
    assert reached.failed == "TLS"
    # OpenSSL has other words for it in other versions.
    assert reached.reason.partition("(")[0] == said.partition("(")[0]


async def test_a_host_that_does_not_answer_the_handshake(network: Network) -> None:
    url = (await network.serve_raw(silent)).replace("http:", "https:")
    reached = await probe(url, tls=True, seconds=0.2)
    assert reached == Reached("TLS", "127.0.0.1 did not answer the TLS handshake within 0.2 s")


async def test_an_untrusted_certificate_and_a_trusted_one(network: Network) -> None:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)

    async def answer(_: object) -> object:
        raise AssertionError

    url = await network.serve(answer, server)  # type: ignore[arg-type]  # nothing is asked of it
    reached = await probe(url, tls=True, seconds=5)
    assert reached.failed == "TLS"
    assert re.fullmatch(r"the certificate of 127\.0\.0\.1 was not accepted \(.+\)", reached.reason)
    assert (await probe(url, tls=client, seconds=5)).failed is None
