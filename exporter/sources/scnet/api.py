"""Calls of a SCNet region: addresses, the envelope of answers, and the meaning of its codes.

Source: the error tables of the official pages (查询队列作业统计信息, 查询集群信息, 查询成员实时作业列表, 删除作业), and the
codes that public clients report beside them (911404, 911406, 911009).
"""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
)
from exporter.http import Response, excerpt, one_line, retry_after_of
from exporter.http.message import without_nan
from exporter.sources.values import NULL, UNREADABLE, value_of

SUCCESS = "0"
PASSING = {
    "10001": "internal error",
    "10012": "connection broken",
    "10013": "timed out",
    "911404": "its authentication server cannot be reached",
}
TOKEN_REFUSED = {
    "10008": "no permission",
    "10009": "not allowed to call this interface",
    "911406": "token not accepted",
}
REJECTED = {
    "10003": "parameters missing",
    "10004": "a parameter is invalid",
    "10007": "the user is frozen",
    "10010": "file check failed",
    "10011": "file too large",
    "815005": "job submission failed",
    "815007": "job submission failed",
    "911009": "the region does not know this user",
}
LISTED_CODES = frozenset({*PASSING, *TOKEN_REFUSED, *REJECTED})
# Web gateways before the API answer with a code of their own, the first of which means other things as well.
GATEWAY_REFUSED, GATEWAY_NOT_LOGGED_IN = "1001", "401"


def address(path: str, params: Mapping[str, str], *, hpc_url: str, ac_url: str) -> str:
    """Return the address of a collector's path: at the AC service if it begins with ``/ac/``. `params` fill its ``{names}``."""
    base = ac_url if path.startswith("/ac/") else hpc_url
    return base + path.format_map({name: encoded(value) for name, value in params.items()})


def encoded(text: str) -> str:
    """Percent-encoded for one path segment or query value: nothing but unreserved characters stays as it is."""
    return quote(text, safe="")


class Envelope(msgspec.Struct, gc=False):
    """``msg`` is for people and can be of any type, gateways call it ``message``; ``data`` is read by the caller."""

    code: int | str
    msg: msgspec.Raw = NULL
    message: msgspec.Raw = NULL
    data: msgspec.Raw = NULL


_envelope = msgspec.json.Decoder(Envelope)


def open_envelope(response: Response) -> msgspec.Raw:
    """Return the ``data`` of a successful answer, ``null`` where there is none.

    Success is code "0", whatever the HTTP status. Raises the PollError that says what to do about anything else.
    """
    envelope = _read(response)
    if envelope is None:
        raise_for_status(response)
        raise DecodeError(f"the answer is not the JSON envelope that the API describes: {excerpt(response.body)}")
    code = str(envelope.code)
    if code == SUCCESS:
        return envelope.data
    raise error_for(code, message_of(envelope.msg) or message_of(envelope.message), response)


def is_bare_null(response: Response) -> bool:
    """Whether the whole body is ``null`` on an HTTP success: the queue page's words for "no queue has a job"."""
    return response.body.strip() == b"null" and response.status in range(200, 300)


def _read(response: Response) -> Envelope | None:
    for mended in (bytes, without_nan):
        try:
            return _envelope.decode(mended(response.body))
        except UNREADABLE:
            continue
    return None


def raise_for_status(response: Response) -> None:
    """Raise for an HTTP status that is not a success; used where no envelope says more."""
    status = response.status
    if status in (401, 403):
        raise AuthenticationError(f"HTTP {status}: the token was refused")
    if throttled := throttling(response):
        raise throttled
    if status >= 500:  # noqa: PLR2004 - the class of server errors
        raise ServerError(f"HTTP {status}: {excerpt(response.body)}")
    if not 200 <= status < 300:  # noqa: PLR2004 - the class of successes
        raise UnexpectedStatusError(f"HTTP {status}: {excerpt(response.body)}")


def throttling(response: Response, api_code: str | None = None) -> ThrottledError | None:
    """Return the error for HTTP 429, and for 503 that says when to come back; None for anything else."""
    retry_after = retry_after_of(response.headers, response.received)
    if response.status == 429 or (response.status == 503 and retry_after is not None):  # noqa: PLR2004 - HTTP statuses
        pause = "" if retry_after is None else f", to come back in {retry_after:.0f} s"
        return ThrottledError(
            f"HTTP {response.status}: asked to slow down{pause}", retry_after=retry_after, api_code=api_code
        )
    return None


def error_for(code: str, message: str, response: Response) -> PollError:
    """Return the error for an envelope with a `code` other than "0"."""
    refused = gateway_refusal(code, message)
    label = code if refused or code in LISTED_CODES else "other"
    if throttled := throttling(response, label):
        return throttled
    said = f"code {one_line(code)[:20]}" + (f", {message}" if message else "")
    if refused or code in TOKEN_REFUSED or response.status in (401, 403):
        meaning = refused or TOKEN_REFUSED.get(code, f"HTTP {response.status}")
        return AuthenticationError(f"the token was refused: {meaning} ({said})", api_code=label)
    if code in PASSING:
        return UpstreamBusyError(f"the region failed: {PASSING[code]} ({said})", api_code=label)
    if code in REJECTED:
        return RejectedError(f"the region refused the request: {REJECTED[code]} ({said})", api_code=label)
    return ApiError(f"the region answered with an error that no page lists ({said})", api_code=label)


def gateway_refusal(code: str, message: str) -> str:
    """Return the words for a token that a gateway before the API rejects; empty for anything else."""
    if code == GATEWAY_NOT_LOGGED_IN or (code == GATEWAY_REFUSED and "token" in message.lower()):
        return "a gateway does not accept it"
    return ""


def message_of(raw: msgspec.Raw) -> str:
    """Return a message of the API in one printable line of bounded length; empty for anything but text."""
    value = value_of(raw)
    return one_line(value) if isinstance(value, str) else ""
