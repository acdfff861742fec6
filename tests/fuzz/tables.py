"""Fuzzing of the report, from the answers of a Prometheus to CSV, and of redaction."""

import base64
import csv
import html
import io
import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import UTC
from typing import Final
from urllib.parse import quote, unquote

from exporter.cli.report import as_csv, document, outcomes_of, table
from exporter.cli.report_sources import BY, Counters, Period, Report, Sums, Vector, vector
from exporter.errors import PollError
from exporter.http import Response
from exporter.redaction import OCCURRENCES, SHORTEST_PART, WIDTH, Redactor
from tests.fuzz.answers import as_json, loop
from tests.fuzz.target import NOW, FuzzTarget, of_json, split

# --- The report: what is in the CSV is what was found, and no cell is a formula ---------------------------------------

PERIOD: Final = Period(NOW - 86_400, NOW, UTC)
BYS: Final = ("cluster,group,user", "user", "queue", "group,queue", "cluster", "user,group", "cluster,group,user,queue")
AMOUNTS: Final = tuple(each.name for each in fields(Sums) if each.name != "outcomes")


def report(data: bytes) -> None:
    """Take the names of a report's rows, and the answer to each query."""
    names, body = split(data)
    by = [name for name in names[0].split(",") if name in BY]
    if not by:
        return

    async def query(_expression: str) -> Vector:
        return vector(Response(200, body, {}, NOW), {})

    counters = Counters(query, PERIOD, by)
    try:
        loop().run_until_complete(counters.read())
    except PollError:
        return
    found = Report("prometheus", dict(counters.sums))
    check_csv(found, by)
    json.loads(document(found, PERIOD, by))
    # A row is one line: the title, the rule below it, one each, and the sums.
    lines = table(found, by, io.StringIO()).splitlines()
    assert len(lines) >= len(found.sums), lines


def check_csv(found: Report, by: list[str]) -> None:
    text = as_csv(found, by)
    title, *rows = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    outcomes = [*outcomes_of(found)]
    assert title == [*by, "jobs", *map(harmless, outcomes), *AMOUNTS], title
    shown = {tuple(row[: len(by)]): row[len(by) :] for row in rows}
    assert len(rows) == len(found.sums)
    for key, sums in found.sums.items():
        jobs, *numbers = shown[tuple(map(harmless, key))]
        counts, amounts = numbers[: len(outcomes)], numbers[len(outcomes) :]
        assert jobs == ("" if sums.jobs is None else str(sums.jobs))
        known = sums.outcomes
        assert counts == ["" if known is None else str(known.get(each, 0)) for each in outcomes]
        for name, amount in zip(AMOUNTS, amounts, strict=True):
            value = getattr(sums, name)
            assert (amount == "") is (value is None), (name, amount, value)
            assert value is None or abs(float(amount) - value) <= 0.0005 + 1e-12 * abs(value), (name, amount, value)
    for cell in (cell for row in (title, *rows) for cell in row):
        assert not cell.startswith(tuple("=+@\t\r")), cell
        assert not cell.startswith("-") or re.fullmatch(r"-[0-9.]+", cell), cell


def harmless(text: str) -> str:
    """Return a text as a spreadsheet does not take it for a formula."""
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") else text


def report_seeds() -> Iterator[bytes]:
    labels = (
        {
            "hpc_cluster": "kunshan",
            "group": "chemistry",
            "user": "alice",
            "outcome": "completed",
            "queue": "comp",
            "le": "60",
        },
        {"hpc_cluster": "=1+1", "group": 'a,b\n"c', "user": "王\u00a0", "outcome": "failed", "queue": "", "le": "+Inf"},
        {"hpc_cluster": "'-x", "group": "\ufeff\tx\r", "user": "@b", "outcome": "\u2028", "queue": "gpu", "le": "0.5"},
    )
    result = [
        {"metric": each, "value": [NOW, value]}
        for each, value in zip(labels, ("3.0001", "1e-7", "12345678.9"), strict=True)
    ]
    for by in BYS:
        yield by.encode() + b"\n" + as_json({"status": "success", "data": {"resultType": "vector", "result": result}})


REPORT_KEYS: Final = (
    "hpc_cluster",
    "group",
    "user",
    "outcome",
    "queue",
    "le",
    "metric",
    "value",
    "result",
    "status",
    "error",
    "data",
)

# Redaction: of a secret whole, in part, wrapped, encoded and within other text, no long part is left in any of these.

UNSEEN: Final = re.compile(r"\s")
SHAPES: Final[tuple[Callable[[str, int], str], ...]] = (
    lambda secret, _: secret,
    lambda secret, n: f"{secret[:n]}\n   {secret[n:]}",
    lambda secret, n: base64.b64encode(("u" * (n % 3) + secret).encode()).decode(),
    lambda secret, n: base64.urlsafe_b64encode((secret + "u" * n).encode()).decode(),
    lambda secret, _: base64.encodebytes(secret.encode() * 3).decode(),
    lambda secret, _: quote(secret, safe=""),
    lambda secret, _: json.dumps(json.dumps(secret)),
    lambda secret, n: f"{secret}{secret[:n]}{secret}",
    # Every letter as an escape, and base64 that is escaped itself.
    lambda secret, _: "".join(f"%{byte:02x}" for byte in secret.encode()),
    lambda secret, _: "".join(f"\\u{ord(letter):04X}" for letter in secret),
    lambda secret, _: "".join(f"&#{ord(letter)};" for letter in secret),
    lambda secret, _: "".join(f"&#x{ord(letter):x};" for letter in secret),
    lambda secret, n: quote(base64.b64encode(("u" * (n % 3) + secret).encode()).decode(), safe=""),
    lambda secret, _: json.dumps(base64.encodebytes(secret.encode() * 3).decode()).replace("/", "\\/"),
    lambda secret, n: "\r\n\t".join(textwrap.wrap(base64.b64encode(("user:" + secret).encode()).decode(), 4 + n % 70)),
    lambda secret, n: html.escape(f"{secret[:n]}<wbr>{secret[n:]}") if n >= SHORTEST_PART else html.escape(secret),
)
# Readings of a text as others read it.
READINGS: Final[tuple[Callable[[str], str], ...]] = (
    unquote,
    html.unescape,
    lambda text: re.sub(r"\\u([0-9a-fA-F]{4})", lambda escape: chr(int(escape[1], 16)), text),
)


def redaction(data: bytes) -> None:
    numbers, (secret, before, after) = data[:3].ljust(3), (*data[3:].decode(errors="replace").split("\0"), "", "")[:3]
    secret = "".join(character for character in secret if "!" <= character <= "~")[:80]
    windows = Counter(secret[place : place + WIDTH] for place in range(len(secret)))
    # One letter again and again is compared with the text at a few places only.
    if len(secret) < SHORTEST_PART or max(windows.values()) > OCCURRENCES:
        return
    known = Redactor()
    known.remember([secret, "another-secret-0123456789"])
    start = numbers[1] % (len(secret) - SHORTEST_PART + 1)
    part = secret[start:] if numbers[0] & 8 else secret
    text = before + SHAPES[numbers[0] & 7 | numbers[0] >> 4 & 8](part, 1 + numbers[2] % len(part)) + after
    shown = known.redact(text)
    assert not contained(secret, UNSEEN.sub("", shown)), (secret, text, shown)
    if not re.search(r"[\\%&]", secret):
        for reading in READINGS:
            assert not contained(secret, UNSEEN.sub("", reading(shown))), (secret, text, shown)
    for run in re.findall(r"[\w+/-]{16,}", UNSEEN.sub("", shown), re.ASCII):
        for offset in range(4):
            letters = run[offset:].translate(str.maketrans("-_", "+/"))
            decoded = base64.b64decode(letters[: len(letters) // 4 * 4]).decode("latin-1")
            assert not contained(secret, decoded), (secret, text, shown)


def redaction_seeds() -> Iterator[bytes]:
    yield b"0aaeX0-s3cret.token_of/the+region\0u:\0 end"
    yield b"2bbpass%41word&amp;\\u0041-0123\0\0x"
    for shape in range(len(SHAPES)):
        yield bytes([shape & 7 | (shape & 8) << 4]) + b"bbeX0-s3cret.token_of/the+region\0u:\0 end"


def contained(secret: str, text: str) -> bool:
    """Whether a part of `secret` that is long enough to be taken out stands in `text`.

    What looks like an escape counts as the one letter that it may stand for.
    """
    length = SHORTEST_PART + 5 * sum(map(secret.count, "\\%&"))
    return any(secret[start : start + length] in text for start in range(len(secret) - length + 1))


TARGETS: Final = {
    "report": FuzzTarget(
        report,
        report_seeds,
        of_json(BYS, keys=REPORT_KEYS),
        (*REPORT_KEYS, "success", "NaN", "+Inf", '"=', '"-', '"@', "\\r", "\\n", ","),
    ),
    "redaction": FuzzTarget(
        redaction,
        redaction_seeds,
        tokens=(
            "\0",
            "%41",
            "\\u0041",
            "&amp;",
            "&#65;",
            "\\n",
            "\\",
            "%",
            "&",
            "\n",
            "\u200b",
            "eyJ",
            "Bearer ",
            "+/=",
        ),
        longest=400,
    ),
}
