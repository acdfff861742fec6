"""Answers of slurmrestd: versions of its API, what its errors mean, numbers that may be unset, and its tokens.

Sources: Slurm's manual (slurmrestd, the page "REST API Reference") and answers of Slurm 22.05 and 26.05. An answer is a
success where HTTP says 200 and its list ``errors`` is empty.
"""

import random
from typing import Annotated, Any, Final

import msgspec

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UpstreamBusyError,
)
from exporter.http import Issued, Response, excerpt, one_line, retry_after_of
from exporter.http.message import http_error
from exporter.sources.decoding import decoded
from exporter.sources.values import LATEST, NULL, UNREADABLE, Count, Name, lenient, read_jwt
from exporter.text import Text

# Slurm 26.05 to 22.05, the newest first. Each release serves three or four of them.
VERSIONS: Final = tuple(f"v0.0.{number}" for number in range(45, 37, -1))

# Numbers of Slurm's errors (slurm_errno.h).
UNAUTHENTICATED, ACCESS_DENIED = 1007, 2002
LISTED: Final = frozenset({1001, 1002, 1003, 1004, 1005, 1006, UNAUTHENTICATED, ACCESS_DENIED, 2051, 5004, 9000})
# Words of the same error in answers without its number.
_UNAUTHENTICATED: Final = "protocol authentication error"
TOKEN_REJECTED: Final = Text(
    "the token was rejected: it is missing, wrong or expired", "令牌被拒绝：缺失、有误或已过期"
)
FORBIDDEN: Final = Text("the token's user lacks the permission", "令牌的用户没有权限")
# Errors that are quoted in a message.
QUOTED: Final = 3
# A proxy that does not say when to come back means a few seconds.
SHORTEST_PAUSE, LONGEST_PAUSE = 2.0, 5.0

# "No value" and "infinite" in 32 bits, where an older version passes them on as numbers.
_NO_NUMBERS: Final = frozenset({0xFFFFFFFE, 0xFFFFFFFF})


class VersionNotServedError(UnexpectedStatusError):
    """The daemon does not serve this version of its API."""


class WireNumber(msgspec.Struct, gc=False):
    """A number since v0.0.40, which may be unset or infinite."""

    number: Count | None = None
    set: bool = True
    infinite: bool = False


# A count or a time in seconds in either form; `number_of` reads it.
Number = Annotated[Count | WireNumber | None, "number"]


def number_of(value: int | WireNumber | None) -> int | None:
    """Return a number; None where it is unset or infinite, for neither is an amount."""
    if isinstance(value, WireNumber):
        value = value.number if value.set and not value.infinite else None
    return None if value in _NO_NUMBERS else value


def time_of(value: int | WireNumber | None) -> float | None:
    """Return a time in seconds since the epoch; None where it is unset or none, or 0, which is "not yet"."""
    seconds = number_of(value)
    return float(seconds) if seconds and seconds < LATEST else None


class WireAnswer(msgspec.Struct, gc=False):
    """Rows are left for later: one that is odd must not cost the others."""

    errors: msgspec.Raw = NULL
    jobs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    partitions: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    nodes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class WireError(msgspec.Struct, gc=False):
    """Older versions say ``errno`` for the number."""

    error_number: int | None = None
    errno: int | None = None
    error: Name = Name("")
    description: Name = Name("")

    @property
    def number(self) -> int | None:
        return self.error_number if self.error_number is not None else self.errno

    def __str__(self) -> str:
        about = f"error {self.number}" if self.number else ""
        return ": ".join(dict.fromkeys(filter(None, (about, self.error, self.description))))


_answer = msgspec.json.Decoder(WireAnswer)


def open_answer(response: Response, rows: str) -> msgspec.Raw:
    """Return the list named `rows` of a successful answer.

    Raises the PollError that says what to do about any other.
    """
    answer = decoded(_answer, response.body)
    if answer is None:
        raise without_answer(response)
    if errors := errors_of(answer.errors):
        raise rejection(response.status, errors)
    if response.status != 200:  # noqa: PLR2004 - HTTP's OK
        raise without_answer(response)
    found: msgspec.Raw | msgspec.UnsetType = getattr(answer, rows)
    # Where there is nothing, the daemon sends an empty list.
    if found is msgspec.UNSET or bytes(found) == b"null":
        begin = excerpt(response.body)
        raise DecodeError(Text(f"the answer has no list of {rows}: {begin}", f"响应中没有 {rows} 列表：{begin}"))
    return found


def errors_of(raw: msgspec.Raw) -> list[WireError]:
    """Return the errors of an answer. One in a form that is not known is an error all the same."""
    try:
        value = msgspec.json.decode(raw)
        errors = value if isinstance(value, list) else [value] if value else []
        return [_error(each) for each in errors]
    except UNREADABLE:
        return [WireError(error=Name("an error that cannot be read"))]


def _error(value: Any) -> WireError:
    try:
        return msgspec.convert(value, WireError, strict=False, dec_hook=lenient)
    except UNREADABLE:
        return WireError(error=Name(value if isinstance(value, str) else "an error that cannot be read"))


def rejection(status: int, errors: list[WireError]) -> PollError:
    """Return the error for an answer that lists some, whatever its HTTP status."""
    numbers = {error.number for error in errors}
    number = next((each.number for each in errors if each.number), None)
    label = None if number is None else str(number) if number in LISTED else "other"
    texts = "; ".join(filter(None, (one_line(str(error)) for error in errors[:QUOTED])))
    said = f"HTTP {status}, {texts}" if texts else f"HTTP {status}"
    if UNAUTHENTICATED in numbers or _UNAUTHENTICATED in texts.casefold() or status in (401, 511):
        return AuthenticationError(_with(TOKEN_REJECTED, said), api_code=label)
    if ACCESS_DENIED in numbers or status == 403:  # noqa: PLR2004 - HTTP's Forbidden
        return PermissionDeniedError(_with(FORBIDDEN, said), api_code=label)
    if 400 <= status < 500:  # noqa: PLR2004 - the class of the client's errors
        return ApiError(_with(Text("Slurm rejected the request", "Slurm 拒绝了请求"), said), api_code=label)
    return UpstreamBusyError(_with(Text("Slurm failed", "Slurm 出错"), said), api_code=label)


def _with(text: Text, said: str) -> Text:
    """Return a text with what was answered."""
    return Text(f"{text.en} ({said})", f"{text.zh}（{said}）")


def without_answer(response: Response) -> PollError:
    """Return the error for an answer that is none of the API's, by its HTTP status."""
    status, begin = response.status, excerpt(response.body)
    said = f"HTTP {status}: {begin}"
    told = retry_after_of(response.headers, response.received)
    if status == 429 or (status == 503 and told is not None):  # noqa: PLR2004 - HTTP
        pause = random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE) if told is None else told  # noqa: S311 - spreads load
        text = Text(f"rate limited: next request in {pause:.0f} s", f"被限流：{pause:.0f} 秒后再请求")
        return ThrottledError(_with(text, said), retry_after=pause)
    match status:
        case 200:
            return DecodeError(Text(f"the answer is not slurmrestd's: {begin}", f"响应不是 slurmrestd 的：{begin}"))
        case 401 | 511:
            return AuthenticationError(_with(TOKEN_REJECTED, said))
        case 403:
            return PermissionDeniedError(_with(FORBIDDEN, said))
        case 404 | 501:
            return VersionNotServedError(said)
    text = http_error(status, response.body)
    return ServerError(text) if status >= 500 else UnexpectedStatusError(text)  # noqa: PLR2004 - server errors


def read_token(token: str) -> Issued:
    """Return the expiry and the user of `token`, as ``scontrol token`` makes it."""
    return read_jwt(token, "exp", "sun")
