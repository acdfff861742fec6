"""As much of PromQL as it takes to find the metrics in an expression."""

import re
from collections.abc import Iterable

from exporter.sources.collector import catalogue

CATALOGUE = catalogue()

_STRINGS = re.compile(r'"(?:\\.|[^"\\])*"')
_MATCHERS = re.compile(r"\{[^{}]*\}")
_RANGES = re.compile(r"\[[^\]]*\]")
_LABEL_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_NAMES = re.compile(r"(?<![\w:.$])[a-zA-Z_:][\w:]*(?!\s*\(|[\w:])")
_WORDS = {"and", "or", "unless", "offset", "bool", "group_left", "group_right", "inf", "nan", "NaN"}
_DURATION = re.compile(r"^\d")
_SUFFIXES = ("_bucket", "_sum", "_count")

# Series of Prometheus itself and of its client library.
FOREIGN = frozenset({"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"})


def metrics_in(expression: str) -> set[str]:
    """Names of the series that an expression asks for."""
    text = _STRINGS.sub('""', expression)
    for pattern in (_MATCHERS, _RANGES, _LABEL_LISTS):
        text = pattern.sub(" ", text)
    return {name for name in _NAMES.findall(text) if name not in _WORDS and not _DURATION.match(name)}


def family_of(series: str) -> str | None:
    """Return the family in the catalogue that a series belongs to; None where there is none."""
    if series in CATALOGUE:
        return series
    for suffix in _SUFFIXES:
        family = CATALOGUE.get(series.removesuffix(suffix))
        if series.endswith(suffix) and family is not None and family.type == "histogram":
            return family.name
    return None


def families_in(expressions: Iterable[str]) -> set[str]:
    """Families of the catalogue in all of the expressions together."""
    found = {family_of(name) for expression in expressions for name in metrics_in(expression)}
    return {name for name in found if name is not None}


def strangers_in(expressions: Iterable[str], known: Iterable[str] = ()) -> set[str]:
    """Series that nothing exports: not in the catalogue, not foreign, not otherwise `known`."""
    allowed = FOREIGN | set(known)
    return {
        name
        for expression in expressions
        for name in metrics_in(expression)
        if name not in allowed and family_of(name) is None
    }
