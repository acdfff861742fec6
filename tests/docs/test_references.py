"""The references in docs/ are what the code makes of itself, and complete in both languages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.jsonschema import json_schema
from exporter.metrics.family import Family
from exporter.sources.collector import catalogue
from reference import __main__ as command
from reference import cli, metric_texts, metrics
from reference.configuration import Key, coded, examples, keys, parts

CATALOGUE = catalogue()

PARTS = {part.paths[0]: part for part in parts().values()}


@pytest.mark.parametrize("path", list(command.documents()), ids=lambda path: path.name)
def test_the_document_is_what_the_code_makes(path: Path) -> None:
    """`make docs` writes it."""
    assert path.read_text(encoding="utf-8") == command.documents()[path], "run `make docs`"


def test_no_chinese_text_of_the_command_line_is_left_over() -> None:
    words = cli.Words("zh")
    assert list(cli.parts(words, "zh"))
    assert words.unused == set()


def test_a_missing_chinese_text_would_be_found() -> None:
    with pytest.raises(LookupError, match=r"cli\.zh\.yml.*no such help"):
        cli.Words("zh").prose("no such help")


def test_every_key_of_the_schema_is_in_the_reference() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    sections += [choice for section in sections for choice in section.get("anyOf", ())]
    assert sum(len(section.get("properties", ())) for section in sections) == len(list(keys())) > 60


@pytest.mark.parametrize("path", [path for path in PARTS if path])
def test_every_section_is_explained_in_both_languages(path: str) -> None:
    text = PARTS[path].section.text()
    assert text.en.endswith(".")
    assert text.zh.endswith("。")


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.path)
def test_a_chinese_text_names_the_same_things_as_the_english_one(key: Key) -> None:
    assert key.text.zh.endswith("。")
    assert names(key.text.zh) == names(key.text.en)


def names(text: str) -> set[str]:
    return set(coded(text).split("`")[1::2])


def at(path: str, value: Any) -> Iterator[Any]:
    """Yield the value of an example at a path like ``clusters[].users[]``."""
    step, _, rest = path.partition(".")
    found = value.get(step.removesuffix("[]")) if isinstance(value, dict) else None
    for item in found if isinstance(found, list) else [] if found is None else [found]:
        yield from at(rest, item) if rest else [item]


@pytest.mark.parametrize("path", [path for path in PARTS if path])
def test_the_example_of_a_section_shows_each_of_its_keys(path: str) -> None:
    example = yaml.load(examples()[path], yaml.CSafeLoader)
    shown = {
        key for place in PARTS[path].paths for item in at(place, example) if isinstance(item, dict) for key in item
    }
    assert shown == {key.name for key in PARTS[path].keys}


def test_every_family_of_the_catalogue_stands_in_one_group() -> None:
    shown = [family.name for group in metric_texts.GROUPS for family in group.families]
    assert sorted(shown) == sorted(CATALOGUE)


@pytest.mark.parametrize("family", list(CATALOGUE.values()), ids=lambda family: family.name)
def test_every_family_says_what_it_counts_and_when_it_is_absent(family: Family) -> None:
    meaning, absent = metrics.told(family, "en")
    in_chinese, absent_in_chinese = metrics.told(family, "zh")
    assert metrics.unit_of(family)
    assert absent.endswith(".")
    assert absent_in_chinese.endswith("。")
    assert names(in_chinese) <= names(meaning) | names(absent)


def test_no_text_about_metrics_is_left_over() -> None:
    labels = {label for family in CATALOGUE.values() for label in family.labels}
    assert metric_texts.LABELS.keys() <= labels
    assert metric_texts.EXAMPLES.keys() <= CATALOGUE.keys()


def test_users_of_a_family_are_found_by_its_whole_name() -> None:
    users = metrics.uses()
    assert "HPCDataStale" in users["hpc_exporter_target_stale"].alerts
    assert "Overview" in users["hpc_up"].dashboards
    assert users["hpc_exporter_build_info"].alerts == ["HPCExporterDown"]
    assert all("p90_1h" not in name for name in users["hpc_job_observed_run_seconds"].recordings)
