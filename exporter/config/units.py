"""Durations and sizes as people write them.

Durations are in Prometheus' notation without years: ``500ms``, ``15s``, ``5m``, ``1h30m``, ``2d``. Sizes are whole
numbers with a decimal or binary unit: ``64MiB``, ``512KiB``, ``2GB``.
"""

import re

from exporter.redaction import withheld

_MILLISECONDS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _MILLISECONDS))
_BARE_NUMBER = re.compile(r"[0-9]{1,9}")
_BYTES = {"GiB": 1024**3, "GB": 1000**3, "MiB": 1024**2, "MB": 1000**2, "KiB": 1024, "kB": 1000, "B": 1}
_SIZE = re.compile(f"([0-9]{{1,12}})({'|'.join(_BYTES)})")


def parse_duration(text: str) -> float:
    """Return the seconds that `text` stands for; "0" needs no unit.

    Raises:
        ValueError: with a text for the person who wrote it.

    """
    if text == "0":
        return 0.0
    if _BARE_NUMBER.fullmatch(text):
        raise ValueError(f"{text} has no unit: write {text}s")
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise ValueError(
            f"{withheld(text)[:40]!r} is not a duration: write whole numbers with the units w, d, h, m, s, ms in this order,"
            " like 30s or 1h30m"
        )
    amounts = zip(match.groups(default="0"), _MILLISECONDS.values(), strict=True)
    return sum(int(amount) * unit for amount, unit in amounts) / 1000


def format_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads back, to the millisecond; `seconds` is not negative."""
    rest = round(seconds * 1000)
    parts = []
    for unit, size in _MILLISECONDS.items():
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0"


def parse_size(text: str) -> int:
    """Return the bytes that `text` stands for.

    Raises:
        ValueError: with a text for the person who wrote it.

    """
    if re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(f"{text} has no unit: write a size like 64MiB")
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(
            f"{withheld(text)[:40]!r} is not a size: write a whole number with a unit of B, kB, MB, GB, KiB, MiB, GiB, like 64MiB"
        )
    return int(match[1]) * _BYTES[match[2]]


def format_size(size: int) -> str:
    """Return the shortest text that `parse_size` reads back."""
    return min((f"{size // of_unit}{unit}" for unit, of_unit in _BYTES.items() if size % of_unit == 0), key=len)
