"""Messages for exceptions of aiohttp and of the system."""

import errno
import os
import ssl

import aiohttp

from exporter.errors import (
    DecodeError,
    PollError,
    RejectedError,
    UntrustedCertificateError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)

# The remedy where a certificate is not accepted, by the error of verification (OpenSSL's x509_vfy.h); else a CA is missing.
REMEDIES = {
    9: "is this machine's clock right?",
    10: "it has to be renewed there, unless this machine's clock is wrong",
    62: "ask by the name that it is for",
    64: "ask by the name that it is for",
}
OWN_AUTHORITY = "give the region's own CA with tls.ca_file"


def translated(error: Exception, host: str, timeout: float) -> PollError:
    """Return the PollError for `error`, which a request to `host` ended with; `timeout` is the time it was given, in seconds.

    RejectedError, and only that, says that nothing was sent.
    """
    kind: type[PollError] = UpstreamConnectionError
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return tls_failure(error, host)
        case TimeoutError():
            kind, text = UpstreamTimeoutError, f"no complete answer from {host} within {timeout:g} s"
        case aiohttp.ClientConnectorDNSError(os_error=OSError(errno=errno.ETIMEDOUT)):
            kind = UpstreamTimeoutError
            text = f"the name of {host} was not resolved in time: a name server of this machine does not answer"
        case aiohttp.ClientConnectorDNSError():
            text = f"the name of {host} cannot be resolved"
        case aiohttp.ClientConnectorError():
            text = f"cannot connect to {host}: {system_words(error.os_error)}"
        case aiohttp.ClientPayloadError():
            text = f"the answer of {host} broke off or is garbled"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError() | ConnectionError():
            text = f"{host} hung up without an answer"
        case aiohttp.ClientResponseError():
            kind, text = DecodeError, f"the answer of {host} is not HTTP"
        case aiohttp.NonHttpUrlClientError() | ValueError():
            kind = RejectedError
            text = "the request cannot be sent: its address or a header (the token?) holds what HTTP does not allow"
        case _:
            # The text of an unexpected exception may hold a header's value; its type never does.
            text = f"the request to {host} failed: {type(error).__name__}"
    return kind(text, culprit=host)


def tls_failure(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError, host: str) -> PollError:
    """Return the PollError for a TLS handshake that failed: transient only if the host hung up, else the person has to act."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = error.certificate_error
        reason = getattr(cause, "verify_message", None) or type(cause).__name__
        remedy = REMEDIES.get(getattr(cause, "verify_code", 0), OWN_AUTHORITY)
        return UntrustedCertificateError(
            f"the TLS certificate of {host} was not accepted ({reason}); {remedy}", culprit=host
        )
    if isinstance(error.os_error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return UpstreamConnectionError(f"{host} hung up while TLS was set up", culprit=host)
    reason = getattr(error.os_error, "reason", None) or type(error.os_error).__name__
    return UntrustedCertificateError(f"TLS with {host} is not possible ({reason})", culprit=host)


def system_words(error: OSError) -> str:
    """Return the system's name of an error: asyncio's own texts repeat the address instead of saying what happened."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or type(error).__name__
