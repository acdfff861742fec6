"""What is made of other files is what would be made now: the chart's copies and schema, and the plain manifests."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.__main__ import CHART, MANIFESTS, PLAIN, differing, documents, strays, values_schema
from exporter import __version__
from exporter.cli.main import main
from tests.deploy.chart import engine

ROOT = Path(__file__).parents[2]


def plain(name: str) -> Any:
    return yaml.safe_load((PLAIN / f"{name}.yaml").read_text(encoding="utf-8"))


def test_every_file_is_what_it_is_made_from() -> None:
    """Otherwise: make deploy."""
    engine()
    assert differing() == []


def test_the_chart_has_the_rules_and_all_dashboards_of_the_project() -> None:
    copies = [path.relative_to(CHART / "files") for path in documents() if path.is_relative_to(CHART / "files")]
    assert {path.parts[0] for path in copies} == {"rules", "dashboards"}
    assert len(copies) == len(list((ROOT / "config/rules").glob("*"))) + len(
        list((ROOT / "grafana/provisioned").glob("*/*"))
    )
    assert strays() == []


def test_the_chart_names_the_version_of_the_exporter() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"] == __version__


def test_the_example_configuration_fits_the_schema_of_the_values() -> None:
    """With its group id quoted, which is the one number that Helm would change."""
    text = (ROOT / "config/exporter.example.yml").read_text(encoding="utf-8")
    example = yaml.safe_load(text)
    schema = values_schema()
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    wrong = [error.json_path for error in validator.iter_errors({"config": example})]
    assert wrong == ["$.config"]
    example["clusters"][0]["members"][0]["group_id"] = "533686286955839488"
    assert list(validator.iter_errors({"config": example})) == []


def test_the_kustomization_takes_every_manifest_and_the_image() -> None:
    kustomization = plain("kustomization")
    assert kustomization["resources"] == [f"{name}.yaml" for name in MANIFESTS]
    (image,) = kustomization["images"]
    (container,) = plain("statefulset")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{image['name']}:{__version__}"
    assert image["newTag"] == __version__


def test_the_configuration_of_the_manifests_is_right_with_the_secret_of_the_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = plain("secret.example")
    volume = plain("statefulset")["spec"]["template"]["spec"]["volumes"][0]["projected"]
    assert {"secret": {"name": secret["metadata"]["name"]}} in volume["sources"]
    for name, text in {**secret["stringData"], **plain("configmap")["data"]}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert main(["check", f"--config.file={tmp_path / 'exporter.yml'}"]) == 0, capsys.readouterr()


def test_the_manifests_say_the_number_of_shards_once_in_each_place() -> None:
    """And the README has Prometheus scrape so many pods."""
    spec = plain("statefulset")["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert f"--total-shards={spec['replicas']}" in container["args"]
    readme = (PLAIN / "README.md").read_text(encoding="utf-8")
    pods = sorted(set(re.findall(r"hpc-exporter-\d+\.hpc-exporter-headless\.hpc:9851", readme)))
    assert pods == [f"hpc-exporter-{n}.{spec['serviceName']}.hpc:9851" for n in range(spec["replicas"])]


def test_the_manifests_are_free_of_helm() -> None:
    for name in MANIFESTS:
        assert "helm" not in (PLAIN / f"{name}.yaml").read_text(encoding="utf-8").lower()
