"""Text that others wrote, made fit for a terminal and for a log.

A control character (C0, C1) moves the cursor or begins an escape sequence; a direction mark turns around what is read; of
characters without a glyph nobody knows that they are there. None of them is let through.
"""

import json
import re

# Printable, says Unicode, and yet nothing is seen of them.
_WITHOUT_GLYPH = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0"
_SUSPECT = re.compile(r"[^\x20-\x7e]")
_HIDDEN = re.compile(f"[{_WITHOUT_GLYPH}]")


def is_visible(character: str) -> bool:
    """Whether a character is a blank, or shows itself and nothing else."""
    return character.isprintable() and _HIDDEN.match(character) is None


def printable(text: str, *, but: str = "") -> str:
    """`text` with a replacement character for each one that is not visible, except those in `but`."""
    return _SUSPECT.sub(lambda found: found[0] if found[0] in but or is_visible(found[0]) else "\ufffd", text)


def escaped(text: str, *, but: str = "") -> str:
    r"""`text` with ``\uXXXX``, as JSON has it, for each character that is not visible, except those in `but`."""

    def shown(found: re.Match[str]) -> str:
        return found[0] if found[0] in but or is_visible(found[0]) else json.dumps(found[0])[1:-1]

    return _SUSPECT.sub(shown, text)
