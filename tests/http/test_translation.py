"""Every exception that aiohttp or the system can end a request with has a PollError."""

import ssl
from collections.abc import Iterator

import aiohttp
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy

from exporter.errors import (
    DecodeError,
    PollError,
    RejectedError,
    TransientError,
    UntrustedCertificateError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http.translation import map_exception

SECRET = "sesame"
KEY = ConnectionKey("h", 443, True, True, None, None, None)
# Parts of a request that these errors would show; none may come through.
REQUEST_INFO = aiohttp.RequestInfo(
    yarl.URL(f"http://h/{SECRET}"), "GET", CIMultiDictProxy(CIMultiDict()), yarl.URL("http://h/")
)
OS_ERROR = OSError(111, "Connection refused")

EXPECTED: dict[Exception, type[PollError]] = {
    aiohttp.ClientError(SECRET): UpstreamConnectionError,
    aiohttp.ClientResponseError(REQUEST_INFO, ()): DecodeError,
    aiohttp.ContentTypeError(REQUEST_INFO, ()): DecodeError,
    aiohttp.WSServerHandshakeError(REQUEST_INFO, ()): DecodeError,
    aiohttp.ClientHttpProxyError(REQUEST_INFO, ()): DecodeError,
    aiohttp.TooManyRedirects(REQUEST_INFO, ()): DecodeError,
    aiohttp.ClientConnectionError(SECRET): UpstreamConnectionError,
    aiohttp.ClientConnectionResetError(SECRET): UpstreamConnectionError,
    aiohttp.ClientOSError(104, SECRET): UpstreamConnectionError,
    aiohttp.ClientConnectorError(KEY, OS_ERROR): UpstreamConnectionError,
    aiohttp.ClientConnectorDNSError(KEY, OS_ERROR): UpstreamConnectionError,
    aiohttp.ClientProxyConnectionError(KEY, OS_ERROR): UpstreamConnectionError,
    aiohttp.client_exceptions.UnixClientConnectorError("/socket", KEY, OS_ERROR): UpstreamConnectionError,
    aiohttp.ServerConnectionError(SECRET): UpstreamConnectionError,
    aiohttp.ServerDisconnectedError(SECRET): UpstreamConnectionError,
    aiohttp.ServerTimeoutError(SECRET): UpstreamTimeoutError,
    aiohttp.ConnectionTimeoutError(SECRET): UpstreamTimeoutError,
    aiohttp.SocketTimeoutError(SECRET): UpstreamTimeoutError,
    aiohttp.ServerFingerprintMismatch(b"", b"", "h", 443): UpstreamConnectionError,
    aiohttp.ClientPayloadError(SECRET): UpstreamConnectionError,
    # Since aiohttp 3.14.5.
    getattr(aiohttp.client_exceptions, "UploadAbortedError", aiohttp.ClientError)(SECRET): UpstreamConnectionError,
    aiohttp.InvalidURL(SECRET): RejectedError,
    aiohttp.InvalidUrlClientError(SECRET): RejectedError,
    aiohttp.RedirectClientError(SECRET): UpstreamConnectionError,
    aiohttp.NonHttpUrlClientError(SECRET): RejectedError,
    aiohttp.InvalidUrlRedirectClientError(SECRET): RejectedError,
    aiohttp.NonHttpUrlRedirectClientError(SECRET): RejectedError,
    aiohttp.ClientSSLError(KEY, ssl.SSLError(1, "bad")): UntrustedCertificateError,
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad")): UntrustedCertificateError,
    aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "bad")): UntrustedCertificateError,
}
FURTHER: dict[Exception, type[PollError]] = {
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "EOF")): UpstreamConnectionError,
    TimeoutError(SECRET): UpstreamTimeoutError,
    ConnectionResetError(104, SECRET): UpstreamConnectionError,
    BrokenPipeError(32, SECRET): UpstreamConnectionError,
    OSError(SECRET): UpstreamConnectionError,
    ValueError(SECRET): RejectedError,
    UnicodeEncodeError("ascii", SECRET, 0, 1, SECRET): RejectedError,
}


def subclasses(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from subclasses(subclass)


def test_the_table_names_every_client_error_of_aiohttp() -> None:
    """A new release may bring new ones: then this table is to be completed, and `map_exception` thought over."""
    own = {cls for cls in subclasses(aiohttp.ClientError) if cls.__module__ == "aiohttp.client_exceptions"}
    assert {type(error) for error in EXPECTED} == own


@pytest.mark.parametrize(("error", "expected"), [*EXPECTED.items(), *FURTHER.items()], ids=lambda v: str(v)[:60])
def test_every_exception_has_its_poll_error(error: Exception, expected: type[PollError]) -> None:
    failure = map_exception(error, "h:443", 15.0)
    assert type(failure) is expected
    assert failure.culprit == "h:443"
    assert SECRET not in repr(failure)


@pytest.mark.parametrize("error", [error for error in EXPECTED if isinstance(error, aiohttp.ClientConnectionError)])
def test_what_a_lost_connection_ends_with_is_tried_again_but_not_a_certificate(error: Exception) -> None:
    failure = map_exception(error, "h:443", 15.0)
    assert isinstance(failure, TransientError) is not isinstance(error, aiohttp.ClientSSLError)
