"""Sizes as people write them: ``64MiB``, ``512KiB``, ``2GB``; decimal and binary units."""

import re

from exporter.redaction import withheld

_BYTES = {"GiB": 1024**3, "GB": 1000**3, "MiB": 1024**2, "MB": 1000**2, "KiB": 1024, "kB": 1000, "B": 1}
_SIZE = re.compile(f"([0-9]{{1,12}})({'|'.join(_BYTES)})")


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
