"""Text of others cannot steer a terminal."""

import json

import pytest

from exporter.text import escaped, printable

HIDDEN = [
    *map(chr, (*range(0x20), *range(0x7F, 0xA0))),
    *"\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u2060\u2064\u3164\ufeff\uffa0\ufff9",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x2070)),
    "\ud800",
    "\U000e0041",
]


@pytest.mark.parametrize("character", HIDDEN, ids=ascii)
def test_a_character_that_is_not_seen_is_replaced_or_escaped(character: str) -> None:
    assert printable(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"
    assert escaped(f"a{character}b").isascii()
    assert json.loads(f'"{escaped(character)}"') == character


def test_text_that_is_seen_stays_as_it_is() -> None:
    text = "分子动力学 🚀 שלום مرحبا e\u0301 ~!"
    assert printable(text) == escaped(text) == text


def test_line_breaks_can_be_kept() -> None:
    assert printable("a\nb\tc", but="\n") == "a\nb\N{REPLACEMENT CHARACTER}c"
    assert escaped("a\nb\tc", but="\n") == "a\nb\\tc"
