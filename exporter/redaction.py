"""The one place that knows every secret of the process, and takes them out of texts before they are shown.

Known are the secrets of the configurations in use (`hold`), and the last few that were sent, obtained or replaced
(`remember`). In a text, a secret is found as a whole or in part, wrapped over lines, percent-encoded, with the escapes
of JSON or HTML, and in base64.

Parts are found by an index of substrings of WIDTH bytes, taken at every STRIDE-th byte of a secret: any run of
SHORTEST_PART bytes of the secret contains one of them in full. So one lookup for each position in the text is enough,
however many secrets there are.
"""

import binascii
import html
import re
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from itertools import islice

SUBSTITUTE = "<secret>"
# Minimum number of consecutive characters of a longer secret that are taken out.
SHORTEST_PART = 12
WIDTH, STRIDE = 6, 7
assert WIDTH + STRIDE - 1 == SHORTEST_PART  # noqa: S101 - the index depends on it
# Shorter secrets are not redacted: replacing them would garble ordinary text.
SHORTEST_SECRET = WIDTH
# Tokens of logins, and secrets that were replaced, that are known at the same time. Each takes up to 5 KiB.
REMEMBERED = 2_000
# Tokens of one issuer share their beginning: to compare a text with a few of them is enough to take that out.
CANDIDATES = 16
# A secret of one letter, a thousand times, would be compared a thousand times at each place.
OCCURRENCES = 8

# Added by wrapping and escaping: line breaks and blanks, direction marks, control characters.
_UNSEEN = r"\s\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
_PIECE = re.compile(
    rf"(?P<plain>[^%&\\{_UNSEEN}]+)|%(?P<percent>[0-9A-Fa-f]{{2}})|\\u(?P<escape>[0-9A-Fa-f]{{4}})"
    rf"|(?P<entity>&(?:#[0-9]{{1,7}}|#[xX][0-9A-Fa-f]{{1,6}}|[a-z]{{2,6}});)|\\[nrtbf]?|[{_UNSEEN}]+|(?P<sign>[%&])"
)
# The same without escapes: an apparent one may be a part of the secret, or precede it.
_LETTERS = re.compile(rf"(?P<plain>[^{_UNSEEN}]+)")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_ESCAPING = re.compile(r"[%&\\]")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
# A JSON Web Token is recognized without being known.
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{9,}(?:\.[A-Za-z0-9_-]*){0,2}")

# The form of tokens: a long word that mixes letters and digits, or one too long to be a word.
_LONG_WORD, _LONGEST_WORD, _MIXED = 16, 24, 3

Spans = list[tuple[int, int]]


class Held:
    """Keeps a secret known for as long as this object lives."""

    __slots__ = ("_released", "_secret")

    def __init__(self, secret: str, released: deque[str]) -> None:
        self._secret = secret
        self._released = released

    def __del__(self) -> None:
        # May run at any moment, even during a change to the index: the next call removes the secret.
        self._released.append(self._secret)


class Redactor:
    """Takes the secrets that it knows out of texts. Safe to use from several threads."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._index: dict[bytes, bytes | dict[bytes, None]] = {}
        self._held: dict[str, int] = {}
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._released: deque[str] = deque()
        self._lock = threading.RLock()

    def hold(self, secret: str) -> Held:
        """Redact `secret` for as long as the returned object lives, and for a while after that."""
        with self._lock:
            self._let_go()
            if secret not in self._held and secret not in self._recent:
                self._add(secret)
            self._recent.pop(secret, None)
            self._held[secret] = self._held.get(secret, 0) + 1
        return Held(secret, self._released)

    def remember(self, secrets: Iterable[str]) -> None:
        """Redact `secrets` until `remembered` others have been remembered or released. Cheap for known ones."""
        for secret in secrets:
            if secret not in self._held:
                with self._lock:
                    self._let_go()
                    self._keep(secret)

    def redact(self, text: str) -> str:
        """`text` with SUBSTITUTE in the place of every secret, or part of one."""
        spans = [match.span() for match in _JWT.finditer(text)] if "eyJ" in text else []
        if self._index and len(text) >= SHORTEST_SECRET:
            spans += self._spans(text)
        return replaced(text, spans) if spans else text

    def forget(self) -> None:
        """Forget all secrets. For tests, which share a process."""
        with self._lock:
            for known in (self._index, self._held, self._recent, self._released):
                known.clear()

    def _let_go(self) -> None:
        while self._released:
            secret = self._released.popleft()
            count = self._held.get(secret, 0)
            if count > 1:
                self._held[secret] = count - 1
            elif count:
                del self._held[secret]
                self._recent[secret] = None
                self._trim()

    def _keep(self, secret: str) -> None:
        if secret in self._held:
            return
        if secret in self._recent:
            self._recent.move_to_end(secret)
            return
        self._add(secret)
        self._recent[secret] = None
        self._trim()

    def _trim(self) -> None:
        while len(self._recent) > self._remembered:
            oldest, _ = self._recent.popitem(last=False)
            self._remove(oldest)

    def _add(self, secret: str) -> None:
        for form in forms(secret):
            for piece in pieces(form):
                there = self._index.get(piece)
                if there is None:
                    self._index[piece] = form
                elif isinstance(there, dict):
                    there[form] = None
                elif there != form:
                    self._index[piece] = {there: None, form: None}

    def _remove(self, secret: str) -> None:
        for form in forms(secret):
            for piece in pieces(form):
                there = self._index.get(piece)
                if there == form:
                    del self._index[piece]
                elif isinstance(there, dict):
                    there.pop(form, None)
                    if not there:
                        del self._index[piece]

    def _spans(self, text: str) -> Spans:
        """Return the spans of secrets in `text`, in no order; they may overlap."""
        plains = [Plain(text)]
        if _ESCAPING.search(text):
            plains.append(Plain(text, _LETTERS))
        spans: Spans = []
        for plain in plains:
            spans += [plain.span(start, end) for start, end in self._found(plain.content)]
            for run in _BASE64.finditer(plain.content):
                for offset in range(4):
                    first = run.start() + offset
                    decoded = decoded_base64(plain.content[first : run.end()])
                    for start, end in self._found(decoded):
                        # Three bytes are four letters.
                        spans.append(plain.span(first + start * 4 // 3, min(run.end(), first + -(-end * 4 // 3))))
        return spans

    def _found(self, content: bytes) -> Iterator[tuple[int, int]]:
        index = self._index
        # The end of what was compared with each form, by the position in the text at which it would begin.
        compared: dict[tuple[bytes, int], int] = {}
        for place in [i for i in range(len(content) - WIDTH + 1) if content[i : i + WIDTH] in index]:
            piece = content[place : place + WIDTH]
            for form in self._candidates(piece):
                for position in occurrences(piece, form):
                    shift = place - position
                    if compared.get((form, shift), 0) <= place:
                        start, end = common(content, form, place, position)
                        compared[form, shift] = end
                        if end - start >= min(SHORTEST_PART, len(form)):
                            yield start, end

    def _candidates(self, piece: bytes) -> Iterable[bytes]:
        """Return the first few that hold `piece`; none if another thread has removed the last one."""
        there = self._index.get(piece, {})
        if isinstance(there, bytes):
            return (there,)
        with self._lock:
            return tuple(islice(there, CANDIDATES))


class Plain:
    """A text as bytes, unwrapped and unescaped, with the position in the text that each byte comes from."""

    def __init__(self, text: str, pieces: re.Pattern[str] = _PIECE) -> None:
        content = bytearray()
        self._origin: list[int] = []
        self._ends: dict[int, int] = {}
        for match in pieces.finditer(text):
            start, end = match.span()
            if match.lastgroup is None:
                continue
            if match.lastgroup == "plain" and (piece := match[0]).isascii():
                content += piece.encode()
                self._origin.extend(range(start, end))
            elif match.lastgroup == "plain":
                for place, character in enumerate(match[0], start):
                    self._append(content, character.encode(errors="surrogatepass"), place)
            else:
                self._append(content, unescaped(match), start)
                self._ends[start] = end
        self.content = bytes(content)

    def _append(self, content: bytearray, encoded: bytes, place: int) -> None:
        content += encoded
        self._origin.extend([place] * len(encoded))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the part of the text that the bytes from `start` to `end` come from."""
        last = self._origin[end - 1]
        return self._origin[start], self._ends.get(last, last + 1)


def unescaped(match: re.Match[str]) -> bytes:
    """Return the text of an escape; `match` is one of _PIECE."""
    if percent := match["percent"]:
        return bytes.fromhex(percent)
    if escape := match["escape"]:
        return chr(int(escape, 16)).encode(errors="surrogatepass")
    return html.unescape(match[0]).encode(errors="surrogatepass")


def forms(secret: str) -> set[bytes]:
    """Return the forms of a secret to search for: as it is, and encoded."""
    # Without backslashes: a line break within what looks like an escape leaves its letters.
    plain = (Plain(secret), Plain(secret.replace("\\", "")), Plain(secret, _LETTERS))
    found = {secret.encode(errors="surrogatepass"), *(each.content for each in plain)}
    return {form for form in found if len(form) >= SHORTEST_SECRET}


def pieces(form: bytes) -> Iterator[bytes]:
    """Yield the substrings that index a secret; of a short one, which is only redacted as a whole, its beginning."""
    last = len(form) - WIDTH if len(form) >= SHORTEST_PART else 0
    for start in range(0, last + 1, STRIDE):
        yield form[start : start + WIDTH]
    # Selects the right one of thousands of secrets that differ in their last bytes only.
    if last % STRIDE:
        yield form[last:]


def occurrences(piece: bytes, form: bytes) -> Iterator[int]:
    position = form.find(piece)
    for _ in range(OCCURRENCES):
        if position < 0:
            return
        yield position
        position = form.find(piece, position + 1)


def common(content: bytes, form: bytes, place: int, position: int) -> tuple[int, int]:
    """Return the longest part of `content` around `place` that is in `form` around `position`."""
    start = place - position
    # Nearly always all of it is there.
    if start >= 0 and content.startswith(form, start):
        return start, start + len(form)
    before = 0
    while before < min(place, position) and content[place - before - 1] == form[position - before - 1]:
        before += 1
    after = 0
    while after < min(len(content) - place, len(form) - position) and content[place + after] == form[position + after]:
        after += 1
    return place - before, place + after


def decoded_base64(letters: bytes) -> bytes:
    """Decode base64 letters of either alphabet; a single letter at the end is ignored."""
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters.translate(_URL_SAFE) + b"=" * (-len(letters) % 4))


def replaced(text: str, spans: Spans) -> str:
    """`text` with SUBSTITUTE in the place of `spans`, of which some may overlap or touch."""
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    parts, last = [], 0
    for start, end in merged:
        parts += [text[last:start], SUBSTITUTE]
        last = end
    return "".join([*parts, text[last:]])


def resembles_secret(text: str) -> bool:
    """Whether `text`, found in a wrong place, may be a token: no plausible file name or number."""
    if _JWT.search(text):
        return True
    # Absolute paths are taken for paths, even if a part resembles a token.
    return not text.startswith("/") and any(map(is_random, re.findall(r"[\w.~+-]+", text, re.ASCII)))


def is_random(word: str) -> bool:
    digits = sum(character.isdigit() for character in word)
    letters = sum(character.isalpha() for character in word)
    if len(word) >= _LONG_WORD and min(digits, letters) >= _MIXED:
        return True
    return letters > 0 and any(len(part) >= _LONGEST_WORD for part in re.split(r"[-._]", word))


def withheld(text: str) -> str:
    """`text`, to be repeated to the person who wrote it, unless that may show a secret."""
    return SUBSTITUTE if resembles_secret(text) else text


# One for the process: no part of it may show a secret of another.
known = Redactor()
hold, remember, redact = known.hold, known.remember, known.redact
