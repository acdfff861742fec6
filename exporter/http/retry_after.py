"""The Retry-After header (RFC 9110, section 10.2.3): seconds, or an HTTP date; several of them where proxies add theirs."""

import email.utils
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC

_SECONDS = re.compile(r"([0-9]+)(?:\.[0-9]*)?")
_WEEKDAY = re.compile(r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?", re.IGNORECASE)
# No upstream means a pause of more digits than this, and reading endless text would take long.
_MOST_DIGITS = 9
_MOST_VALUES = 20
# Beside a shorter one, a pause longer than this (in seconds) is a mistake.
_SENSIBLE = 86_400.0


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Return the pause in seconds that all Retry-After headers together ask for; see `parse_retry_after`."""
    return parse_retry_after(",".join(value for name, value in headers.items() if name.lower() == "retry-after"), now)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the pause in seconds that `value` asks for, counted from `now` (unix time); None if nothing in it is usable.

    Of several values in a list it is the longest of at most a day, or else the shortest.
    """
    pauses = [pause for each in _values(value or "") if (pause := _pause(each, now)) is not None]
    sensible = [pause for pause in pauses if pause <= _SENSIBLE]
    return max(sensible) if sensible else min(pauses, default=None)


def _values(text: str) -> Iterator[str]:
    """Yield the members of a list; the comma after the weekday belongs to a date."""
    weekday = ""
    for part in text.split(",", 2 * _MOST_VALUES)[: 2 * _MOST_VALUES]:
        if _WEEKDAY.fullmatch(part.strip()):
            weekday = part + ","
        else:
            yield weekday + part
            weekday = ""


def _pause(value: str, now: float) -> float | None:
    text = value.strip()
    if text.isascii() and (number := _SECONDS.fullmatch(text)):
        return float(text) if len(number[1]) <= _MOST_DIGITS else math.inf
    try:
        moment = email.utils.parsedate_to_datetime(text)
        # HTTP dates are in GMT; one that does not say so would be taken for this machine's local time.
        return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None
