"""Texts in two languages."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import exporter.web
from exporter.polling import STATES
from exporter.records import PENDING_REASONS, JobState
from exporter.web.lists import OF_JOB
from exporter.web.rows import VIEWS
from exporter.web.texts import _ALL, Texts, chosen_language, number


def test_both_languages_have_the_same_texts_and_placeholders() -> None:
    english, chinese = ({key for key in texts if not key.endswith("_one")} for texts in _ALL.values())
    assert english == chinese
    for key in english:
        places = [set(re.findall(r"\{\w+\}", texts[key])) for texts in _ALL.values()]
        assert places[0] == places[1], key


def test_chinese_is_chinese() -> None:
    same = {key for key in _ALL["en"] if _ALL["zh"].get(key) == _ALL["en"][key]}
    assert same == {"title"}


def test_every_word_of_the_status_has_a_text() -> None:
    """A page that needs a missing text is an error."""
    schema = json.loads((Path(__file__).parents[2] / "docs" / "status.schema.json").read_text())
    kinds = schema["properties"]["sources"]["items"]["properties"]["kind"]["enum"]
    states = schema["$defs"]["state"]["enum"]
    needed = {*kinds, *(f"{prefix}_{state}" for prefix in ("state", "explain") for state in states)}
    assert set(states) == set(STATES)
    for texts in _ALL.values():
        assert needed <= texts.keys()


def test_no_text_is_unused() -> None:
    folder = Path(exporter.web.__file__).parent
    sources = "".join((folder / f"{name}.py").read_text() for name in ("page", "lists", "html", "texts", "rows"))
    # Beginnings of keys that are put together, kinds of sources, and the closed lists of records.
    prefixes = "state_ explain_ collector_ ago_ in_ span_ within_ head_ for_ without_ verdict_ since_ filter_hint_"
    made = (*prefixes.split(), "scnet", "slurm", "octopus", "account", *JobState, *PENDING_REASONS)
    named = {
        *OF_JOB.values(),
        *re.findall(r'"(\w+)"', sources),
        *(column for columns in VIEWS.values() for column in columns),
        *VIEWS,
    }
    unused = [key for key in _ALL["en"] if not key.startswith(made) and key.removesuffix("_one") not in named]
    assert unused == []


@pytest.mark.parametrize(
    ("requested", "header", "language"),
    [
        (None, None, "en"),
        (None, "", "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "en-US,en;q=0.9,zh;q=0.8", "en"),
        (None, "fr-FR,fr;q=0.9", "en"),
        (None, "fr, ZH-Hans;q=0.2, en;q=0.1", "zh"),
        (None, "zh;q=0", "en"),
        (None, "en;q=0.1, zh;q=0.2", "zh"),
        (None, "zh;q=x, en;q=0.1", "en"),
        (None, "*", "en"),
        ("zh", "en", "zh"),
        ("en", "zh", "en"),
        ("tlh", "zh", "zh"),
    ],
)
def test_the_language_is_that_of_the_switch_or_of_the_browser(
    requested: str | None, header: str | None, language: str
) -> None:
    assert chosen_language(requested, header) == language


@given(st.text())
def test_no_header_raises(header: str) -> None:
    assert chosen_language(None, header) in ("en", "zh")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "now"),
        (-0.9, "now"),
        (1, "1 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (172_800, "2 days ago"),
        (-48.2, "in 48 s"),
        (-3600 * 20, "in 20 h"),
    ],
)
def test_times_have_a_readable_unit(seconds: float, text: str) -> None:
    assert Texts("en").since(seconds) == text


def test_an_unknown_number_is_a_dash() -> None:
    numbers = (None, 0, 1234567, 2070.0, 0.25, math.nan, math.inf)
    assert " ".join(map(number, numbers)) == "– 0 1,234,567 2,070 0.25 – inf"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.2, "1 s"),
        (59.5, "1 min"),
        (61, "1 min 1 s"),
        (7741, "2 h 10 min"),
        (86_399, "1 d"),
        (90_001, "1 d 2 h"),
    ],
)
def test_a_length_of_time_is_rounded_up(seconds: float, text: str) -> None:
    assert Texts("en").span(seconds) == text
