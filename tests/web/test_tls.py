"""Clients over TLS, with the right, a wrong, an expired or no certificate."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.web.tls import subject_alternative_names
from tests.support.face import guarded
from tests.support.web_config import Authority, write


async def test_an_answer_over_tls(tmp_path: Path, authority: Authority) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        assert await served.is_answered(authority.client())
        assert not await served.is_answered(None)


async def test_a_client_that_trusts_another_authority_fails(tmp_path: Path, authority: Authority) -> None:
    path = write(tmp_path / "web.yml", tls_server_config=authority.issue())
    async with guarded(path) as served:
        with pytest.raises(ssl.SSLCertVerificationError):
            await served.status(tls=Authority(tmp_path, "stranger").client())


@pytest.mark.parametrize(
    ("auth", "admitted"),
    [
        ("NoClientCert", {"right", "wrong", "expired", "none"}),
        ("RequestClientCert", {"right", "wrong", "expired", "none"}),
        ("VerifyClientCertIfGiven", {"right", "none"}),
        ("RequireAndVerifyClientCert", {"right"}),
    ],
)
async def test_the_certificates_that_each_policy_requires(
    tmp_path: Path, authority: Authority, auth: str, admitted: set[str]
) -> None:
    ca = {} if auth == "NoClientCert" else {"client_ca_file": "ca.pem"}
    tls = {**authority.issue(), "client_auth_type": auth, **ca}
    authority.issue("right", "prometheus")
    authority.expired("expired")
    stranger = Authority(tmp_path, "stranger")
    stranger.issue("wrong", "prometheus")
    clients = {name: authority.client(name) for name in ("right", "wrong", "expired")} | {"none": authority.client()}
    async with guarded(write(tmp_path / "web.yml", tls_server_config=tls)) as served:
        assert {name for name, client in clients.items() if await served.is_answered(client)} == admitted


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (["prometheus.example.com"], True),
        (["other.example.com", "prometheus.example.com"], True),
        (["other.example.com"], False),
        (["*.example.com"], False),
        (["10.1.2.3"], True),
        (["::1"], True),
        (["10.1.2.4"], False),
        (["me@example.com"], True),
    ],
)
async def test_only_clients_with_an_allowed_name(
    tmp_path: Path, authority: Authority, names: list[str], allowed: bool
) -> None:
    tls = {
        **authority.issue(),
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": "ca.pem",
        "client_allowed_sans": ["prometheus.example.com", "10.1.2.3", "::1", "me@example.com"],
    }
    authority.issue("client", *names)
    async with guarded(write(tmp_path / "web.yml", tls_server_config=tls)) as served:
        assert await served.is_answered(authority.client("client")) is allowed
        assert served.face.requests["/-/healthy", 200] == int(allowed)


async def test_a_uri_is_a_name_as_well() -> None:
    certificate: dict[str, Any] = {"subjectAltName": (("URI", "spiffe://example.com/p"), ("DNS", "a"))}
    assert subject_alternative_names(certificate) == {"spiffe://example.com/p", "a"}


@pytest.mark.parametrize(("oldest", "answered"), [("TLS12", True), ("TLS13", False)])
async def test_versions_older_than_allowed_are_rejected(
    tmp_path: Path, authority: Authority, oldest: str, answered: bool
) -> None:
    tls = {**authority.issue(), "min_version": oldest}
    client = authority.client()
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    async with guarded(write(tmp_path / "web.yml", tls_server_config=tls)) as served:
        assert await served.is_answered(client) is answered
        assert await served.is_answered(authority.client())


async def test_a_client_that_never_finishes_the_handshake_is_disconnected(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with guarded(write(tmp_path / "web.yml", tls_server_config=authority.issue())) as served:
        with monkeypatch.context() as patched:
            patched.setattr("exporter.web.connections.FIRST_REQUEST_TIMEOUT", 0.2)
            async with asyncio.timeout(100):
                assert await served.say(b"") == b""
        assert await served.is_answered(authority.client())


async def test_clients_stuck_in_the_handshake_are_closed_for_others(tmp_path: Path, authority: Authority) -> None:
    async with (
        guarded(write(tmp_path / "web.yml", tls_server_config=authority.issue()), max_connections=5) as served,
        AsyncExitStack() as stack,
    ):
        stuck = [await stack.enter_async_context(served.kept()) for _ in range(20)]
        assert await served.is_answered(authority.client())
        assert await stuck[0].ended()
