"""Every exception that aiohttp or the system can end a request with has a PollError."""

import errno
import socket
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
from exporter.http.translation import map_exception, too_long
from exporter.text import Text, in_units

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


def certificate_error(code: int, message: str) -> aiohttp.ClientConnectorCertificateError:
    cause = ssl.SSLCertVerificationError(1, "bad")
    cause.verify_code, cause.verify_message = code, message
    return aiohttp.ClientConnectorCertificateError(KEY, cause)


def tls_error(reason: str) -> aiohttp.ClientConnectorSSLError:
    cause = ssl.SSLError(1, "bad")
    cause.reason = reason
    return aiohttp.ClientConnectorSSLError(KEY, cause)


NOT_ALLOWED = Text(
    "the request cannot be sent: its address or a header (the token?) holds what HTTP does not allow",
    "请求无法发送：地址或请求头（例如令牌）中有 HTTP 不允许的字符",
)
HUNG_UP = Text("h:443 hung up without an answer", "h:443 没有响应就断开了连接")
HUNG_UP_EARLY = Text("h:443 hung up while TLS was set up", "h:443 在 TLS 握手时断开了连接")


def not_accepted(reason: str, en: str, zh: str) -> Text:
    return Text(
        f"the TLS certificate of h:443 was not accepted ({reason}); {en}",
        f"h:443 的 TLS 证书未被接受（{reason}）；{zh}",
    )


def cannot_connect(words: str) -> Text:
    return Text(f"cannot connect to h:443: {words}", f"无法连接 h:443：{words}")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (aiohttp.ConnectionTimeoutError(), Text("no connection to h:443 within 2.25 s", "2.25 秒内无法连接 h:443")),
        (TimeoutError(), Text("no complete answer from h:443 within 2.5 s", "h:443 在 2.5 秒内没有返回完整响应")),
        (
            aiohttp.ClientConnectorDNSError(KEY, OSError(errno.ETIMEDOUT, "slow")),
            Text(
                "the name of h:443 was not resolved in time: a name server of this machine does not answer",
                "h:443 域名解析超时：本机使用的 DNS 服务器没有响应",
            ),
        ),
        (
            aiohttp.ClientConnectorDNSError(KEY, OS_ERROR),
            Text("the name of h:443 cannot be resolved", "h:443 域名无法解析"),
        ),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "repeats the address")), cannot_connect("Connection refused")),
        (aiohttp.ClientConnectorError(KEY, OSError(1, "?")), cannot_connect("Operation not permitted")),
        (aiohttp.ClientConnectorError(KEY, socket.gaierror(-2, "no such name")), cannot_connect("no such name")),
        (aiohttp.ClientConnectorError(KEY, OSError("weird")), cannot_connect("none of its addresses answers")),
        (
            aiohttp.ClientPayloadError(),
            Text("the answer of h:443 broke off or is garbled", "h:443 的响应中断或已损坏"),
        ),
        (aiohttp.ServerDisconnectedError(), HUNG_UP),
        (ConnectionResetError(), HUNG_UP),
        (
            aiohttp.ClientResponseError(REQUEST_INFO, ()),
            Text("the answer of h:443 is not HTTP", "h:443 的响应不是 HTTP"),
        ),
        (aiohttp.NonHttpUrlClientError("x"), NOT_ALLOWED),
        (ValueError(), NOT_ALLOWED),
        (
            aiohttp.ClientError(),
            Text("the request to h:443 failed: ClientError", "对 h:443 的请求失败：ClientError"),
        ),
        (certificate_error(9, "not yet valid"), not_accepted("not yet valid", "is this machine's clock right?", "请检查本机时钟")),
        (
            certificate_error(10, "expired"),
            not_accepted(
                "expired",
                "it has to be renewed there, unless this machine's clock is wrong",
                "除非本机时钟有误，否则需要对方更换证书",
            ),
        ),
        *(
            (
                certificate_error(code, "mismatch"),
                not_accepted("mismatch", "use the host name that it was issued for", "请使用证书签发的主机名"),
            )
            for code in (62, 64)
        ),
        *(
            (
                error,
                not_accepted(
                    reason, "give the region's own CA with tls.ca_file", "请用 tls.ca_file 指定该区域自己的 CA"
                ),
            )
            for error, reason in (
                (certificate_error(18, "self-signed"), "self-signed"),
                (aiohttp.ClientConnectorCertificateError(KEY, ValueError("x")), "ValueError"),
            )
        ),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "EOF")), HUNG_UP_EARLY),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLZeroReturnError(6, "closed")), HUNG_UP_EARLY),
        (aiohttp.ClientConnectorError(KEY, ConnectionResetError()), HUNG_UP_EARLY),
        (tls_error("WRONG_VERSION"), Text("TLS with h:443 is not possible (WRONG_VERSION)", "无法与 h:443 建立 TLS 连接（WRONG_VERSION）")),
        (tls_error(""), Text("TLS with h:443 is not possible (SSLError)", "无法与 h:443 建立 TLS 连接（SSLError）")),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_failure_is_said_in_words_of_its_own(error: Exception, text: Text) -> None:
    failure = map_exception(error, "h:443", 2.5)
    assert (failure.text, failure.culprit) == (text, "h:443")


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.02e+03 KiB"),
        (1024**2, "1 MiB"),
        (64 * 1024**2, "64 MiB"),
        (1024**3, "1 GiB"),
        (5_000_000_000, "4.66 GiB"),
    ],
)
def test_a_size_is_said_in_units(size: int, said: str) -> None:
    assert in_units(size) == said
    assert too_long(size).text == Text(
        f"the answer is longer than poll.max_body allows, which is {said}", f"响应超过 poll.max_body 的上限 {said}"
    )


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OS_ERROR), "address"),
        (aiohttp.ClientConnectorError(KEY, OS_ERROR), "connection"),
        (aiohttp.ConnectionTimeoutError(), "connection"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "bad")), "TLS"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLEOFError(8, "EOF")), "TLS"),
        (aiohttp.ClientConnectorError(KEY, ConnectionResetError()), "TLS"),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "bad")), "TLS"),
        (aiohttp.ServerDisconnectedError(), None),
        (TimeoutError(), None),
    ],
)
def test_a_host_that_was_not_reached_is_told_from_one_that_was(error: Exception, step: str | None) -> None:
    failure = map_exception(error, "h:443", 15.0)
    assert (failure.unreached, failure.again().unreached, str(failure.again())) == (step, step, str(failure))
