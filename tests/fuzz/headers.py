"""Fuzzing of headers, against readings of their own of what RFC 9110 says."""

import calendar
import re
from typing import Final

from exporter.http.message import parse_retry_after
from exporter.metrics.format import Format
from exporter.web.negotiation import accepts_gzip, negotiate
from tests.fuzz.target import NOW, FuzzTarget, texts

# --- Retry-After: 10.2.3 and 5.6.7 ------------------------------------------------------------------------------------

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAY: Final = f"(?:{'|'.join(DAYS)})"
LONG_DAY: Final = "(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
MONTH: Final = f"(?P<month>{'|'.join(MONTHS)})"
TIME: Final = "(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9])"
DATES: Final = (
    re.compile(f"{DAY}, (?P<day>[0-9]{{2}}) {MONTH} (?P<year>(?:19[7-9]|2[0-9][0-9])[0-9]) {TIME} GMT"),
    re.compile(f"{LONG_DAY}, (?P<day>[0-9]{{2}})-{MONTH}-(?P<year>[0-5][0-9]) {TIME} GMT"),
    re.compile(f"{DAY} {MONTH} (?P<day>[ 0-9][0-9]) {TIME} (?P<year>(?:19[7-9]|2[0-9][0-9])[0-9])"),
)
LONGEST: Final = 86_400.0


def pause_of(value: str) -> float | None:
    """Return the pause of a single value that is exactly as the RFC has it; None for any other."""
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    for form in DATES:
        if match := form.fullmatch(value):
            year, month, day = int(match["year"]), MONTHS.index(match["month"]) + 1, int(match["day"])
            year += 2000 if year < 100 else 0
            if not 1 <= day <= calendar.monthrange(year, month)[1]:
                return None
            at = calendar.timegm((year, month, day, int(match["hour"]), int(match["minute"]), int(match["second"])))
            return max(0.0, at - NOW)
    return None


def retry_after(data: bytes) -> None:
    header = data.decode("latin-1")
    found = parse_retry_after(header, NOW)
    assert found is None or found >= 0, found
    values = members(header)
    pauses = [pause_of(value) for value in values]
    known = [pause for pause in pauses if pause is not None]
    if known and len(known) == len(values) <= 20:
        sensible = [pause for pause in known if pause <= LONGEST]
        assert found == (max(sensible) if sensible else min(known)), (header, found)


def members(header: str) -> list[str]:
    """Return the values of a list; the comma after the day of the week belongs to a date."""
    found: list[str] = []
    for part in header.split(","):
        if found and re.fullmatch(f"{DAY}|{LONG_DAY}", found[-1]):
            found[-1] += f", {part.strip()}"
        else:
            found.append(part.strip())
    return found


# --- Accept and Accept-Encoding: 12.5 and 5.6 -------------------------------------------------------------------------

# Characters that cannot stand in a word. The RFC has more of these, which mean nothing else either.
NO_TOKEN: Final = frozenset(' \t="')


def elements(header: str, separator: str) -> list[str]:
    """Return the parts of a header between separators that are in no quoted text."""
    parts, quoted, escaped = [""], False, False
    for character in header:
        if character == separator and not quoted:
            parts.append("")
            continue
        parts[-1] += character
        if quoted and not escaped and character == "\\":
            escaped = True
        elif character == '"' and not escaped:
            quoted = not quoted
        else:
            escaped = False
    return parts


def read(element: str) -> tuple[str, dict[str, str], float] | None:
    """Return name, parameters and weight of an element; None for one that is malformed."""
    name, *rest = (part.strip(" \t") for part in elements(element, ";"))
    parameters = {}
    for part in rest:
        if not part:
            continue
        key, equals, value = part.partition("=")
        if quoted := re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value):
            value = re.sub(r"\\(.)", r"\1", quoted[1])
        elif not value or not NO_TOKEN.isdisjoint(value):
            return None
        if not equals or not key or not NO_TOKEN.isdisjoint(key):
            return None
        parameters[key] = value
    weight = parameters.pop("q", "1")
    if not name or not re.fullmatch(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?", weight):
        return None
    return name, parameters, float(weight)


def weight_of(header: str, names: tuple[str, ...], version: str) -> float:
    """Return the weight of the most specific range among `names`, the most general first."""
    best = (-1, -1, 0.0)
    for element in elements(header.lower(), ","):
        found = read(element)
        if found is None or found[0] not in names:
            continue
        name, parameters, q = found
        if parameters.get("version", version) == version and parameters.get("charset", "utf-8") == "utf-8":
            best = max(best, (names.index(name), len(parameters.keys() & {"version", "charset"}), q))
    return best[2]


def accept(data: bytes) -> None:
    header = data.decode("latin-1")
    if not re.fullmatch(r"[\t\x20-\x7e]*", header):
        # No server passes these on. No exception, either.
        negotiate(header)
        accepts_gzip(header)
        return
    openmetrics = weight_of(header, ("application/openmetrics-text",), "1.0.0")
    text = weight_of(header, ("*/*", "text/*", "text/plain"), "0.0.4")
    expected = Format.OPENMETRICS if openmetrics and openmetrics >= text else Format.TEXT
    assert negotiate(header) is expected, (header, openmetrics, text)
    codings = {found[0]: found[2] for found in map(read, elements(header.lower(), ",")) if found}
    gzip = codings.get("gzip", codings.get("x-gzip", codings.get("*", 0.0)))
    assert accepts_gzip(header) is (gzip > 0 and gzip >= codings.get("identity", 0.0)), header


TARGETS: Final = {
    "retry_after": FuzzTarget(
        retry_after,
        texts(
            "30",
            "1.5, 7",
            "Wed, 02 Dec 2026 10:00:00 GMT",
            "Wednesday, 02-Dec-26 10:00:00 GMT, 60",
            "Wed Dec  2 10:00:00 2026",
            "99999999999999",
            "86400, 86401",
        ),
        tokens=(
            *DAYS,
            "Wednesday",
            "Tuesday",
            *MONTHS,
            " GMT",
            " UTC",
            " +0800",
            "2026",
            ":59",
            "Dec  2",
            ", ",
            ".5",
            "-",
        ),
        longest=200,
    ),
    "accept": FuzzTarget(
        accept,
        texts(
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "gzip, identity;q=0",
            'x-gzip;q=0.001;a="b,c", *;q=0',
            'text/plain; version="0.0.4"; charset=UTF-8;q=1.000, application/openmetrics-text; a="\\";b"; q="0.9"',
        ),
        tokens=(
            *("application/openmetrics-text", "text/plain", "text/*", "*/*", "gzip", "x-gzip", "identity", "*", "br"),
            *(
                ";version=1.0.0",
                ";version=0.0.4",
                ";charset=utf-8",
                ";q=",
                "0.",
                "1.000",
                "0.001",
                '"',
                "\\",
                ", ",
                ";",
            ),
        ),
        longest=300,
    ),
}
