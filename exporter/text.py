"""Text in two languages, sizes in words, and foreign text made fit for a terminal and for a log.

A control character (C0, C1) moves the cursor or begins an escape sequence; a direction mark reorders the text;
characters without a glyph are invisible. All of them are replaced.
"""

import json
import re
from collections.abc import Callable
from typing import NamedTuple


class Text(NamedTuple):
    """The same sentence or word in English and in Chinese."""

    en: str
    zh: str


# Printable according to Unicode, but invisible.
_WITHOUT_GLYPH = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0"
_SUSPECT = re.compile(r"[^\x20-\x7e]")
_DIGITS = re.compile(r"([0-9]{1,18})")
_HIDDEN = re.compile(f"[{_WITHOUT_GLYPH}]")


def counted(number: int, noun: str) -> str:
    """Return a number of things in English."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str, *, but: str = "") -> str:
    """`text` with a replacement character for each one that is not visible, except those in `but`."""
    return _replaced(text, but, lambda _character: "\ufffd")


def escaped(text: str, *, but: str = "") -> str:
    r"""`text` with JSON's ``\u`` escape for each character that is not visible, except those in `but`."""
    return _replaced(text, but, lambda character: json.dumps(character)[1:-1])


def encodable(text: str) -> str:
    r"""`text` with an escape like ``\udce9`` for what UTF-8 cannot hold: bytes of a file's name that is not UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def on_one_line(text: str) -> str:
    """`text` with a blank for what is not visible, white space folded."""
    return " ".join(_replaced(text, "", lambda _character: " ").split())


def in_units(size: int) -> str:
    """Return a number of bytes for people, to three digits."""
    for unit, of_unit in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= of_unit:
            return f"{size / of_unit:.3g} {unit}"
    return f"{size} bytes"


def natural(text: str) -> list[str | int]:
    """Return a key by which text is sorted as people expect: user2 before user10, whatever the case."""
    parts = enumerate(_DIGITS.split(text))
    return [int(part) if index % 2 else part.casefold() for index, part in parts]


def _replaced(text: str, but: str, replacement: Callable[[str], str]) -> str:
    """`text` with a replacement of each invisible or control character, except those in `but`."""

    def replaced(found: re.Match[str]) -> str:
        character = found[0]
        visible = character.isprintable() and _HIDDEN.match(character) is None
        return character if visible or character in but else replacement(character)

    return _SUSPECT.sub(replaced, text)
