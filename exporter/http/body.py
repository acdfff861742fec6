"""Bodies of answers as JSON in UTF-8, whatever wrote them: byte order marks, GBK, halves of characters, NaN."""

import json
import re
from collections.abc import Mapping
from typing import Final

# All of them are parts of GB 18030.
_GB_NAMES: Final = frozenset({"gbk", "x-gbk", "gb2312", "gb_2312-80", "gb18030", "cp936", "ms936", "windows-936"})
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)

# An escape sequence: a surrogate pair, a surrogate on its own, or anything else.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
# A string, or a number that JSON does not have but that some languages write.
_NOT_A_NUMBER: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|(-?\b(?:NaN|Infinity)\b)', re.DOTALL)


def utf8_json(body: bytes, headers: Mapping[str, str]) -> bytes:
    """`body` in UTF-8 without a byte order mark and without half a character; the very same if it is so already.

    One name that was cut or is in another encoding must not cost the whole answer: what cannot be read of a text becomes
    U+FFFD.
    """
    if not body.isascii() or b"\0" in body[:4]:
        body = _transcoded(body, headers.get("Content-Type", ""))
    # The first is many times faster than the others, and nearly always enough.
    if b"\\" not in body or (b"\\ud" not in body and b"\\uD" not in body):
        return body
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)


def without_nan(body: bytes) -> bytes:
    """`body` with null in the place of NaN and Infinity, which are no JSON."""
    return _NOT_A_NUMBER.sub(lambda found: b"null" if found[1] else found[0], body)


def _transcoded(body: bytes, content_type: str) -> bytes:
    # By the zeros and marks at the beginning, as RFC 4627 describes it.
    unicode = json.detect_encoding(body)
    if unicode != "utf-8":
        return body.decode(unicode, "replace").encode()
    named = _CHARSET.search(content_type)
    if named and named[1].lower() in _GB_NAMES and (text := _gb(body)) is not None:
        return text.encode()
    try:
        body.decode()
    except UnicodeDecodeError:
        return _guessed(body).encode()
    return body


def _guessed(body: bytes) -> str:
    """Text of a body that does not say how it is encoded, or says it wrongly.

    UTF-8 with a broken character here and there has more whole ones; of text in GBK hardly anything is UTF-8.
    """
    text = body.decode(errors="replace")
    broken = text.count("\ufffd")
    whole = sum(character > "\x7f" for character in text) - broken
    if broken > whole and (gb := _gb(body)) is not None:
        return gb
    return text


def _gb(body: bytes) -> str | None:
    try:
        return body.decode("gb18030")
    except UnicodeDecodeError:
        return None
