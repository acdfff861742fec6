"""Requests and answers: bodies as JSON in UTF-8, Retry-After, clock skew, and excerpts for messages."""

import email.utils
import html
import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Final

import msgspec

from exporter.redaction import redact
from exporter.text import Text, on_one_line

MESSAGE_LIMIT = 200
# Bytes of a body that are looked at for its excerpt: a page in HTML begins with its styles.
EXCERPT_LIMIT = 4096
# Characters, white space folded, that are redacted before a text is cut to MESSAGE_LIMIT.
LONGEST_MESSAGE: Final = 4 * MESSAGE_LIMIT
WORD: Final = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f]{{1,{LONGEST_MESSAGE}}}")
# A mobile number of China, as messages of a platform may name its users.
PHONE: Final = re.compile(r"(?<![0-9A-Za-z_.+-])(?:\+?86[ -]?)?1[3-9][0-9]{9}(?![0-9A-Za-z_])")
FIRST_VISIBLE: Final = re.compile(rb"[^\s\x00]")
EMPTY: Final = Text("an empty body", "响应体为空")
# Seconds of clock skew from which on there is a warning. Less may be a slow answer, and does no harm.
ALARMING_SKEW = 60.0
# The Date header has whole seconds, and the answer was some time on its way.
DATE_RESOLUTION = 2.0

HTML_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
HTML_MARKUP: Final = re.compile(
    r"<(?:script|style)\b.*?(?:</(?:script|style)\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^>]*(?:>|\Z)", re.IGNORECASE | re.DOTALL
)

# All of them are parts of GB 18030.
_GB_NAMES: Final = frozenset({"gbk", "x-gbk", "gb2312", "gb_2312-80", "gb18030", "cp936", "ms936", "windows-936"})
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)

# An escape sequence: a surrogate pair, a surrogate on its own, or anything else.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
# A string, or a number that JSON does not have but that some languages write.
_NOT_A_NUMBER: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"|(-?\b(?:NaN|Infinity)\b)', re.DOTALL)

_SECONDS = re.compile(r"([0-9]+)(?:\.[0-9]*)?")
_WEEKDAY = re.compile(r"(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?", re.IGNORECASE)
# A pause of more digits is a mistake, and parsing endless text would take long.
_MOST_DIGITS = 9
_MOST_VALUES = 20
# Beside a shorter one, a pause longer than this (in seconds) is a mistake.
_SENSIBLE = 86_400.0


# Both are made at every poll: structs, because a frozen dataclass takes five times as long to make.
class Request(msgspec.Struct, frozen=True):
    """One HTTP request. `url` is complete and already percent-encoded; `secrets` are those that it carries."""

    collector: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    data: bytes | None = None
    # False for a call that changes something: it may have succeeded although its answer was lost.
    repeatable: bool = True

    def __repr__(self) -> str:
        """Without headers, secrets and data."""
        return f"Request(collector={self.collector!r}, url={self.url!r}, method={self.method!r})"


class Response(msgspec.Struct, frozen=True):
    """A complete answer; `received` is the Unix time at which it had arrived."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    received: float


def readable(response: Response) -> Response:
    """Return the answer with its body as JSON in UTF-8."""
    body = utf8_json(response.body, response.headers)
    return response if body is response.body else msgspec.structs.replace(response, body=body)


def utf8_json(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return `body` in UTF-8 without byte order mark and lone surrogates; the same object if nothing had to change.

    One name that was truncated or is in another encoding must not make the whole answer unreadable: undecodable parts
    become U+FFFD.
    """
    if not body.isascii() or b"\0" in body[:4]:
        body = _transcoded(body, headers.get("Content-Type", ""))
    # The first is many times faster than the others, and nearly always enough.
    if b"\\" not in body or (b"\\ud" not in body and b"\\uD" not in body):
        return body
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)


def without_nan(body: bytes) -> bytes:
    """Return `body` with null for NaN and Infinity, which are no JSON."""
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
    """Return the text of a body whose encoding is not declared, or declared wrongly.

    UTF-8 with a broken character here and there has more intact ones; hardly any GBK text is valid UTF-8.
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


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Return the pause in seconds that all Retry-After headers together ask for; see `parse_retry_after`."""
    return parse_retry_after(",".join(value for name, value in headers.items() if name.lower() == "retry-after"), now)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the pause of a Retry-After (RFC 9110, 10.2.3) in seconds from `now` (Unix time); None if it is not usable.

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
    moment = _unix_time(text)
    return None if moment is None else max(0.0, moment - now)


def _unix_time(http_date: str) -> float | None:
    try:
        moment = email.utils.parsedate_to_datetime(http_date)
        # HTTP dates are in GMT; one that does not say so would be taken for this machine's local time.
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def clock_skew(response: Response) -> float | None:
    """Return this machine's clock minus the server's in seconds, by its Date header (RFC 9110, 6.6.1), or None."""
    moment = _unix_time(response.headers.get("Date", ""))
    return None if moment is None else response.received - moment


def describe_skew(skew: float) -> Text:
    """Return the message about a clock that is off by `skew` seconds."""
    en, zh = ("ahead of", "快") if skew > 0 else ("behind", "慢")
    return Text(
        f"this machine's clock is {abs(skew):.0f} s {en} the server's, and signatures need the right time: set it",
        f"本机时钟比服务器{zh} {abs(skew):.0f} 秒，而签名需要准确的时间，请校准",
    )


def excerpt(body: bytes) -> str:
    """Return the start of a body that was not understood; of a page in HTML its title, or its text without markup."""
    first = FIRST_VISIBLE.search(body)
    start = first.start() if first else 0
    text = body[start : start + EXCERPT_LIMIT].decode(errors="replace")
    return one_line(text_of_page(text) if text.lstrip()[:1] == "<" else text) or EMPTY.en


def text_of_page(page: str) -> str:
    """Return the title of a page in HTML, or its text where it has none."""
    title = HTML_TITLE.search(page)
    return html.unescape(HTML_MARKUP.sub(" ", title[1] if title else page))


def http_error(status: int, body: bytes) -> Text:
    """Return the message for an HTTP status whose body is not the API's; pages in HTML repeat the status."""
    said = one_line(excerpt(body).removeprefix(str(status)))
    if said in ("", EMPTY.en):
        return Text(f"HTTP {status}: {EMPTY.en}", f"HTTP {status}，{EMPTY.zh}")
    return Text(f"HTTP {status}: {said}", f"HTTP {status}：{said}")


def one_line(text: str) -> str:
    """Return printable text of bounded length, white space folded. Secrets and phone numbers are redacted before it is cut."""
    words, size = list[str](), 0
    for match in WORD.finditer(text):
        words.append(match[0])
        size += len(match[0])
        if size >= LONGEST_MESSAGE:
            break
    return on_one_line(PHONE.sub("<phone>", redact(" ".join(words))))[:MESSAGE_LIMIT]
