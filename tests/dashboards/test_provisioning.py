"""The files for Grafana, Prometheus and Docker Compose fit together."""

import re
from typing import Any

import pytest
import yaml

from tests.dashboards.boards import LANGUAGES, ROOT

COMPOSE = yaml.load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)


def mounts(service: str) -> dict[str, str]:
    """Path in the container -> path here, for what is mounted from here."""
    volumes = [
        volume.split(":") for volume in COMPOSE["services"][service].get("volumes", []) if volume.startswith("./")
    ]
    return {volume[1]: volume[0] for volume in volumes}


def test_every_image_is_pinned_to_a_version() -> None:
    for name, service in COMPOSE["services"].items():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name


def test_nothing_is_open_to_the_network() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_what_is_mounted_is_here(service: str) -> None:
    for path in mounts(service).values():
        assert (ROOT / path).exists(), path


def test_grafana_finds_the_dashboards_of_both_languages() -> None:
    provider = yaml.load(
        (ROOT / "grafana/provisioning/dashboards/hpc.yml").read_text(encoding="utf-8"), yaml.CSafeLoader
    )
    folders = [each["options"]["path"] for each in provider["providers"]]
    ((inside, outside),) = [pair for pair in mounts("grafana").items() if pair[1].endswith("provisioned")]
    assert folders == [f"{inside}/{language}" for language in LANGUAGES]
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / home.replace(inside, outside)).is_file()


def test_addresses_are_those_of_services() -> None:
    prometheus: dict[str, Any] = yaml.load(
        (ROOT / "config/prometheus.yml").read_text(encoding="utf-8"), yaml.CSafeLoader
    )
    datasource = yaml.load(
        (ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"), yaml.CSafeLoader
    )
    targets = prometheus["scrape_configs"] + prometheus["alerting"]["alertmanagers"]
    hosts = {
        target.split(":")[0] for each in targets for static in each["static_configs"] for target in static["targets"]
    }
    hosts.add(re.sub(r"https?://([^:/]+).*", r"\1", datasource["datasources"][0]["url"]))
    assert hosts == {"hpc-exporter", "alertmanager", "prometheus"}
    assert hosts < COMPOSE["services"].keys()
    assert datasource["datasources"][0]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
