"""Sizes are read in bytes and written with the unit that fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.units import format_size, parse_size


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


@pytest.mark.parametrize(
    "text",
    ["", " ", "64 MiB", " 1B", "1B ", "64M", "64mib", "1.5MiB", "-1B", "+1B", "MiB", "1TiB", "1KB", "５B", "9" * 13],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_a_number_without_a_unit_is_answered_with_an_example() -> None:
    with pytest.raises(ValueError, match="64 has no unit: write a size like 64MiB"):
        parse_size("64")


@given(st.integers(min_value=0, max_value=10**12 - 1))
def test_what_is_written_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(("size", "text"), [(64 * 1024**2, "64MiB"), (64_000_000, "64MB"), (1023, "1023B")])
def test_a_size_is_written_with_its_largest_unit(size: int, text: str) -> None:
    assert format_size(size) == text
