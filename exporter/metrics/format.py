"""Samples to bytes: escaping, numbers and headers of the two text formats.

Sample lines are the same in both formats; only the headers differ, so lines are rendered once. Sources:
https://prometheus.io/docs/instrumenting/exposition_formats/ (text 0.0.4) and
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md (OpenMetrics 1.0.0).
"""

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import accumulate
from typing import Final

from exporter.metrics.family import Family
from exporter.tracking import Histogram

# The contribution of one owner: complete sample lines of each family, each line ending in a newline.
Chunks = dict[Family, bytes]

EOF: Final = b"# EOF\n"
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Format(Enum):
    """An exposition format; its value is the content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def content_type(self) -> str:
        return self.value


def escape(value: str) -> str:
    """Return a label value as it stands between the quotes.

    Only these three are escaped; all else may stand as it is.
    """
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


def number(value: float) -> str:
    """Return a sample's value: integers without a point, others as the shortest text that reads back the same."""
    if isinstance(value, int):
        return str(int(value))  # int(): True is 1
    if math.isfinite(value):
        return repr(value)
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


def label_block(names: Sequence[str], values: Sequence[str]) -> str:
    """``a="1",b="2"``, in the order of the names."""
    return ",".join([f'{name}="{escape(value)}"' for name, value in zip(names, values, strict=True)])


def start(family: Family, *values: str) -> str:
    """Return the beginning of a sample line up to the last given value; lines differ in their last labels only."""
    return f"{family.name}{{{label_block(family.labels[: len(values)], values)}"


def sample(family: Family, values: Sequence[str], value: float) -> str:
    """One complete line. The label values stand in the family's order; a wrong number of them is a ValueError."""
    if not family.labels:
        return f"{family.name} {number(value)}\n"
    return f"{family.name}{{{label_block(family.labels, values)}}} {number(value)}\n"


def named_sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One complete line of a family whose samples have several names or labels, such as a histogram."""
    block = ",".join([f'{label}="{escape(of_label)}"' for label, of_label in labels.items()])
    return f"{name}{{{block}}} {number(value)}\n" if block else f"{name} {number(value)}\n"


def histogram_lines(family: Family, values: Sequence[str], histogram: Histogram) -> bytes:
    """All lines of one histogram."""
    block = label_block(family.labels, values)
    lines = [
        f'{family.name}_bucket{{{block},le="{number(bound)}"}} {count}\n'
        for bound, count in zip((*histogram.bounds, math.inf), accumulate(histogram.counts), strict=True)
    ]
    lines += (
        f"{family.name}_sum{{{block}}} {number(histogram.sum)}\n",
        f"{family.name}_count{{{block}}} {histogram.count}\n",
    )
    return to_bytes("".join(lines))


def to_bytes(text: str) -> bytes:
    """UTF-8. Halves of surrogate pairs, which JSON can carry and UTF-8 cannot, become U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).encode()


def chunks_of(lines: Mapping[Family, Sequence[str]]) -> Chunks:
    """Return the lines of each family that has some."""
    return {family: to_bytes("".join(of_family)) for family, of_family in lines.items() if of_family}


def one_each(values: Mapping[Family, float | None], labels: Sequence[str]) -> Chunks:
    """One line for each family whose value is known, with the same label values in all of them."""
    return {family: to_bytes(sample(family, labels, value)) for family, value in values.items() if value is not None}


def header(family: Family, fmt: Format) -> bytes:
    """HELP and TYPE. OpenMetrics names a counter's family without ``_total``, and escapes quotes in HELP."""
    documentation = family.help.replace("\\", r"\\").replace("\n", r"\n")
    name = family.name
    if fmt is Format.OPENMETRICS:
        documentation = documentation.replace('"', r"\"")
        if family.type == "counter":
            name = name.removesuffix("_total")
    return to_bytes(f"# HELP {name} {documentation}\n# TYPE {name} {family.type}\n")
