"""Resource specs are read exactly or not at all."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.octopus.specs import BYTES, Resources, read_spec


@pytest.mark.parametrize(
    ("spec", "cores", "memory"),
    [
        ("1Core_4GiB", 1, 4 * 2**30),
        ("16Cores_64GiB", 16, 64 * 2**30),
        ("8Core_512MiB", 8, 512 * 2**20),
        ("2Core_1TiB", 2, 2**40),
        ("1Core_4096KiB", 1, 4 * 2**20),
        ("0.5Core_1.5GiB", Fraction(1, 2), 3 * 2**29),
        ("0Core_0GiB", 0, 0),
    ],
)
def test_forms_that_are_understood(spec: str, cores: float, memory: int) -> None:
    assert read_spec(spec) == Resources(Fraction(cores), Fraction(memory))


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "4GiB",
        "1Core",
        "1Core_4GB",  # 10**9 or 2**30? Nobody knows
        "1Core_4G",
        "1Core_4",
        "1core_4gib",
        "1Core_4GiB ",
        " 1Core_4GiB",
        "1Core_4GiB\n",
        "1Core_4GiB_1GPU",
        "1Core-4GiB",
        "-1Core_4GiB",
        "1e3Core_4GiB",
        "１Core_4GiB",
        ".5Core_4GiB",
        "4U16G",
        "modelarts.vm.cpu.2u",
        "1234567890Core_4GiB",
        "9" * 100_000 + "Core_4GiB",
    ],
)
def test_anything_else_is_not_guessed(spec: str) -> None:
    assert read_spec(spec) is None


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1), st.sampled_from(sorted(BYTES)))
def test_every_whole_amount_in_every_unit_is_exact(cores: int, amount: int, unit: str) -> None:
    assert read_spec(f"{cores}Core_{amount}{unit}") == Resources(Fraction(cores), Fraction(amount * BYTES[unit]))


@given(st.text())
def test_no_text_makes_it_fail(spec: str) -> None:
    read_spec(spec)
