"""Settings that change while the server runs."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from exporter.clock import SystemClock
from exporter.errors import ConfigurationError
from exporter.web.guard import PolicyFile, policy
from tests.support.face import Served, guarded
from tests.web.guard.conftest import Authority, hashed, write
from tests.web.guard.test_logins import basic


def users(password: str) -> dict[str, Any]:
    return {"basic_auth_users": {"alice": hashed(password)}}


async def serial_of(served: Served, tls: ssl.SSLContext) -> int:
    """The number of the certificate that a new connection is shown."""
    _, writer = await served.connect(tls)
    try:
        return int(writer.get_extra_info("peercert")["serialNumber"], 16)
    finally:
        writer.close()


def test_a_broken_file_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"web\.yml:1:1: the file cannot be read|there is no such file"):
        PolicyFile(tmp_path / "web.yml", SystemClock())


async def test_a_change_counts_for_the_next_request(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", **users("old"))
    async with guarded(path) as served:
        assert await served.status(Authorization=basic("alice", "old")) == 200
        write(path, **users("new"))
        assert await served.status(Authorization=basic("alice", "old")) == 401
        assert await served.status(Authorization=basic("alice", "new")) == 200


@pytest.mark.parametrize("broken", ["basic_auth_users: [", "", "basic_auth_user: {}", None, "\0"])
async def test_a_broken_file_opens_nothing(
    tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither for who had no password nor for who had one, until it is mended."""
    path = write(tmp_path / "web.yml", **users("pw"))
    good = path.read_text()
    async with guarded(path) as served:
        if broken is None:
            path.unlink()
        else:
            path.write_text(broken)
        for authorization in ("", basic("alice", "pw")):
            status, _, body = await served.ask("/metrics", Authorization=authorization)
            assert status == 500
            assert b"web.yml" not in body
        assert served.face.scrapes == 0
        path.write_text(good)
        assert await served.status(Authorization=basic("alice", "pw")) == 200
        assert await served.status() == 401


async def test_a_connection_from_before_is_bound_by_the_new_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", http_server_config={})
    async with guarded(path) as served:
        reader, writer = await served.connect()
        request = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
        writer.write(request)
        assert (await reader.readline()).endswith(b"200 OK\r\n")
        await reader.readuntil(b"healthy.\n")
        write(path, **users("pw"))
        writer.write(request)
        assert b" 401 " in await reader.readline()
        writer.close()


async def test_tls_demanded_anew_ends_connections_without(tmp_path: Path, authority: Authority) -> None:
    path = write(tmp_path / "web.yml", http_server_config={})
    async with guarded(path) as served:
        reader, writer = await served.connect()
        write(path, tls_server_config=authority.issue())
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert served.face.scrapes == 0
        assert await served.status(tls=authority.client()) == 200
        writer.close()


async def test_a_new_certificate_is_shown_to_the_next_client(tmp_path: Path, authority: Authority) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        first = await serial_of(served, authority.client())
        assert await serial_of(served, authority.client()) == first
        authority.issue()
        assert await serial_of(served, authority.client()) != first


async def test_certificates_are_rotated_under_load(tmp_path: Path, authority: Authority) -> None:
    """Clients with new connections, and one that keeps its own, notice nothing, though files change one by one."""
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    client = authority.client()
    done = asyncio.Event()

    async def keep_asking(served: Served) -> list[int]:
        statuses = []
        while not done.is_set():
            statuses.append(await served.status("/metrics", tls=client))
        return statuses

    async def keep_asking_on_one_connection(served: Served) -> int:
        reader, writer = await served.connect(client)
        answers = 0
        while not done.is_set():
            writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b" 200 " in await reader.readline()
            await reader.readuntil(b"healthy.\n")
            answers += 1
        writer.close()
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
            serials.add(await serial_of(served, client))
        done.set()
        statuses = [status for statuses in await asyncio.gather(*load) for status in statuses]
        assert await kept > 5
    assert set(statuses) == {200}
    assert len(statuses) > 8
    assert len(serials) == 6


class LaterClock(SystemClock):
    """The machine's, with some seconds added."""

    later = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later


async def test_a_certificate_that_stays_unfit_is_a_broken_file(tmp_path: Path, authority: Authority) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    clock = LaterClock()
    async with guarded(path, clock=clock) as served:
        key = (tmp_path / "server.key").read_bytes()
        (tmp_path / "server.key").unlink()
        assert await served.status(tls=authority.client()) == 200
        clock.later = policy.ROTATION_GRACE
        assert await served.status(tls=authority.client()) == 500
        (tmp_path / "server.key").write_bytes(key)
        assert await served.status(tls=authority.client()) == 200


async def test_a_file_that_names_another_one_not_there_yet_heals_when_it_comes(
    tmp_path: Path, authority: Authority
) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        write(path, tls_server_config={"cert_file": "later.pem", "key_file": "later.key"})
        assert await served.status(tls=authority.client()) == 500
        authority.issue("later")
        assert await served.status(tls=authority.client()) == 200


async def test_a_mistake_is_logged_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "web.yml", **users("pw"))
    async with guarded(path) as served:
        path.write_text("nonsense: 1")
        for _ in range(3):
            assert await served.status() == 500
    assert capsys.readouterr().out.count("nonsense: unknown key") == 1


async def test_half_a_file_is_not_believed(tmp_path: Path) -> None:
    """Written bit by bit, it would demand less for a moment than before and after."""
    path = write(tmp_path / "web.yml", http_server_config={}, **users("pw"))
    async with guarded(path) as served:
        whole = path.read_text() + "\n"
        path.write_text("http_server_config: {}\n")
        request = asyncio.create_task(served.status("/metrics"))
        await asyncio.sleep(0.03)
        path.write_text(whole)
        assert await request == 401


async def test_who_follows_the_file_learns_of_a_mistake_without_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "LOOK_INTERVAL", 0.02)
    path = write(tmp_path / "web.yml", **users("pw"))
    followed = PolicyFile(path, SystemClock())
    task = asyncio.create_task(followed.follow())
    path.write_text("nonsense: 1")
    async with asyncio.timeout(10):
        while not followed.broken:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0.01)
    task.cancel()


async def test_a_disk_that_does_not_answer_holds_up_nobody_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "web.yml", **users("pw"))
    async with guarded(path) as served:
        monkeypatch.setattr(policy, "PATIENCE", 0.05)
        hangs = asyncio.Event()

        async def look(*_: object) -> None:
            await hangs.wait()

        monkeypatch.setattr(PolicyFile, "_look_again", look)
        assert await served.status() == 401
        assert await served.status(Authorization=basic("alice", "pw")) == 200
        hangs.set()


async def test_requests_beyond_the_limit_are_429(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yml", rate_limit={"interval": "1h", "burst": 2})
    async with guarded(path) as served:
        assert [await served.status() for _ in range(4)] == [200, 200, 429, 429]
        write(path, rate_limit={"interval": "1h", "burst": 2}, http_server_config={})
        assert await served.status() == 429
        write(path, http_server_config={})
        assert await served.status() == 200


async def test_configured_headers_are_on_every_answer(tmp_path: Path) -> None:
    headers = {"X-Frame-Options": "deny", "Strict-Transport-Security": "max-age=31536000"}
    path = write(tmp_path / "web.yml", http_server_config={"headers": headers}, **users("pw"))
    async with guarded(path) as served:
        good = basic("alice", "pw")
        for request, authorization in (("/metrics", ""), ("/metrics", good), ("/", good), ("/nothing", good)):
            _, found, _ = await served.ask(request, Authorization=authorization)
            assert headers.items() <= found.items()


async def test_no_answer_tells_what_software_this_is(tmp_path: Path) -> None:
    async with guarded() as served:
        for request in ("/", "/nothing"):
            assert "Server" not in (await served.ask(request))[1]
