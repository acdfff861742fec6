"""The chart fits the rest of the project.

Its schema and version are made from it, its rules and dashboards are linked.
"""

import os
import tarfile
from pathlib import Path

import jsonschema
import yaml

from deploy.__main__ import CHART, LINKED, differing, values_schema
from exporter import __version__
from tests.deploy.chart import CONFIG, engine

ROOT = Path(__file__).parents[2]


def test_every_file_is_what_it_is_made_from() -> None:
    """Otherwise: make deploy."""
    assert differing() == []


def linked() -> dict[str, bytes]:
    """Contents of the project's rules and dashboards, by their paths in the chart."""
    return {
        (here.relative_to(CHART) / path.relative_to(there)).as_posix(): path.read_bytes()
        for here, there in LINKED.items()
        for path in there.rglob("*")
        if path.is_file()
    }


def test_rules_and_dashboards_are_once_in_the_repository() -> None:
    files = [
        Path(folder) / name
        for part in ("config", "grafana", "deploy")
        for folder, _, names in os.walk(ROOT / part)
        for name in names
    ]
    texts = [path.read_bytes() for path in files if not path.is_symlink()]
    assert {name: texts.count(text) for name, text in linked().items()} == dict.fromkeys(linked(), 1)


def test_the_packed_chart_holds_what_the_links_lead_to(tmp_path: Path) -> None:
    """The package needs nothing else of the repository."""
    packed = Path(engine().package(CHART, destination=tmp_path))
    assert packed.parent == tmp_path
    with tarfile.open(packed) as archive:
        members = archive.getmembers()
        assert all(member.isfile() for member in members)
        held = {
            member.name.removeprefix("hpc-exporter/"): file.read()
            for member in members
            if (file := archive.extractfile(member)) is not None
        }
    wanted = linked()
    assert len(wanted) > 10
    assert {name: text for name, text in held.items() if name.startswith("files/")} == wanted
    for name in ("Chart.yaml", "README.md", "values.yaml", "values.schema.json"):
        assert held[name].strip(), name


def test_the_packed_chart_renders_as_the_folder_does(tmp_path: Path) -> None:
    values = {
        "config": CONFIG,
        "prometheusRule": {"enabled": True},
        "dashboards": {"enabled": True, "languages": ["en", "zh"]},
    }
    (tmp_path / "elsewhere").mkdir()
    packed = engine().package(CHART, destination=tmp_path / "elsewhere")
    with engine().Chart.load(packed) as from_archive, engine().Chart.load(CHART) as from_folder:
        assert from_archive.render(values, name="mon", namespace="hpc") == from_folder.render(
            values, name="mon", namespace="hpc"
        )


def test_the_chart_names_the_version_of_the_exporter() -> None:
    assert yaml.load((CHART / "Chart.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)["appVersion"] == __version__


def test_the_example_configuration_fits_the_schema_of_the_values() -> None:
    """With its group id quoted, which is the one number that Helm would change."""
    text = (ROOT / "config/exporter.example.yml").read_text(encoding="utf-8")
    example = yaml.load(text, yaml.CSafeLoader)
    schema = values_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    wrong = [error.json_path for error in validator.iter_errors({"config": example})]
    assert wrong == ["$.config"]
    example["clusters"][0]["members"][0]["group_id"] = "533686286955839488"
    assert list(validator.iter_errors({"config": example})) == []
