"""Durations are read as Prometheus reads them, sizes in bytes; both are written so that they can be read again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.units import format_duration, format_size, parse_duration, parse_size

READERS = {"duration": parse_duration, "size": parse_size}


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
    ("text", "size"),
    [
        ("0B", 0),
        ("1B", 1),
        ("7kB", 7000),
        ("7KiB", 7168),
        ("64MiB", 64 * 1024**2),
        ("64MB", 64_000_000),
        ("1GiB", 1024**3),
        ("2GB", 2_000_000_000),
        ("007B", 7),
    ],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("kind", READERS)
def test_a_token_in_a_wrong_place_is_not_repeated(kind: str) -> None:
    with pytest.raises(ValueError, match="'<secret>' is not a "):
        READERS[kind]("0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *(("duration", text) for text in ("", " ", "5 s", " 5s", "5s ", "5S", "1.5h", "-5s", "+5s", "30m1h", "5s5s")),
        *(("duration", text) for text in ("1y", "ms", "５s", "9" * 10 + "s")),
        *(("size", text) for text in ("", " ", "64 MiB", " 1B", "1B ", "64M", "64mib", "1.5MiB", "-1B", "+1B", "MiB")),
        *(("size", text) for text in ("1TiB", "1KB", "５B", "9" * 13)),
    ],
)
def test_anything_else_is_rejected(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"is not a {kind}"):
        READERS[kind](text)


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [("duration", "60", "60 has no unit: write 60s"), ("size", "64", "64 has no unit: write a size like 64MiB")],
)
def test_a_number_without_a_unit_is_answered_with_the_likely_meaning(kind: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        READERS[kind](text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (0.1, "100ms"), (60, "1m"), (90, "1m30s"), (5400, "1h30m"), (604_800, "1w")]
)
def test_a_duration_is_written_with_its_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(64 * 1024**2, "64MiB"), (64_000_000, "64MB"), (1023, "1023B")])
def test_a_size_is_written_with_its_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(min_value=0, max_value=10**12 - 1))
def test_what_is_written_is_read_back(amount: int) -> None:
    assert parse_size(format_size(amount)) == amount
    assert parse_duration(format_duration(amount / 1000)) == amount / 1000


@given(st.text(alphabet="0123456789wdhms .-", max_size=12))
def test_no_text_does_worse_than_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert parse_duration(format_duration(seconds)) == seconds
