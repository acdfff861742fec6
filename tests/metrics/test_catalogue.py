"""The catalogue of all families. docs/names.md promises names, types and labels; see tests/docs/test_names.py."""

import re

from exporter.sources.collector import catalogue


def test_every_family_is_listed_once_in_order_of_names() -> None:
    assert list(catalogue()) == sorted(catalogue())
    assert all(name == family.name for name, family in catalogue().items())


def test_every_help_is_a_sentence_and_counters_alone_end_in_total() -> None:
    for family in catalogue().values():
        assert re.fullmatch(r"[A-Z].*[.]", family.help), family.name
        assert (family.type == "counter") == family.name.endswith("_total"), family.name
