"""Content negotiation by RFC 9110, section 12.5: the format and the coding of a scrape.

The negotiation of prometheus-client ignores ``q`` and echoes any version that is requested.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from exporter.metrics.format import Format

# A quote left open reaches to the end: looking for its end again from every later quote would take quadratic time.
_QUOTED: Final = r'"(?:[^"\\]|\\(?:.|\Z))*(?:"|\Z)'
_ELEMENT: Final = re.compile(rf'(?:[^",]|{_QUOTED})+')
_PART: Final = re.compile(rf'(?:[^";]|{_QUOTED})+')
_PARAMETER: Final = re.compile(r'\s*([^="\s]+)=(?:"((?:[^"\\]|\\.)*)"|([^=\s"]+))\s*')
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")

# From the most general range to the most specific one. OpenMetrics must be named: wildcards mean text.
_RANGES: Final = {
    Format.TEXT: ("*/*", "text/*", "text/plain"),
    Format.OPENMETRICS: ("application/openmetrics-text",),
}
# Parameters that have to match where a range has them; others, such as `escaping`, are ignored.
_VERSIONS: Final = {Format.TEXT: "0.0.4", Format.OPENMETRICS: "1.0.0"}


class _Range(NamedTuple):
    name: str
    parameters: Mapping[str, str]
    q: float


def negotiate(accept: str | None) -> Format:
    """Return the format for an Accept header: OpenMetrics where it is named and text is not preferred.

    A malformed element counts as not sent. Where nothing fits, the answer is text rather than 406, as everywhere in the
    Prometheus ecosystem.
    """
    ranges = parse_accept(accept)
    openmetrics = _quality(Format.OPENMETRICS, ranges)
    return Format.OPENMETRICS if openmetrics and openmetrics >= _quality(Format.TEXT, ranges) else Format.TEXT


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether gzip is acceptable and has at least the weight of no coding. Without the header it is not."""
    weights = {coding.name: coding.q for coding in parse_accept(accept_encoding)}
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _quality(fmt: Format, ranges: list[_Range]) -> float:
    """Return the weight of the most specific range that the format fits; 0 where there is none."""
    fixed = {"version": _VERSIONS[fmt], "charset": "utf-8"}
    fitting = [
        (_RANGES[fmt].index(name), len(fixed.keys() & parameters.keys()), q)
        for name, parameters, q in ranges
        if name in _RANGES[fmt] and all(parameters.get(key, value) == value for key, value in fixed.items())
    ]
    return max(fitting, default=(0, 0, 0.0))[2]


def parse_accept(header: str | None) -> list[_Range]:
    """Return name, parameters and weight of the well-formed elements of a header, in lower case."""
    found = []
    for element in _ELEMENT.findall((header or "").lower()):
        name, _, rest = element.partition(";")
        matches = [_PARAMETER.fullmatch(part) for part in _PART.findall(rest) if part.strip()]
        parameters = {match[1]: match[3] or re.sub(r"\\(.)", r"\1", match[2]) for match in matches if match}
        weight = parameters.pop("q", "1")
        if all(matches) and _WEIGHT.fullmatch(weight) and " " not in name.strip():
            found.append(_Range(name.strip(), parameters, float(weight)))
    return found
