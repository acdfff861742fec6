"""A container's HEALTHCHECK."""

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter import healthcheck
from exporter.cli.serve import DEFAULT_LISTEN
from tests.support.web_config import Authority, write


def answering(status: int) -> web.Application:
    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/-/healthy", healthy)
    return app


@asynccontextmanager
async def serving(status: int = 200, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Yield a server's listen address."""
    server = TestServer(answering(status), host=host)
    await server.start_server(ssl=tls)
    async with server:
        yield f"127.0.0.1:{server.port}"


def server_side(folder: Path, *, client_certificate: bool = False) -> ssl.SSLContext:
    authority = Authority(folder)
    files = authority.issue()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / "ca.pem")
    context.load_cert_chain(folder / files["cert_file"], folder / files["key_file"])
    context.verify_mode = ssl.CERT_REQUIRED if client_certificate else ssl.CERT_NONE
    write(folder / "web.yml", tls_server_config=files)
    return context


async def check(*arguments: str) -> int:
    return await asyncio.to_thread(healthcheck.main, arguments)


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (401, 0), (404, 0), (500, 1), (503, 1)])
async def test_any_answer_but_a_server_error_is_healthy(
    status: int, expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exporter that requires a password is healthy."""
    async with serving(status) as address:
        assert await check("serve", f"--web.listen-address={address}") == expected
    assert capsys.readouterr().out == f"the exporter answers {status}\n"


async def test_nothing_that_listens_is_unhealthy(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving() as address:
        pass
    assert await check("--web.listen-address", address) == 1
    out = capsys.readouterr().out
    assert out.startswith("the exporter does not answer: ")
    assert out.count("\n") == 1


async def test_a_server_that_accepts_and_does_not_answer_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging exporter is detected within the time limit."""
    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        assert await check(f"--web.listen-address=:{hung.getsockname()[1]}") == 1


@pytest.mark.parametrize("client_certificate", [False, True])
async def test_with_tls_it_uses_tls(tmp_path: Path, client_certificate: bool) -> None:
    """Without a certificate of its own, and whatever the issuer and the name of the server's."""
    tls = server_side(tmp_path, client_certificate=client_certificate)
    async with serving(tls=tls) as address:
        flags = (f"--web.listen-address={address}", f"--web.config.file={tmp_path / 'web.yml'}")
        assert await check(*flags) == 0
        assert await check(flags[0]) == 1


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        *((listen, "127.0.0.1") for listen in (":{}", "0.0.0.0:{}", "localhost:{}")),
        *((listen, "::1") for listen in ("[::]:{}", "[::1]:{}")),
    ],
)
async def test_it_connects_to_the_listen_address(listen: str, host: str) -> None:
    """Listening on all interfaces includes this one."""
    async with serving(host=host) as address:
        assert await check(f"--web.listen-address={listen.format(address.rpartition(':')[2])}") == 0


@pytest.mark.parametrize(
    "command",
    [
        "python -W error -m exporter --web.listen-address={} --log.level=debug --web.listen-address :2",
        "/sbin/docker-init -- /opt/hpc-exporter/bin/hpc-exporter demo --web.listen-address={}",
    ],
)
async def test_it_reads_the_command_line_of_the_first_process(command: str) -> None:
    """With an init before it as well; of several addresses, the first is used."""
    async with serving() as address:
        assert await check(*command.format(address).split()) == 0


@pytest.mark.parametrize("content", ["", "basic_auth_users: {a: b}", "# tls_server_config:"])
async def test_without_tls_it_uses_plain_http(tmp_path: Path, content: str) -> None:
    file = tmp_path / "web.yml"
    file.write_text(content, encoding="utf-8")
    async with serving() as address:
        assert await check(f"--web.listen-address={address}", f"--web.config.file={file}") == 0


@pytest.mark.parametrize("content", ["a: [", None])
async def test_a_broken_web_configuration_is_reported_without_a_traceback(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "web.yml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert await check(f"--web.config.file={file}") == 1
    assert "does not answer" in capsys.readouterr().out


async def test_as_a_process() -> None:
    """Docker uses the exit status."""
    async with serving() as address:
        command = (sys.executable, "-m", "exporter.healthcheck", f"--web.listen-address={address}")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"the exporter answers 200\n")


async def test_without_an_address_it_asks_where_serve_listens_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DEFAULT_LISTEN in healthcheck.DEFAULT
    async with serving() as address:
        monkeypatch.setattr(healthcheck, "DEFAULT", address)
        assert await check("hpc-exporter", "serve", "--config.file=exporter.yml") == 0
