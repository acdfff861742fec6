"""The chart: Helm and Kubernetes take what it makes, and what it makes keeps the project's promises."""

import base64
import copy
import gzip
import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # it has annotations, and does not say so
import pytest
import yaml

from exporter.cli.main import main
from exporter.sources.collector import catalogue
from tests.deploy.chart import (
    CHART,
    CONFIG,
    NAME,
    SETS,
    configuration,
    container,
    engine,
    notes,
    only,
    rendered,
    templates,
    workload,
)
from tests.e2e.real import real_part
from tests.rules.test_rules import THRESHOLDS

ROOT = Path(__file__).parents[2]
README = (CHART / "README.md").read_text(encoding="utf-8")
VALUES = yaml.load((CHART / "values.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
OPERATORS = ("ServiceMonitor", "PrometheusRule")
each_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def rejection(values: dict[str, Any]) -> str:
    """Helm's message about values that it rejects."""
    with pytest.raises(engine().HelmError) as rejected:
        templates(values)
    return str(rejected.value)


@each_set
def test_helm_finds_nothing_wrong_with_it(values: dict[str, Any]) -> None:
    report = engine().lint(str(CHART), {"config": CONFIG, **values}, strict=True)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.fixture(scope="module")
def _schemas_read_once() -> Iterator[None]:
    """They are large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.usefixtures("_schemas_read_once")
@each_set
@pytest.mark.parametrize("version", ["1.28", "1.31", kubernetes_validate.latest_version()])
def test_kubernetes_takes_every_object(values: dict[str, Any], version: str) -> None:
    """Strictly: an unknown field is a mistake. Dashboards differ in their content alone; one will do."""
    kinds = {(m["kind"], "grafana_dashboard" in m["metadata"]["labels"]): m for m in rendered(values)}
    for manifest in kinds.values():
        if manifest["kind"] not in OPERATORS:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_an_object_that_kubernetes_would_not_take_is_found() -> None:
    """The test above can fail."""
    manifest = copy.deepcopy(workload(rendered({})))
    manifest["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, "1.31", strict=True)


LABEL_VALUE = {"type": "string", "pattern": r"^$|^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"}
SECRET_KEY = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "key": {"type": "string"}},
    "required": ["name", "key"],
    "additionalProperties": False,
}
RELABELINGS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "action": {"enum": ["replace", "labeldrop"]},
            "sourceLabels": {"type": "array", "items": {"type": "string"}},
            "targetLabel": {"type": "string"},
            "regex": {"type": "string"},
            "replacement": {"type": "string"},
        },
        "additionalProperties": False,
    },
}
# As far as the chart goes: https://prometheus-operator.dev/docs/api-reference/api/
OPERATOR_SCHEMAS = {
    "ServiceMonitor": {
        "type": "object",
        "properties": {
            "selector": {"type": "object", "properties": {"matchLabels": {"additionalProperties": LABEL_VALUE}}},
            "endpoints": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "port": {"const": "metrics"},
                        "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                        "scrapeTimeout": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                        "honorTimestamps": {"type": "boolean"},
                        "scheme": {"enum": ["http", "https"]},
                        "tlsConfig": {"type": "object"},
                        "basicAuth": {"type": "object", "properties": {"username": SECRET_KEY, "password": SECRET_KEY}},
                        "relabelings": RELABELINGS,
                        "metricRelabelings": RELABELINGS,
                    },
                    "required": ["port"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["selector", "endpoints"],
        "additionalProperties": False,
    },
    "PrometheusRule": {
        "type": "object",
        "properties": {
            "groups": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "interval": {"type": "string"},
                        "rules": {"type": "array"},
                    },
                    "required": ["name", "rules"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["groups"],
        "additionalProperties": False,
    },
}


@each_set
def test_the_prometheus_operator_takes_its_objects(values: dict[str, Any]) -> None:
    """They are there if wanted, and only then: without their definitions, Kubernetes rejects the whole release."""
    found = [manifest for manifest in rendered(values) if manifest["kind"] in OPERATORS]
    wanted = {"serviceMonitor": "ServiceMonitor", "prometheusRule": "PrometheusRule"}
    assert {manifest["kind"] for manifest in found} == {
        kind for section, kind in wanted.items() if values.get(section, {}).get("enabled")
    }
    for manifest in found:
        assert manifest["apiVersion"] == "monitoring.coreos.com/v1"
        jsonschema.validate(manifest["spec"], OPERATOR_SCHEMAS[manifest["kind"]])
        assert (
            manifest["metadata"]["labels"].items()
            >= values["serviceMonitor" if manifest["kind"] == "ServiceMonitor" else "prometheusRule"]
            .get("labels", {})
            .items()
        )


@each_set
def test_names_are_unique_and_labels_are_legal(values: dict[str, Any]) -> None:
    manifests = rendered(values)
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(names)) == len(names)
    for manifest in manifests:
        for label in manifest["metadata"]["labels"].values():
            jsonschema.validate(label, LABEL_VALUE)


@each_set
def test_selectors_select_the_pods(values: dict[str, Any]) -> None:
    manifests = rendered(values)
    labels = workload(manifests)["spec"]["template"]["metadata"]["labels"].items()
    assert labels >= workload(manifests)["spec"]["selector"]["matchLabels"].items()
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Service":
            assert labels >= spec["selector"].items()
        elif manifest["kind"] == "NetworkPolicy":
            assert labels >= spec["podSelector"]["matchLabels"].items()
        elif manifest["kind"] == "PodDisruptionBudget":
            assert labels >= spec["selector"]["matchLabels"].items()


def test_secrets_are_files_and_nothing_else() -> None:
    """Their content is in the Secret alone; the pods mount it beside the configuration."""
    manifests = rendered(SETS["own secret"])
    secret = only(manifests, "Secret")
    assert secret["stringData"] == SETS["own secret"]["secrets"]["data"]
    assert "sesame" not in str([manifest for manifest in manifests if manifest is not secret])
    assert {"secret": {"name": secret["metadata"]["name"]}} in config_volume(manifests)["sources"]


def config_volume(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    pod = workload(manifests)["spec"]["template"]["spec"]
    (volume,) = [volume["projected"] for volume in pod["volumes"] if volume["name"] == "config"]
    assert isinstance(volume, dict)
    return volume


def test_an_existing_secret_is_used_and_none_is_made() -> None:
    manifests = rendered(SETS["existing secret"])
    assert not any(manifest["kind"] == "Secret" for manifest in manifests)
    assert config_volume(manifests)["sources"] == [{"configMap": {"name": NAME}}, {"secret": {"name": "hpc-keys"}}]
    assert "env" not in container(manifests)


def test_two_sources_of_secrets_are_rejected() -> None:
    both = {"existingSecret": "hpc-keys", "data": {"token": "x"}}
    assert "exclude each other" in rejection({"secrets": both})


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ("token: sesame", "token"),
        ("clusters:\n  - name: a\n    token: sesame", "token"),
        ("clusters:\n  - token: sesame", "token"),
        ("clusters: [{name: a, token: sesame}]", "token"),
        ("clusters: [{'token': sesame}]", "token"),
        ("accounts:\n  - {access_key: sesame, secret_key: sesame}", "access_key"),
        ("secret_key: ${SESAME}", "secret_key"),
        ("password: sesame  # not good", "password"),
        ({"clusters": [{"name": "a", "cluster_id": 1, "hpc_url": "https://a", "token": "sesame"}]}, "token"),
    ],
)
def test_a_secret_in_the_configuration_is_rejected_without_showing_it(config: Any, key: str) -> None:
    said = rejection({"config": config})
    assert f"config holds a secret ({key})" in said
    assert f"{key}_file: KEY_OF_THE_SECRET" in said
    assert "sesame" not in said


def test_files_of_secrets_and_comments_on_them_are_no_secrets() -> None:
    config = "# token: sesame\ntoken_file: a  # password: none\naccess_key_file: b\ntoken_url: https://x"
    assert configuration(rendered({"config": config})).strip() == config


def test_without_a_configuration_it_says_what_to_do() -> None:
    assert "config is empty: give the exporter's configuration, such as --set-file config=exporter.yml" in rejection(
        {"config": None}
    )


@pytest.mark.parametrize("config", ["clusters: [", "sesame", "- sesame"])
def test_a_configuration_that_is_no_yaml_is_rejected_without_showing_it(config: str) -> None:
    said = rejection({"config": config})
    assert "config is not YAML with sections such as clusters: " in said
    assert "sesame" not in said


def check(folder: Path, manifests: list[dict[str, Any]]) -> int:
    """Return the exit status of `hpc-exporter check` for the mounted folder."""
    (folder / "exporter.yml").write_text(configuration(manifests), encoding="utf-8")
    for key in ("access-key", "secret-key"):
        (folder / key).write_text("made up", encoding="utf-8")
    return main(["check", f"--config.file={folder / 'exporter.yml'}"])


@pytest.mark.parametrize("form", ["text", "mapping"])
def test_the_exporter_takes_the_configuration_to_the_last_digit(tmp_path: Path, form: str) -> None:
    mapping = yaml.load(CONFIG, yaml.CSafeLoader)
    mapping["clusters"][0]["members"][0]["group_id"] = "533686286955839488"
    manifests = rendered({"config": CONFIG if form == "text" else mapping})
    assert check(tmp_path, manifests) == 0
    assert "533686286955839488" in (tmp_path / "exporter.yml").read_text(encoding="utf-8")


def test_a_mapping_with_a_number_that_helm_would_round_is_rejected() -> None:
    said = rejection({"config": yaml.load(CONFIG, yaml.CSafeLoader)})
    assert "/config/clusters/0/members/0/group_id" in said
    assert "maximum" in said


def test_a_mapping_with_an_unknown_key_is_rejected() -> None:
    assert "'clustrs' not allowed" in rejection({"config": {"clustrs": []}})


@pytest.mark.parametrize(
    "values",
    [
        {"prometheusRule": {"thresholds": {"job_waiting": 1}}},
        {"prometheusRule": {"thresholds": {"failed_jobs": "5)"}}},
        {"shard": 3},
        {"shards": 0},
        {"image": {"tags": "a"}},
        {"dashboards": {"languages": ["de"]}},
        {"extraEnv": [{"name": "A", "value": 1}]},
        {"ingress": {"enabled": True, "hosts": ["https://hpc.example.com"]}},
        {"commonLabels": {"app.kubernetes.io/name": "other"}},
        {"commonLabels": {"my team": "hpc"}},
        {"prometheusRule": {"thresholds": {"failed_jobs": -1}}},
    ],
)
def test_values_that_mean_nothing_are_rejected(values: dict[str, Any]) -> None:
    assert "values don't meet the specifications of the schema" in rejection(values)


def test_every_value_is_described() -> None:
    """The keys of the schema and of values.yaml are the same."""

    def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
        properties = schema["properties"]
        assert values.keys() == properties.keys() - {"global"}, path
        for name, value in values.items():
            if isinstance(value, dict) and "properties" in properties[name]:
                compare(value, properties[name], f"{path}.{name}")

    compare(VALUES, json.loads((CHART / "values.schema.json").read_text(encoding="utf-8")), "values")


def test_one_pod_is_a_deployment_that_never_has_a_second_one() -> None:
    manifests = rendered({})
    spec = only(manifests, "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert not any("shard" in argument for argument in container(manifests)["args"])


def test_shards_know_their_number_from_their_pod() -> None:
    """The label is Kubernetes' own, of version 1.28 and later."""
    manifests = rendered(SETS["sharded"])
    assert container(manifests)["args"][-2:] == ["--shard=$(POD_INDEX)", "--total-shards=3"]
    assert container(manifests)["env"] == [
        {
            "name": "POD_INDEX",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
        }
    ]
    spec = only(manifests, "StatefulSet")["spec"]
    assert spec["replicas"] == 3
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenScaled": "Delete", "whenDeleted": "Retain"}
    headless = [m for m in manifests if m["kind"] == "Service" and m["metadata"]["name"] == spec["serviceName"]]
    assert [service["spec"]["clusterIP"] for service in headless] == ["None"]
    assert (
        yaml.load((CHART / "Chart.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)["kubeVersion"] == ">=1.28.0-0"
    )


@each_set
def test_the_serve_command_takes_the_arguments(values: dict[str, Any], tmp_path: Path) -> None:
    """All of them, as Kubernetes passes them to the first of the pods."""
    manifests = rendered(values)
    assert check(tmp_path, manifests) == 0
    moved = {"/etc/hpc-exporter/exporter.yml": str(tmp_path / "exporter.yml"), "$(POD_INDEX)": "0"}
    arguments = [a for a in container(manifests)["args"] if not a.startswith("--web.config.file=")]
    for old, new in moved.items():
        arguments = [argument.replace(old, new) for argument in arguments]
    assert main([*arguments, "--config.check"]) == 0


@each_set
def test_state_has_a_place_that_the_only_user_may_write_to(values: dict[str, Any]) -> None:
    manifests = rendered(values)
    pod = workload(manifests)["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount for mount in container(manifests)["volumeMounts"]}
    assert mounts.pop("state")["mountPath"] == "/var/lib/hpc-exporter"
    assert all(mount.get("readOnly") for name, mount in mounts.items() if name != "ca")
    claims = [claim["metadata"]["name"] for claim in workload(manifests)["spec"].get("volumeClaimTemplates", [])]
    assert sorted([volume["name"] for volume in pod["volumes"]] + claims) == sorted([*mounts, "state"])
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "VOLUME /var/lib/hpc-exporter" in dockerfile
    assert "USER 9851" in dockerfile
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 9851,
        "runAsGroup": 9851,
        "fsGroup": 9851,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False


def test_a_pod_is_not_restarted_for_targets_that_take_long() -> None:
    probes = container(rendered({}))
    for probe in ("startupProbe", "livenessProbe"):
        assert probes[probe]["httpGet"] == {"path": "/-/healthy", "port": "metrics"}
    assert probes["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "metrics"}
    assert only(rendered({}), "Service")["spec"]["publishNotReadyAddresses"] is True


def test_probes_need_no_password_and_no_certificate() -> None:
    manifests = rendered(SETS["tls"])
    probes = container(manifests)
    for probe in ("startupProbe", "livenessProbe"):
        program, *arguments = probes[probe]["exec"]["command"]
        assert f'CMD ["{program}", "{arguments[0]}", "{arguments[1]}"]' in (ROOT / "Dockerfile").read_text(
            encoding="utf-8"
        )
    assert probes["readinessProbe"]["tcpSocket"] == {"port": "metrics"}
    assert "--web.config.file=/etc/hpc-exporter-web/web.yml" in probes["args"]
    assert only(manifests, "ServiceMonitor")["spec"]["endpoints"][0]["scheme"] == "https"


@pytest.mark.parametrize("name", ["operator", "everything"])
def test_scraped_series_keep_the_exporters_own_labels(name: str) -> None:
    """The operator gives each target labels; none that remains is one of ours, which would then be renamed."""
    (endpoint,) = only(rendered(SETS[name]), "ServiceMonitor")["spec"]["endpoints"]
    dropped = [rule["regex"] for rule in endpoint["relabelings"] if rule.get("action") == "labeldrop"]
    given = {"job", "instance", "namespace", "service", "endpoint", "pod", "container"}
    remaining = {label for label in given if not re.fullmatch(dropped[0], label)}
    ours = {label for family in catalogue().values() for label in family.labels}
    assert remaining == given - {"container"}
    assert not remaining & ours


@pytest.mark.parametrize("name", ["operator", "everything"])
def test_prometheus_takes_the_relabelings(name: str, tmp_path: Path) -> None:
    (endpoint,) = only(rendered(SETS[name]), "ServiceMonitor")["spec"]["endpoints"]
    snake = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    rules = [{snake.get(key, key): value for key, value in rule.items()} for rule in endpoint["relabelings"]]
    scrape = {"job_name": "x", "scrape_timeout": endpoint["scrapeTimeout"], "scrape_interval": endpoint["interval"]}
    config = {"scrape_configs": [{**scrape, "relabel_configs": rules}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    assert promtool("check", "config", tmp_path / "prometheus.yml") == 0


def promtool(*arguments: str | Path) -> int:
    done = subprocess.run([real_part("promtool"), *map(str, arguments)], check=False, capture_output=True)  # noqa: S603 - Prometheus' own program
    return done.returncode


def test_only_one_service_is_scraped() -> None:
    """Twice the same samples would be two of everything."""
    manifests = rendered(SETS["everything"])
    selector = only(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    services = [manifest for manifest in manifests if manifest["kind"] == "Service"]
    assert len(services) == 2
    assert len([service for service in services if service["metadata"]["labels"].items() >= selector]) == 1


def test_alerts_can_be_left_out() -> None:
    def alerts(values: dict[str, Any]) -> set[str]:
        objects = [manifest for manifest in rendered(values) if manifest["kind"] == "PrometheusRule"]
        rules = [rule for each in objects for group in each["spec"]["groups"] for rule in group["rules"]]
        assert {rule["record"] for rule in rules if "record" in rule} >= set(THRESHOLDS)
        return {rule["alert"] for rule in rules if "alert" in rule}

    every = alerts(SETS["operator"])
    assert alerts({"prometheusRule": {"enabled": True, "disabled": ["HPCJobsHeld", "HPCNoSchedulers"]}}) == every - {
        "HPCJobsHeld",
        "HPCNoSchedulers",
    }
    assert "values don't meet" in rejection({"prometheusRule": {"enabled": True, "disabled": ["HPCNonsense"]}})


def test_what_a_cluster_demands_can_be_set() -> None:
    of_users = {"podSecurityContext": {"runAsUser": 1000}, "securityContext": {"readOnlyRootFilesystem": False}}
    manifests = rendered({**SETS["everything"], **of_users})
    pod = workload(manifests)["spec"]["template"]
    spec, inside = pod["spec"], pod["spec"]["containers"][0]
    assert pod["metadata"]["labels"]["team"] == "hpc"
    assert all(manifest["metadata"]["labels"]["team"] == "hpc" for manifest in manifests)
    assert spec["serviceAccountName"] == only(manifests, "ServiceAccount")["metadata"]["name"] == "exporter"
    assert {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"} in inside["env"]
    assert {"name": "ca", "mountPath": "/etc/private-ca"} in inside["volumeMounts"]
    assert {"name": "ca", "configMap": {"name": "private-ca"}} in spec["volumes"]
    assert (inside["livenessProbe"]["periodSeconds"], inside["livenessProbe"]["timeoutSeconds"]) == (60, 5)
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsNonRoot"]) == (1000, True)
    assert inside["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    (rule,) = only(manifests, "Ingress")["spec"]["rules"]
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "exporter", "port": {"name": "metrics"}}
    (endpoint,) = only(manifests, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["relabelings"][-1] == {"targetLabel": "site", "replacement": "a"}


def test_the_rules_are_those_of_the_project(tmp_path: Path) -> None:
    objects = [manifest for manifest in rendered(SETS["operator"]) if manifest["kind"] == "PrometheusRule"]
    groups = [manifest["spec"] for manifest in objects]
    files = sorted((ROOT / "config/rules").glob("*.yml"))
    assert groups == [yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader) for file in files]
    for number, group in enumerate(groups):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump(group), encoding="utf-8")
        assert promtool("check", "rules", path) == 0


def test_thresholds_of_the_rules_are_values() -> None:
    """Each of them can be set, to a number of any size, and nothing else changes."""
    for name, value in zip(THRESHOLDS, cycle([0, 0.25, 7, 259200, 12345678])):
        values = {"prometheusRule": {"enabled": True, "thresholds": {name.removeprefix("hpc:threshold:"): value}}}
        specs = [m["spec"] for m in rendered(values) if m["kind"] == "PrometheusRule"]
        rules = [rule for spec in specs for group in spec["groups"] for rule in group["rules"]]
        (set_one,) = [rule["expr"] for rule in rules if rule.get("record") == name]
        assert float(set_one.removeprefix("vector(").removesuffix(")")) == value
        alerts = yaml.load((ROOT / "config/rules/alerts.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)
        for rule in alerts["groups"][0]["rules"]:
            rule["expr"] = set_one if rule["record"] == name else rule["expr"]
        assert alerts in specs


@pytest.mark.parametrize(
    ("name", "languages"), [("dashboards", ["en"]), ("chinese dashboards", ["zh"]), ("everything", ["en", "zh"])]
)
def test_the_dashboards_are_those_of_the_project_in_the_languages_that_are_wanted(
    name: str, languages: list[str]
) -> None:
    maps = [manifest for manifest in rendered(SETS[name]) if "grafana_dashboard" in manifest["metadata"]["labels"]]
    assert all(manifest["metadata"]["labels"]["grafana_dashboard"] == "1" for manifest in maps)
    found = {key: json.loads(text) for manifest in maps for key, text in manifest["data"].items()}
    assert found == {
        f"{file.stem}.{language}.json": json.loads(file.read_text(encoding="utf-8"))
        for language in languages
        for file in (ROOT / "grafana/provisioned" / language).glob("*.json")
    }


def test_nothing_is_too_large() -> None:
    """A ConfigMap fits into 1 MiB, and, for `kubectl apply`, into an annotation of 256 KiB.

    The release's record into 1 MiB.

    Helm records chart and manifests as gzipped JSON, files and result in base64. Half of what may be is the alarm.
    """
    manifests = rendered(SETS["everything"])
    for manifest in manifests:
        assert len(json.dumps(manifest)) < 128 * 1024, manifest["metadata"]["name"]
    paths = [Path(folder) / name for folder, _, names in os.walk(CHART, followlinks=True) for name in names]
    assert len(paths) > 20
    files = {str(path): base64.b64encode(path.read_bytes()).decode() for path in paths}
    record = gzip.compress(json.dumps({"files": files, "manifest": json.dumps(manifests)}).encode())
    assert len(base64.b64encode(record)) < 512 * 1024


def test_the_network_policy_lets_in_scrapes_and_out_what_polls_need() -> None:
    spec = only(rendered(SETS["everything"]), "NetworkPolicy")["spec"]
    assert spec["ingress"] == [{"ports": [{"port": "metrics"}], "from": [{"namespaceSelector": {}}]}]
    names, regions = spec["egress"]
    assert {(port["port"], port["protocol"]) for port in names["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert [port["port"] for port in regions["ports"]] == [443, 65102, 65106]
    open_to_all = only(rendered({"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]["ingress"]
    assert open_to_all == [{"ports": [{"port": "metrics"}]}]


def test_the_notes_lead_to_the_alert() -> None:
    assert "is in no public registry" in notes({})
    assert "is in no public registry" not in notes(SETS["everything"])
    assert "You do not have it yet" in notes({})
    assert "scrape these: mon-hpc-exporter.hpc:9851" in notes({})
    sharded = notes({"shards": 2})
    assert "mon-hpc-exporter-1.mon-hpc-exporter-headless.hpc:9851" in sharded
    with_operator = notes(SETS["operator"])
    assert "You do not have it yet" not in with_operator
    assert "(hpc_exporter_token_expiry_timestamp_seconds - time()) / 3600" in with_operator
    assert "HPCTokenExpiring" in with_operator
    assert "volume is not used yet" in notes(SETS["persistent"])
    stateful = f"{CONFIG}tracking: {{state_file: /var/lib/hpc-exporter/tracker.db}}\n"
    assert "volume is not used yet" not in notes({**SETS["persistent"], "config": stateful})


def test_the_readme_names_values_that_there_are() -> None:
    """In its commands, and where it explains them."""
    names = re.findall(r"--set(?:-file)? '?([\w.]+)=", README) + re.findall(r"^\*\*`([\w.]+)`", README, re.MULTILINE)
    assert len(names) > 10
    for name in names:
        here: Any = VALUES
        for part in name.split("."):
            if here == {}:
                break
            assert part in here, name
            here = here[part]
