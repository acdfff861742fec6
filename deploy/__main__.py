"""``python -m deploy`` writes what is made from other files of the project; ``--check`` says whether what is there differs.

That is, in the chart: copies of the rules and the dashboards (a chart cannot look outside of its folder), and the schema of
the values, which takes in that of the configuration. The plain manifests, which are the chart with the values beside
them. And the version, wherever it stands.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from exporter import __version__

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy" / "helm" / "hpc-exporter"
PLAIN: Final = ROOT / "deploy" / "kubernetes"
MADE: Final = "# Made by `make deploy` from the chart and values.yaml. Do not edit: a test compares.\n"
MANIFESTS: Final = ("configmap", "poddisruptionbudget", "service", "service-headless", "statefulset")
# Where the version stands.
VERSIONED: Final = (CHART / "Chart.yaml", CHART / "README.md", PLAIN / "kustomization.yaml")
# What Helm makes of a number keeps so many digits.
LARGEST: Final = 10**15 - 1


def documents() -> dict[Path, str]:
    """What each file has to hold, except the plain manifests."""
    rules = {CHART / "files/rules" / path.name: read(path) for path in (ROOT / "config/rules").glob("*.yml")}
    boards = {
        CHART / "files/dashboards" / path.parent.name / path.name: read(path)
        for path in (ROOT / "grafana/provisioned").glob("*/*.json")
    }
    schema = {CHART / "values.schema.json": json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"}
    versioned = {path: with_version(read(path)) for path in VERSIONED}
    return {**rules, **boards, **schema, **versioned}


def with_version(text: str) -> str:
    """`text` with the present version of the chart, the exporter and its image."""
    # Helm wants semantic versions: 0.2.0-rc.1 for 0.2.0rc1.
    chart = re.sub(r"\.?(a|b|rc|dev)(\d+)", r"-\1.\2", __version__)
    text = re.sub(r"(?m)^version: .*$", f"version: {chart}", text)
    text = re.sub(r"(?m)^(appVersion|    newTag): .*$", rf"\1: {__version__}", text)
    return re.sub(r"(?<=/hpc-exporter:)\d[\w.]*", __version__, text)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def values_schema() -> dict[str, Any]:
    """The schema of the chart's values, with that of the configuration as its definition `Configuration`, and the thresholds."""
    schema: dict[str, Any] = json.loads(read(ROOT / "deploy/values.schema.json"))
    configuration = exact(json.loads(read(ROOT / "config/exporter.schema.json")))
    del configuration["$schema"]
    schema["$defs"] |= configuration.pop("$defs")
    schema["$defs"]["Configuration"] = configuration
    names = re.findall(r"record: hpc:threshold:(\w+)", read(ROOT / "config/rules/alerts.yml"))
    numbers = schema["properties"]["prometheusRule"]["properties"]["thresholds"]["properties"]
    numbers |= {name: {"type": "number"} for name in names}
    return schema


def exact(part: Any) -> Any:
    """`part` of a schema, without scalars in place of texts that Helm would change: fractions, long numbers, yes and no."""
    if isinstance(part, list):
        return [exact(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == ["string", "number", "boolean"]:
        return {**part, "type": ["string", "integer"], "maximum": LARGEST}
    return {name: exact(each) for name, each in part.items()}


def manifests() -> dict[Path, str]:
    """What each of the plain manifests has to hold. Raises ImportError where Helm's engine is not to be had."""
    import helm_python  # noqa: PLC0415 - not on every machine, and not needed for all the rest

    with helm_python.Chart.load(CHART) as chart:
        values = helm_python.values_from_yaml(read(PLAIN / "values.yaml"))
        rendered = chart.render(values, name=chart.name, namespace="default")
        return {
            PLAIN / f"{name}.yaml": MADE + without_helm(rendered[f"{chart.name}/templates/{name}.yaml"])
            for name in MANIFESTS
        }


def without_helm(manifest: str) -> str:
    """A manifest without the labels by which Helm knows its own."""
    return re.sub(r"(?m)^ +(?:helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", manifest).strip() + "\n"


def strays() -> list[Path]:
    """Files of the chart that nothing is copied to any more."""
    return sorted({path for path in (CHART / "files").rglob("*") if path.is_file()} - documents().keys())


def differing() -> list[Path]:
    """Files that differ from what they have to hold, are missing, or are there without being made here."""
    wanted = {**documents(), **manifests()}
    return strays() + [path for path, text in wanted.items() if not path.is_file() or read(path) != text]


def write(wanted: dict[Path, str]) -> None:
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a file differs")
    if parser.parse_args().check:
        for path in differing():
            sys.stderr.write(f"{path.relative_to(ROOT)}: is not what it is made from; run: make deploy\n")
        return 1 if differing() else 0
    for path in strays():
        path.unlink()
    write(documents())
    try:
        # Rendered from what was just written.
        write(manifests())
    except ImportError:
        sys.stderr.write("deploy/kubernetes was left as it is: helm-python-sdk is not made for this machine\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
