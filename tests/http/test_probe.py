"""The steps of a probe of a host: its name, a connection, TLS; and that each of them ends."""

import asyncio
import socket
import ssl

import pytest
import trustme

from exporter.http.probe import probe
from tests.support.http import Network


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_host_that_is_there(network: Network) -> None:
    assert (await probe(await network.serve_raw(silent), tls=True, seconds=5)).failed is None


@pytest.mark.parametrize("url", ["https://host.invalid:65106", f"http://{'a' * 64}.example.com"])
async def test_a_name_that_does_not_resolve(url: str) -> None:
    reached = await probe(url, tls=True, seconds=5)
    assert reached.failed == "address"
    assert "cannot be resolved" in reached.reason


async def test_a_closed_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        reached = await probe(f"https://127.0.0.1:{port}/path", tls=True, seconds=5)
    assert (reached.failed, reached.reason) == ("connection", f"cannot connect to 127.0.0.1:{port}: Connection refused")


@pytest.mark.parametrize(("words", "said"), [(b"", "hung up"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not possible")])
async def test_a_host_without_tls(network: Network, words: bytes, said: str) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(words)

    url = (await network.serve_raw(plain)).replace("http:", "https:")
    reached = await probe(url, tls=True, seconds=5)
    assert reached.failed == "TLS"
    assert said in reached.reason


async def test_a_host_that_does_not_answer_the_handshake(network: Network) -> None:
    url = (await network.serve_raw(silent)).replace("http:", "https:")
    reached = await probe(url, tls=True, seconds=0.2)
    assert (reached.failed, "within 0.2 s" in reached.reason) == ("TLS", True)


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
    assert "was not accepted" in reached.reason
    assert (await probe(url, tls=client, seconds=5)).failed is None
