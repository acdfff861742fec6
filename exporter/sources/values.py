"""Lenient decoding of single JSON values. A malformed value must not affect others."""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Annotated, Final

import msgspec

from exporter.http import Issued, one_line

# More of anything than this is not a count. Numeric text is met as well: the decoders are lenient (strict=False).
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
OptionalCount = Count | None
UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
NULL: Final = msgspec.Raw(b"null")

# Texts that APIs and the tools behind them send for an unknown amount.
_SAYS_NOTHING: Final = frozenset({"", "-", "--", "---", "n/a", "na", "none", "null", "unknown", "-1"})
# A whole number as sent by a program that knows only floating-point numbers.
_WHOLE: Final = re.compile(r"(-?[0-9]+)\.0+")
_NUMBER: Final = re.compile(r"[-+]?[0-9]{1,20}(\.[0-9]{0,20})?", re.ASCII)
_EXACT: Final = 2**53  # a floating-point number above it has lost digits

_count = msgspec.json.Decoder(OptionalCount, strict=False)


def count_of(raw: msgspec.Raw) -> tuple[int | None, bool]:
    """Return the count, None if it is unknown; and whether the value is malformed, not a usual way to say "unknown"."""
    try:
        return _count.decode(raw), False
    except UNREADABLE:
        value = value_of(raw)
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in _SAYS_NOTHING:
            return None, False
        try:
            return msgspec.convert(text, Count, strict=False), False
        except UNREADABLE:
            return None, True
    return None, isinstance(value, bool) or value != -1


class Id(str):
    """An id in a row: text, a number, or 1638523853.0.

    Decode with `lenient`; ``str()`` makes it text that msgspec encodes.
    """

    __slots__ = ()


class Name(str):
    """A name in a row: text, a number or a boolean; null is "". Decode with `lenient`."""

    __slots__ = ()


class Amount(float):
    """A number of any unit in a row, with a fraction or without, also as text. Decode with `lenient`."""

    __slots__ = ()


def lenient(kind: type, value: object) -> object:
    """Decode `Id`, `Name` and `Amount`, as the ``dec_hook`` of msgspec.

    Raises ValueError for a value that is none of these.
    """
    found: object = None
    if kind is Id:
        found = as_id(value)
    elif kind is Name:
        found = "" if value is None else text_from(value)
    elif kind is Amount:
        found = _amount(value)
    if found is None:
        raise ValueError(f"not a usable {kind.__name__.lower()}")
    return kind(found)


def not_negative(amount: float | None) -> float | None:
    """Return an amount; None for one below 0, which stands for "no limit" or "unknown"."""
    return None if amount is None or amount < 0 else amount


def amount_of(raw: msgspec.Raw) -> tuple[Amount | None, bool]:
    """As `count_of`, for a number of any unit."""
    value = value_of(raw)
    found = _amount(value)
    if found is not None:
        return Amount(found), False
    said = value.strip().casefold() in _SAYS_NOTHING if isinstance(value, str) else bytes(raw).strip() == b"null"
    return None, not said


# Types of fields that may say that a number is unknown, and what reads them.
MAY_BE_UNKNOWN: Final[Mapping[object, Callable[[msgspec.Raw], tuple[object, bool]]]] = {
    OptionalCount: count_of,
    Amount | None: amount_of,
}


def _amount(value: object) -> float | None:
    """Return a finite number that is not beyond all bounds; None for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _EXACT:
        return None
    return float(value)


def text_of(raw: msgspec.Raw) -> str | None:
    """Return a name, "" where there is none; None for anything but text, number, boolean and null."""
    return "" if bytes(raw).strip() == b"null" else text_from(value_of(raw))


def text_from(value: object) -> str | None:
    """Return a text, a number or a boolean as text; None for anything else."""
    match value:
        case str(text):
            return text
        case bool(flag):
            return "true" if flag else "false"
        case int(number) | float(number):
            return whole(number)
    return None


def as_id(value: object) -> str | None:
    """Return a text or a number as an id; None for anything else, and for one that cannot be used."""
    if isinstance(value, str):
        return id_of_text(value)
    return id_of_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def id_of_number(number: float) -> str | None:
    """Return an id as text; None for a number with a fraction, and for one that may have lost digits."""
    if isinstance(number, int):
        return str(number)
    return str(int(number)) if number.is_integer() and abs(number) <= _EXACT else None


def id_of_text(text: str) -> str | None:
    """Return an id without blanks around it, 1638523853.0 as 1638523853; None if it is empty."""
    text = text.strip()
    if text.endswith("0") and (match := _WHOLE.fullmatch(text)):
        return match[1]
    return text or None


def whole(number: float) -> str:
    """Return a number as people write it: without a fraction where it has none."""
    return id_of_number(number) or str(number)


def word_of(raw: msgspec.Raw) -> str:
    """Return the word expected here, or else the value in its place, in one printable line of bounded length."""
    value = value_of(raw)
    if isinstance(value, str):
        return one_line(value)
    text = bytes(raw)[:200].decode(errors="replace")
    return "" if text == "null" else one_line(text)


def value_of(raw: msgspec.Raw) -> object:
    """Return any JSON value; None for null and for unreadable ones, such as a number beyond the range of a float."""
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        return None


def read_jwt(token: str, expires: str, owner: str) -> Issued:
    """Return a JWT, which its server signed with a secret of its own, and the values of its claims of these names.

    Unknown where it does not decode, for it may still be accepted.
    """
    try:
        _, payload, _ = token.split(".")
        body = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        claims = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return Issued(token)
    ends, user = (value_of(claims.get(name, NULL)) for name in (expires, owner))
    return Issued(token, epoch_seconds(ends), as_id(user) or "")


# A number of seconds or milliseconds, of at most 15 digits before the point.
_TIME = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
_HAS_TIME = re.compile(r"[T ][0-9]")
# In seconds: September 2001 to the year 2242. As milliseconds the same numbers mean days of 1970; and a date and time without
# anything between its digits, as 20261129100000, is none of both.
_EARLIEST, LATEST = 1e9, 2.0**33


def epoch_seconds(value: object, zone: tzinfo | None = None) -> float | None:
    """Return a moment in seconds since the epoch, met as seconds, milliseconds (numbers or text) or ISO 8601.

    ISO text has a date and a time. `zone` is that of text without an offset; without a zone such text says nothing, nor
    does a time that the zone's clocks showed twice or skipped. None for anything else, and for a moment before
    September 2001: no token ends there, 1970 is what zero looks like.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        text = str(value).strip()
        seconds = _number_of_seconds(text) if _TIME.fullmatch(text) else _moment(text, zone)
    except (ValueError, OverflowError):
        return None
    return seconds if seconds is not None and _EARLIEST <= seconds < LATEST else None


def _number_of_seconds(text: str) -> float:
    # Seconds and milliseconds differ by so much that the magnitude tells.
    number = float(text)
    return number if number < LATEST else number / 1000


def _moment(text: str, zone: tzinfo | None) -> float | None:
    """Return the seconds since the epoch of a date and time in ISO 8601. Raises ValueError for anything else."""
    if not _HAS_TIME.search(text):
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
        # Both differ where clocks are put back and forth: nothing says which of the two is meant.
        if moment.utcoffset() != moment.replace(fold=1).utcoffset():
            return None
    return None if moment.tzinfo is None else moment.timestamp()
