"""Which format and coding to answer with: content negotiation as RFC 9110, section 12.5, has it.

prometheus-client's own negotiation ignores ``q`` and echoes any version that it is asked for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exporter.metrics.render import Format

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
# A quote left open reaches to the end: looking for its end again from every later quote would take quadratic time.
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))+', re.DOTALL)
_PARAMETERS_FORM = rf"((?:\s*;\s*{_WORD}=(?:{_WORD}|{_QUOTED})|\s*;)*)"
_MEDIA_RANGE: Final = re.compile(rf"({_WORD}/{_WORD}){_PARAMETERS_FORM}")
_CODING: Final = re.compile(rf"({_WORD}){_PARAMETERS_FORM}")
_PARAMETER: Final = re.compile(rf"({_WORD})=({_WORD}|{_QUOTED})")
_WEIGHT: Final = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")

# What has to fit where a range names it. Others, such as Prometheus' `escaping`, make no difference to our answer.
_PARAMETERS: Final[Mapping[Format, Mapping[str, str]]] = {
    Format.TEXT: {"version": "0.0.4", "charset": "utf-8"},
    Format.OPENMETRICS: {"version": "1.0.0", "charset": "utf-8"},
}
_TYPES: Final[Mapping[Format, tuple[str, ...]]] = {
    Format.TEXT: ("*/*", "text/*", "text/plain"),
    Format.OPENMETRICS: ("application/openmetrics-text",),  # must be asked for by name: wildcards mean text
}


@dataclass(frozen=True, slots=True)
class _Range:
    """One element of a header: what it names, its parameters, and its weight `q`."""

    name: str
    parameters: Mapping[str, str]
    q: float


def negotiate(accept: str | None) -> Format:
    """The format to answer an Accept header with: OpenMetrics where it is asked for by name and text is not preferred.

    A malformed element counts as not sent. Where nothing that was asked for fits, the answer is text rather than 406,
    as everywhere in the Prometheus ecosystem.
    """
    ranges = _parse(accept, _MEDIA_RANGE)
    openmetrics = _quality(Format.OPENMETRICS, ranges)
    return Format.OPENMETRICS if openmetrics and openmetrics >= _quality(Format.TEXT, ranges) else Format.TEXT


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Whether the answer may be, and is not better left without being, a gzip file. Without the header it may not."""
    weights = {coding.name: coding.q for coding in _parse(accept_encoding, _CODING)}
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _quality(fmt: Format, ranges: list[_Range]) -> float:
    """The weight of the most specific range that the format fits; 0 where there is none."""
    fitting = [accepted for accepted in ranges if _fits(fmt, accepted)]
    return max(((_specificity(fmt, accepted), accepted.q) for accepted in fitting), default=((0, 0), 0.0))[1]


def _fits(fmt: Format, accepted: _Range) -> bool:
    return accepted.name in _TYPES[fmt] and all(
        accepted.parameters.get(name, value).lower() == value for name, value in _PARAMETERS[fmt].items()
    )


def _specificity(fmt: Format, accepted: _Range) -> tuple[int, int]:
    return _TYPES[fmt].index(accepted.name), len(_PARAMETERS[fmt].keys() & accepted.parameters.keys())


def _parse(value: str | None, form: re.Pattern[str]) -> list[_Range]:
    """The well-formed elements of a header."""
    matches = (form.fullmatch(element.strip()) for element in _ELEMENT.findall(value or ""))
    ranges = (_range(match[1], match[2]) for match in matches if match)
    return [accepted for accepted in ranges if accepted]


def _range(name: str, parameters: str) -> _Range | None:
    values = {key.lower(): _unquoted(text) for key, text in _PARAMETER.findall(parameters)}
    weight = values.pop("q", "1")
    return _Range(name.lower(), values, float(weight)) if _WEIGHT.fullmatch(weight) else None


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
