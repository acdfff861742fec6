"""Trusted certificates, and messages about those that are not."""

import asyncio
import ssl
from datetime import UTC, datetime

import pytest
import trustme

from exporter.errors import PermanentError, TransientError, UntrustedCertificateError, UpstreamConnectionError
from tests.support.http import Network, answering, body_of, get

answer = answering(body=b"ok")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_a_private_authority_is_accepted_where_it_is_named(network: Network, authority: trustme.CA) -> None:
    url = await network.serve(answer, server_context(authority, "127.0.0.1"))
    assert await network.upstream(tls=trusting(authority)).call(get(url), body_of) == b"ok"


async def test_a_private_authority_is_rejected_elsewhere_at_once_and_with_advice(
    network: Network, authority: trustme.CA
) -> None:
    url = await network.serve(answer, server_context(authority, "127.0.0.1"))
    with pytest.raises(UntrustedCertificateError, match=r"was not accepted \(.*certificate.*\); give .* tls\.ca_file"):
        await network.upstream(retries=3).call(get(url), body_of)
    assert network.counts.codes == {None: 1}, "asking again gives the same certificate"


async def test_a_certificate_for_another_name_is_rejected(network: Network, authority: trustme.CA) -> None:
    url = await network.serve(answer, server_context(authority, "hpc.example.com"))
    with pytest.raises(
        UntrustedCertificateError, match=r"IP address mismatch.*; use the host name that it was issued for"
    ):
        await network.upstream(tls=trusting(authority)).call(get(url), body_of)


async def test_no_advice_to_name_an_authority_where_a_certificate_has_expired(
    network: Network, authority: trustme.CA
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    year_2020 = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 12, 31, tzinfo=UTC))
    authority.issue_cert("127.0.0.1", not_before=year_2020[0], not_after=year_2020[1]).configure_cert(context)
    url = await network.serve(answer, context)
    with pytest.raises(UntrustedCertificateError, match=r"expired\); it has to be renewed there"):
        await network.upstream(tls=trusting(authority)).call(get(url), body_of)


async def test_verification_can_be_switched_off(network: Network, authority: trustme.CA) -> None:
    url = await network.serve(answer, server_context(authority, "hpc.example.com"))
    assert await network.upstream(tls=False).call(get(url), body_of) == b"ok"


async def test_no_tls_where_it_is_expected_is_said_in_plain_words(network: Network) -> None:
    url = (await network.serve(answer)).replace("http:", "https:")
    with pytest.raises(PermanentError, match=r"TLS with 127\.0\.0\.1:\d+ is not possible"):
        await network.upstream().call(get(url), body_of)


async def test_hanging_up_during_the_handshake_is_transient(network: Network) -> None:
    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(100)

    url = (await network.serve_raw(hang_up)).replace("http:", "https:")
    with pytest.raises(TransientError, match="hung up while TLS was set up"):
        await network.upstream().call(get(url), body_of)


async def test_tls_where_it_is_not_expected_is_a_poll_error(network: Network, authority: trustme.CA) -> None:
    url = (await network.serve(answer, server_context(authority, "127.0.0.1"))).replace("https:", "http:")
    with pytest.raises(UpstreamConnectionError, match="hung up"):
        await network.upstream().call(get(url), body_of)
