"""The chart, rendered by Helm's own engine."""

import json
import os
import platform
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

CHART: Final = Path(__file__).parents[2] / "deploy" / "helm" / "hpc-exporter"
NAME: Final = "mon-hpc-exporter"
CONFIG: Final = """\
accounts:
  - name: lab
    user: alice
    access_key_file: access-key
    secret_key_file: secret-key
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: https://hpc.example.com:65106
    account: lab
    members: [{group_id: 533686286955839488, users: [test]}]
"""
# Sets of values that people use.
SETS: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "own secret": {"secrets": {"data": {"access-key": "sesame-4711", "secret-key": "sesame-4712"}}},
    "existing secret": {"secrets": {"existingSecret": "hpc-keys"}},
    "persistent": {"persistence": {"enabled": True, "storageClassName": "fast"}},
    "sharded": {"shards": 3, "secrets": {"existingSecret": "hpc-keys"}, "persistence": {"enabled": True}},
    "sharded without volumes": {"shards": 2, "extraArgs": ["--log.format=json"]},
    "tls": {
        "web": {"existingSecret": "hpc-web"},
        "serviceMonitor": {
            "enabled": True,
            "tlsConfig": {"ca": {"secret": {"name": "hpc-web", "key": "ca.crt"}}, "serverName": "hpc.example.com"},
            "basicAuth": {"username": {"name": "l", "key": "u"}, "password": {"name": "l", "key": "p"}},
        },
    },
    "operator": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "dashboards": {"dashboards": {"enabled": True, "annotations": {"grafana_folder": "HPC"}}},
    "chinese dashboards": {"dashboards": {"enabled": True, "languages": ["zh"]}},
    "everything": {
        "commonLabels": {"team": "hpc"},
        "serviceAccount": {"create": True, "annotations": {"a": "b"}},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "private-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/private-ca"}],
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "tls": [{"secretName": "hpc", "hosts": ["hpc.example.com"]}],
        },
        "probes": {"liveness": {"periodSeconds": 60}},
        "shards": 3,
        "fullnameOverride": "exporter",
        "image": {"repository": "registry.example.com/hpc-exporter", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "registry"}],
        "persistence": {"enabled": True},
        "secrets": {"data": {"access-key": "sesame-4711", "secret-key": "sesame-4712"}},
        "web": {"existingSecret": "hpc-web"},
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
        "serviceMonitor": {
            "enabled": True,
            "relabelings": [{"targetLabel": "site", "replacement": "a"}],
            "metricRelabelings": [{"action": "labeldrop", "regex": "x"}],
        },
        "prometheusRule": {"enabled": True, "disabled": ["HPCJobsHeld"]},
        "dashboards": {"enabled": True, "languages": ["en", "zh"]},
        "networkPolicy": {"enabled": True, "ingressFrom": [{"namespaceSelector": {}}]},
        "podDisruptionBudget": {"enabled": True},
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "high",
    },
}

Manifest = dict[str, Any]


def engine() -> Any:
    """Helm's engine; where it is not made for the machine, the test is skipped."""
    try:
        import helm_python  # noqa: PLC0415 - large, and not for every machine
    except ImportError:
        made_for = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
        if made_for and os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") == "1":
            raise
        pytest.skip("helm-python-sdk is not installed")
    return helm_python


@cache
def loaded() -> Any:
    return engine().Chart.load(CHART)


def templates(values: dict[str, Any]) -> dict[str, str]:
    """Return the manifests of each template in the release "mon". Raises HelmError."""
    found: dict[str, str] = loaded().render({"config": CONFIG, **values}, name="mon", namespace="hpc")
    return {Path(path).name: text for path, text in found.items()}


def rendered(values: dict[str, Any]) -> list[Manifest]:
    """Every object that is made; not to be changed."""
    return _rendered(json.dumps(values))


@cache
def _rendered(values: str) -> list[Manifest]:
    texts = [text for name, text in templates(json.loads(values)).items() if name != "NOTES.txt"]
    return [manifest for text in texts for manifest in yaml.load_all(text, yaml.CSafeLoader) if manifest]


def configuration(manifests: list[Manifest]) -> str:
    """Return the values that become exporter.yml."""
    (found,) = [m["data"]["exporter.yml"] for m in manifests if "exporter.yml" in m.get("data", {})]
    assert isinstance(found, str)
    return found


def only(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the only object of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def workload(manifests: list[Manifest]) -> Manifest:
    (found,) = [manifest for manifest in manifests if manifest["kind"] in ("Deployment", "StatefulSet")]
    return found


def container(manifests: list[Manifest]) -> dict[str, Any]:
    """Return the only container of the pods."""
    (found,) = workload(manifests)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def notes(values: dict[str, Any]) -> str:
    """Helm's notes after the installation, with every run of white space as one blank."""
    return re.sub(r"\s+", " ", templates(values)["NOTES.txt"])
