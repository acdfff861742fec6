"""``python -m deploy`` writes what the chart holds of other files of the project.

That is the schema of the chart's values, which takes in that of the configuration, and the version, wherever it stands.
The chart's ``files/`` are links to the rules and dashboards, one a file: Helm packs what they lead to. (A link to a
folder would do for Helm, but the sdist would hold the folder at one of its places only.)
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Final

from exporter import __version__

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy" / "helm" / "hpc-exporter"
# Folder of the chart -> folder that it shows.
LINKED: Final = {CHART / "files/rules": ROOT / "config/rules", CHART / "files/dashboards": ROOT / "grafana/provisioned"}
# Files that hold the version.
VERSIONED: Final = (CHART / "Chart.yaml", CHART / "README.md")
# Helm keeps this many digits of a number.
LARGEST: Final = 10**15 - 1


def wanted() -> dict[Path, str | Path]:
    """Return the content or the link target of each generated file."""
    made: dict[Path, str | Path] = {path: with_version(read(path)) for path in VERSIONED}
    made[CHART / "values.schema.json"] = json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"
    for here, there in LINKED.items():
        for path in filter(Path.is_file, there.rglob("*")):
            link = here / path.relative_to(there)
            made[link] = Path(os.path.relpath(path, link.parent))
    return made


def differing() -> list[Path]:
    """Files that differ from what they have to be, are missing, or lead to what is no more."""
    made = wanted()
    links = {path for path in (CHART / "files").rglob("*") if path.is_symlink()}
    there = {
        path: path.readlink() if path.is_symlink() else read(path) for path in links | {*filter(Path.exists, made)}
    }
    return sorted(path for path in made.keys() | there.keys() if made.get(path) != there.get(path))


def with_version(text: str) -> str:
    """`text` with the present version of the chart, the exporter and its image."""
    # Helm wants semantic versions: 0.2.0-rc.1 for 0.2.0rc1.
    chart = re.sub(r"\.?(a|b|rc|dev)(\d+)", r"-\1.\2", __version__)
    text = re.sub(r"(?m)^version: .*$", f"version: {chart}", text)
    text = re.sub(r"(?m)^appVersion: .*$", f"appVersion: {__version__}", text)
    return re.sub(r"(?<=/hpc-exporter:)\d[\w.]*", __version__, text)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def values_schema() -> dict[str, Any]:
    """Return the schema of the chart's values, with the definitions `Configuration` and those of the thresholds."""
    schema: dict[str, Any] = json.loads(read(ROOT / "deploy/values.schema.json"))
    configuration = exact(json.loads(read(ROOT / "config/exporter.schema.json")))
    del configuration["$schema"]
    schema["$defs"] |= configuration.pop("$defs")
    schema["$defs"]["Configuration"] = configuration
    rules = read(ROOT / "config/rules/alerts.yml")
    names = re.findall(r"record: hpc:threshold:(\w+)", rules)
    of_rules = schema["properties"]["prometheusRule"]["properties"]
    of_rules["disabled"]["items"]["enum"] = re.findall(r"(?m)^ +- alert: (\w+)", rules)
    numbers = of_rules["thresholds"]["properties"]
    numbers |= {name: {"type": "number", "minimum": 0} for name in names}
    return schema


def exact(part: Any) -> Any:
    """`part` of a schema without scalars for texts that Helm would change: fractions, long numbers, yes and no."""
    if isinstance(part, list):
        return [exact(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") == ["string", "number", "boolean"]:
        return {**part, "type": ["string", "integer"], "maximum": LARGEST}
    return {name: exact(each) for name, each in part.items()}


def main() -> None:
    made = wanted()
    for path in differing():
        path.unlink(missing_ok=True)
        target = made.get(path)
        if isinstance(target, Path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        elif target is not None:
            path.write_text(target, encoding="utf-8")


if __name__ == "__main__":
    main()
