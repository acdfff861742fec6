"""Durations are read as Prometheus reads them, and written so that they can be read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("500ms", 0.5),
        ("15s", 15),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1w2d3h4m5s6ms", 788_645.006),
        ("90s", 90),
        ("007s", 7),
        ("1m1ms", 60.001),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "5", "5 s", " 5s", "5s ", "5S", "1.5h", "-5s", "+5s", "30m1h", "5s5s", "1y", "ms", "５s", "9" * 10 + "s"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration|has no unit"):
        parse_duration(text)


def test_a_number_without_a_unit_is_answered_with_the_likely_meaning() -> None:
    with pytest.raises(ValueError, match="60 has no unit: write 60s"):
        parse_duration("60")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (0.1, "100ms"), (60, "1m"), (90, "1m30s"), (5400, "1h30m"), (604_800, "1w")]
)
def test_a_duration_is_written_with_its_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**12).map(lambda milliseconds: milliseconds / 1000))
def test_what_is_written_is_read_back(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(alphabet="0123456789wdhms .-", max_size=12))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert parse_duration(format_duration(seconds)) == seconds
