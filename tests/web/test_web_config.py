"""The web configuration: settings that change while the server runs, and files that cannot be read."""

import asyncio
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.errors import ConfigurationError
from exporter.web import security
from exporter.web.security import WebConfig
from exporter.web.settings import load_settings
from tests.support.face import Served, eventually, guarded
from tests.support.web_config import Authority, hashed, write
from tests.web.test_passwords import basic


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "WATCH_INTERVAL", 0.02)


class Disk:
    """A file system that may stop answering. Only then is it given little time: a busy machine is slow as well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = threading.Event()
        self._patch = monkeypatch
        self.answer_again()

    def answer_again(self) -> None:
        self._patch.setattr(security, "READ_TIMEOUT", 300.0)
        self.answers.set()

    def stop_answering(self) -> None:
        self._patch.setattr(security, "READ_TIMEOUT", 1.0)
        self.answers.clear()

    def load(self, path: Path) -> Any:
        self.answers.wait(300)
        return load_settings(path)

    def digest(self, path: Path) -> bytes:
        self.answers.wait(300)
        return path.read_bytes()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    monkeypatch.setattr(security, "load_settings", disk.load)
    monkeypatch.setattr(security, "digest", disk.digest)
    yield disk
    disk.answers.set()


def daemons() -> int:
    """Return the number of daemon threads, which read files or check passwords."""
    return sum(thread.daemon for thread in threading.enumerate())


def users(password: str) -> dict[str, Any]:
    return {"basic_auth_users": {"alice": hashed(password)}}


async def answers(served: Served, wanted: int, password: str = "", tls: ssl.SSLContext | None = None) -> None:
    """Wait until a request is answered with the status `wanted`."""
    headers = {"Authorization": basic("alice", password)} if password else {}

    async def answered() -> bool:
        return await served.status(tls=tls, **headers) == wanted

    await eventually(answered)


async def rejected(served: Served, tls: ssl.SSLContext) -> None:
    """Wait until a client is disconnected."""

    async def is_rejected() -> bool:
        return not await served.is_answered(tls)

    await eventually(is_rejected)


async def logged(capsys: pytest.CaptureFixture[str], text: str) -> None:
    seen = ""

    async def is_there() -> bool:
        nonlocal seen
        seen += capsys.readouterr().out
        return text in seen

    await eventually(is_there)


async def serial_of(served: Served, tls: ssl.SSLContext) -> int:
    """Return the serial number of the certificate that a new connection gets."""
    _, writer = await served.connect(tls)
    try:
        return int(writer.get_extra_info("peercert")["serialNumber"], 16)
    finally:
        writer.close()


async def test_a_broken_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.yml:1:1: the file cannot be read|there is no such file"):
        await WebConfig.load(tmp_path / "web.yml", SystemClock())


@pytest.mark.parametrize("at", ["the file itself", "a certificate"])
async def test_a_pipe_at_the_start_is_an_error(tmp_path: Path, authority: Authority, at: str) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    pipe = path if at == "the file itself" else tmp_path / "server.pem"
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        await WebConfig.load(path, SystemClock())


async def test_a_disk_that_does_not_answer_at_the_start_is_an_error(tmp_path: Path, disk: Disk) -> None:
    path = write(tmp_path / "web.yml", **users("pw"))
    disk.stop_answering()
    with pytest.raises(ConfigurationError, match=r"web\.yml:1:1: the disk did not answer within 1 s"):
        await WebConfig.load(path, SystemClock())


async def test_a_change_applies_without_a_restart(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", **users("old"))
    async with guarded(path) as served:
        assert await served.status(Authorization=basic("alice", "old")) == 200
        write(path, **users("new"))
        await answers(served, 401, "old")
        assert await served.status(Authorization=basic("alice", "new")) == 200


@pytest.mark.parametrize(
    "broken", ["basic_auth_users: [", "", "basic_auth_user: {}", "\0", None, "a pipe", "a directory"]
)
async def test_a_broken_file_changes_nothing_and_is_logged_once(
    tmp_path: Path, broken: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It neither allows requests without a password nor stops scrapes."""
    path = write(tmp_path / "web.yml", **users("pw"))
    async with guarded(path) as served:
        path.unlink()
        if broken == "a pipe":
            os.mkfifo(path)
        elif broken == "a directory":
            path.mkdir()
        elif broken is not None:
            path.write_text(broken)
        await logged(capsys, "the web configuration cannot be used; the one before stays in force")
        for _ in range(5):
            assert await served.status(Authorization=basic("alice", "pw")) == 200
            assert await served.status() == 401
            await asyncio.sleep(0.02)
        assert "cannot be used" not in capsys.readouterr().out
        path.rmdir() if broken == "a directory" else path.unlink(missing_ok=True)
        write(path, **users("fixed"))
        await answers(served, 200, "fixed")


async def test_a_disk_that_does_not_answer_delays_no_request_and_is_logged(
    tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new password cannot be read yet: the old one stays valid."""
    path = write(tmp_path / "web.yml", **users("old"))
    async with guarded(path) as served:
        disk.stop_answering()
        write(path, **users("new"))
        await logged(capsys, "the disk did not answer within 1 s")
        threads = daemons()
        for _ in range(10):
            assert await served.status(Authorization=basic("alice", "old")) == 200
            await asyncio.sleep(0.05)
        assert daemons() <= threads + 2
        assert "did not answer" not in capsys.readouterr().out
        disk.answer_again()
        await answers(served, 200, "new")
        assert await served.status(Authorization=basic("alice", "old")) == 401


async def test_a_disk_that_answers_again_is_logged_though_nothing_changed(
    tmp_path: Path, disk: Disk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "web.yml", **users("pw"))
    async with guarded(path):
        disk.stop_answering()
        await logged(capsys, "the disk did not answer")
        disk.answer_again()
        await logged(capsys, "the web configuration was read again")


async def test_a_connection_from_before_is_bound_by_the_new_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", http_server_config={})
    async with guarded(path) as served, served.kept() as client:
        assert await client.status() == 200
        write(path, **users("pw"))
        await answers(served, 401)
        assert await client.status() == 401


async def test_a_connection_that_no_longer_meets_the_tls_settings_is_closed(
    tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.issue()
    authority.issue("prometheus", "prometheus")
    path = write(tmp_path / "web.yml", tls_server_config=certificate)
    async with guarded(path) as served, served.kept(authority.client()) as client:
        demanding = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
        write(path, tls_server_config={**certificate, **demanding})
        await rejected(served, authority.client())
        with pytest.raises((ConnectionResetError, ssl.SSLError, asyncio.IncompleteReadError)):
            await client.status(path="/metrics")
        assert served.face.scrapes == 0
        assert await served.status(tls=authority.client("prometheus")) == 200


async def test_an_authority_that_was_removed_is_no_longer_trusted(tmp_path: Path, authority: Authority) -> None:
    other = Authority(tmp_path, "other")
    other.issue("stranger", "prometheus")
    authority.issue("client", "prometheus")
    both = tmp_path / "both.pem"
    both.write_bytes(authority.file.read_bytes() + other.file.read_bytes())
    tls = {**authority.issue(), "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "both.pem"}
    stranger = authority.client()
    stranger.load_cert_chain(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    async with guarded(write(tmp_path / "web.yml", tls_server_config=tls)) as served:
        assert await served.status(tls=stranger) == 200
        both.write_bytes(authority.file.read_bytes())
        await rejected(served, stranger)
        assert await served.status(tls=authority.client("client")) == 200


@pytest.mark.parametrize("turned", ["on", "off"])
async def test_tls_is_turned_on_and_off_by_a_restart_only_and_all_else_applies(
    tmp_path: Path, authority: Authority, turned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = {"tls_server_config": authority.issue()}
    before, after = ({}, tls) if turned == "on" else (tls, {})
    client = authority.client() if turned == "off" else None
    path = write(tmp_path / "web.yml", http_server_config={}, **before)
    async with guarded(path) as served:
        assert await served.status(tls=client) == 200
        write(path, http_server_config={}, **after, **users("pw"))
        await answers(served, 401, tls=client)
        assert await served.status(tls=client, Authorization=basic("alice", "pw")) == 200
        await logged(capsys, "TLS is turned on or off in the web configuration, which needs a restart")


async def test_a_new_certificate_is_shown_to_the_next_client(tmp_path: Path, authority: Authority) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        first = await serial_of(served, authority.client())
        assert await serial_of(served, authority.client()) == first
        authority.issue()
        await another_serial(served, authority, {first})


async def another_serial(served: Served, authority: Authority, seen: set[int]) -> None:
    """Wait for a certificate that was not seen, and add it."""

    async def differs() -> bool:
        known = len(seen)
        seen.add(await serial_of(served, authority.client()))
        return len(seen) > known

    await eventually(differs)


async def test_certificates_are_rotated_under_load(tmp_path: Path, authority: Authority) -> None:
    """Requests on new and on kept connections succeed, though files change one by one."""
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    client = authority.client()
    done = asyncio.Event()

    async def keep_asking(served: Served) -> list[int]:
        statuses = []
        while not done.is_set():
            statuses.append(await served.status("/metrics", tls=client))
        return statuses

    async def keep_asking_on_one_connection(served: Served) -> int:
        answers = 0
        async with served.kept(client) as connection:
            while not done.is_set():
                assert await connection.status() == 200
                answers += 1
        return answers

    async with guarded(path) as served:
        load = [asyncio.create_task(keep_asking(served)) for _ in range(4)]
        kept = asyncio.create_task(keep_asking_on_one_connection(served))
        serials = {await serial_of(served, client)}
        for _ in range(5):
            names = authority.issue("next")
            for stem, name in (("server.pem", names["cert_file"]), ("server.key", names["key_file"])):
                (tmp_path / stem).write_bytes((tmp_path / name).read_bytes())
                await asyncio.sleep(0.05)
            await another_serial(served, authority, serials)
        done.set()
        statuses = [status for statuses in await asyncio.gather(*load) for status in statuses]
        assert await kept > 5
    assert set(statuses) == {200}
    assert len(statuses) > 8
    assert len(serials) == 6


async def test_an_unusable_certificate_is_logged_and_the_previous_one_stays_in_use(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        key = (tmp_path / "server.key").read_bytes()
        (tmp_path / "server.key").unlink()
        await logged(capsys, "key_file: cannot use")
        assert await served.status(tls=authority.client()) == 200
        (tmp_path / "server.key").write_bytes(key)
        await logged(capsys, "the web configuration was read again")
        assert await served.status(tls=authority.client()) == 200


async def test_a_file_that_names_another_one_not_there_yet_applies_when_that_comes(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        seen = {await serial_of(served, authority.client())}
        write(path, tls_server_config={"cert_file": "later.pem", "key_file": "later.key"})
        await logged(capsys, "cert_file: cannot use")
        authority.issue("later")
        await another_serial(served, authority, seen)


async def test_half_a_file_is_not_applied(tmp_path: Path) -> None:
    """Written bit by bit, it would demand less for a moment than before and after."""
    path = write(tmp_path / "web.yml", http_server_config={}, **users("pw"))
    config = await WebConfig.load(path, SystemClock())
    whole = path.read_text()
    path.write_text("http_server_config: {}\n")
    await config.refresh(path)
    assert config.settings.users
    path.write_text(whole + "\n")
    for _ in range(3):
        await config.refresh(path)
        assert config.settings.users
    path.write_text("http_server_config: {}\n")
    await config.refresh(path)
    await config.refresh(path)
    assert not config.settings.users


async def test_requests_beyond_the_limit_are_429(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", rate_limit={"interval": "1h", "burst": 2})
    async with guarded(path) as served:
        assert [await served.status() for _ in range(3)] == [200, 200, 429]
        status, headers, _ = await served.ask()
        assert (status, headers["Retry-After"]) == (429, "1")
        settings = served.config.settings
        write(
            path, rate_limit={"interval": "1h", "burst": 2}, http_server_config={"headers": {"X-Frame-Options": "deny"}}
        )

        async def applied() -> bool:
            return served.config.settings is not settings

        await eventually(applied)
        assert await served.status() == 429
        write(path, http_server_config={})
        await answers(served, 200)


async def test_configured_headers_are_on_every_answer(tmp_path: Path) -> None:
    headers = {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=31536000"}
    path = write(tmp_path / "web.yml", http_server_config={"headers": headers}, **users("pw"))
    async with guarded(path) as served:
        good = basic("alice", "pw")
        for request, authorization in (("/metrics", ""), ("/metrics", good), ("/", good), ("/nothing", good)):
            _, found, _ = await served.ask(request, Authorization=authorization)
            assert headers.items() <= found.items()


async def test_no_answer_reveals_the_software(tmp_path: Path) -> None:
    async with guarded() as served:
        for request in ("/", "/nothing"):
            assert "Server" not in (await served.ask(request))[1]
        assert b"aiohttp" not in await served.say(b"malformed\r\n\r\n")
