"""The references in docs/ are what the code makes of itself, and complete in both languages."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import Account, load
from exporter.config.jsonschema import json_schema
from exporter.errors import ConfigurationError
from exporter.metrics.family import Family
from exporter.sources.collector import catalogue
from reference import __main__ as command
from reference import metric_texts, metrics
from reference.configuration import Key, coded, examples, keys, parts

CATALOGUE = catalogue()

PARTS = {part.paths[0]: part for part in parts().values()}


@pytest.mark.parametrize("path", list(command.documents()), ids=lambda path: path.name)
def test_the_document_is_what_the_code_makes(path: Path) -> None:
    """`make docs` writes it."""
    assert path.read_text(encoding="utf-8") == command.documents()[path]


def test_the_command_says_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run([sys.executable, "-m", "reference", "--check"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    monkeypatch.setattr(command, "OUTPUT", tmp_path)
    assert {path.name for path in command.differing()} == {path.name for path in command.documents()}


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
    """What an example has at a path like ``clusters[].users[]``."""
    step, _, rest = path.partition(".")
    found = value.get(step.removesuffix("[]")) if isinstance(value, dict) else None
    for item in found if isinstance(found, list) else [] if found is None else [found]:
        yield from at(rest, item) if rest else [item]


@pytest.mark.parametrize("path", [path for path in PARTS if path])
def test_the_example_of_a_section_shows_each_of_its_keys(path: str) -> None:
    example = yaml.safe_load(examples()[path])
    shown = {
        key for place in PARTS[path].paths for item in at(place, example) if isinstance(item, dict) for key in item
    }
    assert shown == {key.name for key in PARTS[path].keys}


VALUES = {
    "token": "a-token",
    "token_file": "a-file",
    "account": "lab",
    "access_key": "a-key",
    "access_key_file": "a-file",
    "secret_key": "a-key",
    "secret_key_file": "a-file",
    "token_url": "https://api.example.com",
    "password": "a-password",
    "password_file": "a-file",
    "org_id": "a",
    "url": "https://ac.example.com",
    "iam": {"url": "https://iam.example.com", "domain": "d", "user": "u", "password": "p", "project": "p"},
}
REGION = {"name": "a", "cluster_id": "1", "hpc_url": "https://hpc.example.com"}
PROJECT = {"name": "p", "base_url": "https://o.example.com", "project_id": "1", "queues": [{"queue_type": "INTERNAL"}]}
IAM = {"url": "https://iam.example.com", "domain": "d", "user": "u", "project": "p"}


def configuration(part: str, entry: dict[str, Any]) -> dict[str, Any]:
    """As little as it takes to hold `entry` in a section."""
    whole: dict[str, Any] = {"accounts": [{"name": "lab", "user": "u", "access_key": "k", "secret_key": "k"}]}
    if part == "accounts[]":
        return {"accounts": [{"name": "lab", "user": "u"} | entry]}
    if part == "clusters[]":
        return whole | {"clusters": [REGION | entry]}
    if part == "clusters[].users[]":
        return whole | {"clusters": [REGION | {"token": "t", "users": [{"name": "u"} | entry]}]}
    if part == "octopus[]":
        return whole | {"octopus": [PROJECT | entry]}
    assert part == "octopus[].iam"
    return whole | {"octopus": [PROJECT | {"iam": IAM | entry}]}


def mistakes(part: str, given: tuple[str, ...], folder: Path) -> str:
    (folder / "a-file").write_text("a-secret", encoding="utf-8")
    path = folder / "exporter.yml"
    path.write_text(yaml.safe_dump(configuration(part, {name: VALUES[name] for name in given})), encoding="utf-8")
    try:
        load(path, {})
    except ConfigurationError as error:
        return str(error)
    return ""


def sets(kind: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(path, names) for path, part in PARTS.items() for names in getattr(part.section, kind)]


@pytest.mark.parametrize(("part", "together"), sets("exactly_one") + sets("at_most_one"))
def test_keys_of_which_only_one_may_be_given_exclude_each_other(
    part: str, together: tuple[str, ...], tmp_path: Path
) -> None:
    assert f"{together[1]}: does not go with {together[0]}" in mistakes(part, together[:2], tmp_path)
    assert f"{together[-1]}: does not go with {together[0]}" in mistakes(part, (together[0], together[-1]), tmp_path)


@pytest.mark.parametrize(("part", "together"), sets("exactly_one"))
def test_keys_of_which_exactly_one_is_needed_are_enough_alone(
    part: str, together: tuple[str, ...], tmp_path: Path
) -> None:
    assert f"one of {', '.join(together)} is missing" in mistakes(part, (), tmp_path)
    assert [mistakes(part, (name,), tmp_path) for name in together] == [""] * len(together)


def test_the_two_ways_to_log_in_do_not_mix(tmp_path: Path) -> None:
    for name in Account.by_key:
        for other in Account.by_password:
            assert f"does not go with {name}" in mistakes("accounts[]", (name, other), tmp_path)


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
    assert "Overview" in users["scnet_up"].dashboards
    assert users["hpc_exporter_build_info"].alerts == ["HPCExporterDown"]
    assert all("p90_1h" not in name for name in users["scnet_job_observed_run_seconds"].recordings)
