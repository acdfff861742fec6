"""PollErrors for exceptions of aiohttp and of the system, and for answers that are not accepted."""

import errno
import os
import re
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp

from exporter.errors import (
    DecodeError,
    PollError,
    Reach,
    RejectedError,
    UnexpectedStatusError,
    UntrustedCertificateError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.text import Text, in_units

# Share of the request timeout for the connection: less than all, so that the error says which of the two timed out.
CONNECT_SHARE = 0.9
# Exceptions of requests that did not reach the host, by the step that failed.
UNREACHED: Final[Sequence[tuple[Reach, tuple[type[Exception], ...]]]] = (
    ("address", (aiohttp.ClientConnectorDNSError,)),
    ("connection", (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)),
)
# The remedy where a certificate is not accepted, by the error of verification (OpenSSL's x509_vfy.h); else a CA is missing.
REMEDIES = {
    9: Text("is this machine's clock right?", "请检查本机时钟"),
    10: Text(
        "it has to be renewed there, unless this machine's clock is wrong", "除非本机时钟有误，否则需要对方更换证书"
    ),
    62: Text("use the host name that it was issued for", "请使用证书签发的主机名"),
    64: Text("use the host name that it was issued for", "请使用证书签发的主机名"),
}
OWN_AUTHORITY = Text("give the region's own CA with tls.ca_file", "请用 tls.ca_file 指定该区域自己的 CA")


def map_exception(error: Exception, host: str, timeout: float) -> PollError:
    """Return the PollError for `error`, which a request to `host` ended with after up to `timeout` seconds.

    RejectedError, and only that, says that nothing was sent.
    """
    kind: type[PollError] = UpstreamConnectionError
    match error:
        # The system has a number for each of its errors: the last one is asyncio's, in the midst of a handshake.
        case (
            aiohttp.ClientConnectorCertificateError()
            | aiohttp.ClientSSLError()
            | aiohttp.ClientConnectorError(os_error=ConnectionResetError(errno=None))
        ):
            return tls_failure(error, host)
        case TimeoutError():
            kind, text = UpstreamTimeoutError, timed_out(error, host, timeout)
        case aiohttp.ClientConnectorDNSError(os_error=OSError(errno=errno.ETIMEDOUT)):
            kind = UpstreamTimeoutError
            text = Text(
                f"the name of {host} was not resolved in time: a name server of this machine does not answer",
                f"{host} 域名解析超时：本机使用的 DNS 服务器没有响应",
            )
        case aiohttp.ClientConnectorDNSError():
            text = Text(f"the name of {host} cannot be resolved", f"{host} 域名无法解析")
        case aiohttp.ClientConnectorError():
            words = system_words(error.os_error)
            text = Text(f"cannot connect to {host}: {words}", f"无法连接 {host}：{words}")
        case aiohttp.ClientPayloadError():
            text = Text(f"the answer of {host} broke off or is garbled", f"{host} 的响应中断或已损坏")
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            text = Text(f"{host} hung up without an answer", f"{host} 没有响应就断开了连接")
        case aiohttp.ClientResponseError():
            kind, text = DecodeError, Text(f"the answer of {host} is not HTTP", f"{host} 的响应不是 HTTP")
        case aiohttp.NonHttpUrlClientError() | ValueError():
            kind = RejectedError
            text = Text(
                "the request cannot be sent: its address or a header (the token?) holds what HTTP does not allow",
                "请求无法发送：地址或请求头（例如令牌）中有 HTTP 不允许的字符",
            )
        case _:
            # The text of an unexpected exception may hold a header's value; its type never does.
            name = type(error).__name__
            text = Text(f"the request to {host} failed: {name}", f"对 {host} 的请求失败：{name}")
    failure = kind(text, culprit=host)
    failure.unreached = next((step for step, errors in UNREACHED if isinstance(error, errors)), None)
    return failure


def timed_out(error: TimeoutError, host: str, timeout: float) -> Text:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        seconds = CONNECT_SHARE * timeout
        return Text(f"no connection to {host} within {seconds:g} s", f"{seconds:g} 秒内无法连接 {host}")
    return Text(f"no complete answer from {host} within {timeout:g} s", f"{host} 在 {timeout:g} 秒内没有返回完整响应")


def tls_failure(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorError, host: str) -> PollError:
    """Return the PollError for a TLS handshake that failed.

    Transient only if the host hung up, else the person has to act.
    """
    kind: type[PollError] = UntrustedCertificateError
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        reason = getattr(cause, "verify_message", None) or type(cause).__name__
        remedy = REMEDIES.get(getattr(cause, "verify_code", 0), OWN_AUTHORITY)
        text = Text(
            f"the TLS certificate of {host} was not accepted ({reason}); {remedy.en}",
            f"{host} 的 TLS 证书未被接受（{reason}）；{remedy.zh}",
        )
    elif isinstance(error.os_error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError):
        kind = UpstreamConnectionError
        text = Text(f"{host} hung up while TLS was set up", f"{host} 在 TLS 握手时断开了连接")
    else:
        reason = getattr(error.os_error, "reason", None) or type(error.os_error).__name__
        text = Text(f"TLS with {host} is not possible ({reason})", f"无法与 {host} 建立 TLS 连接（{reason}）")
    failure = kind(text, culprit=host)
    failure.unreached = "TLS"
    return failure


def system_words(error: OSError) -> str:
    """Return the system's name of an error: asyncio's own texts repeat the address instead of saying what happened."""
    if error.errno is None and error.strerror is None:
        # A host of several addresses can fail at each of them for another reason.
        return "none of its addresses answers"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__


def redirected(answer: aiohttp.ClientResponse) -> UnexpectedStatusError:
    """Return the error for a redirect, or for another status of that class."""
    if "Location" not in answer.headers:
        return UnexpectedStatusError(Text(f"HTTP {answer.status}, without data", f"HTTP {answer.status}，没有数据"))
    # Without the query, which may hold a token.
    target = re.split("[?#]", answer.headers["Location"], maxsplit=1)[0][:200]
    return UnexpectedStatusError(
        Text(
            f"HTTP {answer.status}, a redirect to {target!a}: not followed, because the token must not travel to "
            "another place; is the address in the configuration the final one?",
            f"HTTP {answer.status}，重定向到 {target!a}：令牌不能发送到别处，因此没有跟随；请检查配置中的地址是否为最终地址",
        )
    )


def too_long(limit: int) -> DecodeError:
    """Return the error for an answer of more than `limit` bytes."""
    return DecodeError(
        Text(
            f"the answer is longer than poll.max_body allows, which is {in_units(limit)}",
            f"响应超过 poll.max_body 的上限 {in_units(limit)}",
        )
    )
