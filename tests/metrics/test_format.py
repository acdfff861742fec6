"""Round trips of our text through prometheus-client's two parsers."""

import math
import re
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics.family import Family, Text, counter, gauge, histogram
from exporter.metrics.format import EOF, Format, escape, header, number, sample, start, to_bytes

PARSERS: dict[Format, Callable[[str], Iterable[Metric]]] = {
    Format.TEXT: parse_text,
    Format.OPENMETRICS: parse_openmetrics,
}
GAUGE = Family("hpc_test", "gauge", "Help.", ("first", "second"))
COUNTER = Family("hpc_test_total", "counter", "Help.", ("first", "second"))

# Any name that an upstream can send, with what is special to the formats or to line splitting more often.
anything = st.text(st.characters() | st.sampled_from('"\\\n\r\0\t\x0b\x1c\x85\u2028\ufeff{},=# 队列😀\ud800\udfff'))
numbers = st.integers(-(2**70), 2**70) | st.floats()


def document(fmt: Format, family: Family, lines: str) -> str:
    return (header(family, fmt) + to_bytes(lines) + (EOF if fmt is Format.OPENMETRICS else b"")).decode()


def replaced(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


@given(fmt=st.sampled_from(Format), first=anything, second=anything, value=numbers)
@example(fmt=Format.TEXT, first="\ud83d\ude00", second="\\n", value=0)
def test_a_sample_reads_back_as_it_was(fmt: Format, first: str, second: str, value: float) -> None:
    """Labels and values survive both formats; halves of surrogate pairs are replaced and nothing raises."""
    text = document(fmt, GAUGE, sample(GAUGE, (first, second), value))

    (family,) = PARSERS[fmt](text)

    (read,) = family.samples
    assert (family.name, family.type, family.documentation) == ("hpc_test", "gauge", "Help.")
    assert read.labels == {"first": replaced(first), "second": replaced(second)}
    assert read.value == value or (math.isnan(read.value) and math.isnan(value))


@given(values=st.lists(anything, min_size=2, max_size=40, unique_by=replaced))
def test_a_sample_is_one_line_whatever_it_holds(values: list[str]) -> None:
    """Series are counted and joined by line, so nothing inside a line may end it."""
    lines = "".join(sample(GAUGE, (value, value), 1) for value in values)

    assert to_bytes(lines).count(b"\n") == len(values)
    for fmt, parse in PARSERS.items():
        (family,) = parse(document(fmt, GAUGE, lines))
        assert [read.labels["first"] for read in family.samples] == [replaced(value) for value in values]


@given(fmt=st.sampled_from(Format), text=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
@example(fmt=Format.OPENMETRICS, text='back\\slash, "quote" and \\n')
@example(fmt=Format.TEXT, text='back\\slash, "quote" and \\n')
@example(fmt=Format.TEXT, text="two\nlines")
@example(fmt=Format.OPENMETRICS, text="two\nlines")
def test_help_reads_back_as_it_was(fmt: Format, text: str) -> None:
    family = Family("hpc_test", "gauge", text)

    (read,) = PARSERS[fmt](document(fmt, family, sample(family, (), 1)))

    assert read.documentation == text


@pytest.mark.parametrize("fmt", Format)
def test_a_counter_is_one_in_both_formats(fmt: Format) -> None:
    """OpenMetrics names its family without _total, text with it."""
    (family,) = PARSERS[fmt](document(fmt, COUNTER, sample(COUNTER, ("a", "b"), 5)))

    assert (family.name, family.type, family.samples[0].name) == ("hpc_test", "counter", "hpc_test_total")


@pytest.mark.parametrize(
    ("fmt", "family", "expected"),
    [
        (Format.TEXT, COUNTER, b"# HELP hpc_test_total Help.\n# TYPE hpc_test_total counter\n"),
        (Format.OPENMETRICS, COUNTER, b"# HELP hpc_test Help.\n# TYPE hpc_test counter\n"),
        (Format.TEXT, GAUGE, b"# HELP hpc_test Help.\n# TYPE hpc_test gauge\n"),
        (Format.TEXT, Family("a", "gauge", 'a\\b\n"c"'), b'# HELP a a\\\\b\\n"c"\n# TYPE a gauge\n'),
        (Format.OPENMETRICS, Family("a", "gauge", 'a\\b\n"c"'), b'# HELP a a\\\\b\\n\\"c\\"\n# TYPE a gauge\n'),
    ],
)
def test_headers(fmt: Format, family: Family, expected: bytes) -> None:
    assert header(family, fmt) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"),
        (0, "0"),
        (-7, "-7"),
        (True, "1"),
        (False, "0"),
        (2**63 + 1, "9223372036854775809"),
        (0.1, "0.1"),
        (1.0, "1.0"),
        (1700000000.25, "1700000000.25"),
        (1e300, "1e+300"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers(value: float, expected: str) -> None:
    assert number(value) == expected


def test_only_what_must_be_escaped_is() -> None:
    assert escape('a\\b"c\nd\r\t\0\u2028队列') == 'a\\\\b\\"c\\nd\r\t\0\u2028队列'


def test_a_family_without_labels_has_no_braces() -> None:
    assert sample(Family("up", "gauge", "Help."), (), 1) == "up 1\n"


def test_a_line_start_is_completed_by_its_last_labels() -> None:
    assert start(GAUGE, "a") + ',second="b"} 1\n' == sample(GAUGE, ("a", "b"), 1)


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_a_wrong_number_of_labels_is_rejected(values: tuple[str, ...]) -> None:
    """A label left out silently would merge series of different things."""
    with pytest.raises(ValueError, match="zip"):
        sample(GAUGE, values, 1)


def test_content_types_are_those_that_prometheus_knows() -> None:
    assert Format.TEXT.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert Format.OPENMETRICS.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"


def test_a_sample_has_a_value_for_each_label() -> None:
    room = gauge("hpc_example_room", ("hpc_cluster", "kind"), "An example. Absent without an answer.", zh="示例。")
    with pytest.raises(ValueError, match="has the labels hpc_cluster, kind"):
        room("kunshan", value=1)


@pytest.mark.parametrize(("declare", "kind"), [(gauge, "gauge"), (counter, "counter"), (histogram, "histogram")])
def test_a_family_is_as_it_was_declared(declare: Callable[..., Family], kind: str) -> None:
    family = declare("hpc_test", ("a",), "Help.", zh="说明。", absent=Text("never.", "从不。"))
    assert [getattr(family, name) for name in ("name", "type", "help", "labels", "zh", "absent")] == [
        *("hpc_test", kind, "Help.", ("a",), "说明。"),
        Text("never.", "从不。"),
    ]
