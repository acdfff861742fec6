"""The example and the JSON Schema say the same as the code."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from exporter.config import Account, effective_yaml, load
from exporter.config.jsonschema import as_text, json_schema
from exporter.sources.collector import collected_by_default
from tests.config.invalid import CASES

FOLDER = Path(__file__).parents[2] / "config"
EXAMPLE = FOLDER / "exporter.example.yml"


def keys() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every section's name with each of its keys and what the schema says of it."""
    schema = json_schema()
    for name, section in {"": schema, **schema["$defs"]}.items():
        for alternative in [section, *section.get("anyOf", [])]:
            for key, value in alternative.get("properties", {}).items():
                yield name, key, value


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


def test_the_committed_schema_is_the_one_of_the_code() -> None:
    """Run `make schema` when this fails."""
    assert (FOLDER / "exporter.schema.json").read_text(encoding="utf-8") == as_text()


def test_the_module_prints_the_schema() -> None:
    command = [sys.executable, "-m", "exporter.config.jsonschema"]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == as_text()  # noqa: S603 - our own


def test_every_key_is_explained() -> None:
    assert len(list(keys())) > 60
    assert not [(section, key) for section, key, value in keys() if not value.get("description")]


def test_the_schema_accepts_the_example(validator: jsonschema.Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))] == []


def test_the_schema_accepts_the_effective_example(validator: jsonschema.Draft202012Validator) -> None:
    effective = yaml.safe_load(effective_yaml(load(EXAMPLE, {})))
    assert [error.message for error in validator.iter_errors(effective)] == []


@pytest.mark.parametrize(
    "name",
    [
        "unknown-key-near",
        "unknown-section",
        "unknown-key-in-user",
        "missing-keys",
        "list-instead-of-text",
        "text-instead-of-list",
        "text-instead-of-mapping",
        "duration-without-unit",
        "duration-fraction",
        "retries-too-many",
        "rate-zero",
        "collect-unknown",
        "boolean-number",
        "address-without-scheme",
    ],
)
def test_the_schema_rejects_what_a_schema_can_see(name: str, validator: jsonschema.Draft202012Validator) -> None:
    assert list(validator.iter_errors(yaml.safe_load(CASES[name].text)))


def test_the_example_loads_without_anything_set_up() -> None:
    config = load(EXAMPLE, {})
    assert config.warnings == ()
    assert len(config.clusters) == 2


def test_the_example_names_every_key() -> None:
    source = EXAMPLE.read_text(encoding="utf-8")
    assert not [(section, key) for section, key, _ in keys() if not re.search(rf"\b{key}:", source)]


def test_the_defaults_that_are_explained_are_those_in_effect() -> None:
    """They are written once; those of `collect` are the registry's."""
    explained = {(section, key): value["default"] for section, key, value in keys() if "default" in value}
    assert len(explained) == 18
    assert explained["PollSettings", "interval"] == "60s"
    assert explained["Account", "token_url"] == Account(name="a", user="a").token_url
    assert explained["Cluster", "collect"] == list(collected_by_default("clusters"))


def test_the_schema_is_stable_text() -> None:
    assert json.loads(as_text()) == json_schema()
