"""``python -m deploy`` writes what is made from other files of the project; ``--check`` says whether what is there differs.

That is the schema of the chart's values, which takes in that of the configuration, and the version, wherever it stands.
The chart's ``files/`` are links to the rules and dashboards, one a file: Helm packs what they lead to. (A link to a folder
would do for Helm, but the sdist would hold the folder at one of its places only.)
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

from exporter import __version__

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "deploy" / "helm" / "hpc-exporter"
# Folder of the chart -> folder that it shows.
LINKED: Final = {CHART / "files/rules": ROOT / "config/rules", CHART / "files/dashboards": ROOT / "grafana/provisioned"}
# Where the version stands.
VERSIONED: Final = (CHART / "Chart.yaml", CHART / "README.md")
# What Helm makes of a number keeps so many digits.
LARGEST: Final = 10**15 - 1


def documents() -> dict[Path, str]:
    """What each file has to hold."""
    schema = json.dumps(values_schema(), indent=1, ensure_ascii=False) + "\n"
    return {CHART / "values.schema.json": schema, **{path: with_version(read(path)) for path in VERSIONED}}


def links() -> dict[Path, str]:
    """Where each link has to lead."""
    return {
        here / path.relative_to(there): os.path.relpath(path, (here / path.relative_to(there)).parent)
        for here, there in LINKED.items()
        for path in there.rglob("*")
        if path.is_file()
    }


def strays() -> list[Path]:
    """Links to what is no more."""
    return sorted({path for path in (CHART / "files").rglob("*") if path.is_symlink()} - links().keys())


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


def differing() -> list[Path]:
    """Files that differ from what they have to hold, are missing, or are there without being made here."""
    texts = [path for path, text in documents().items() if not path.is_file() or read(path) != text]
    astray = [path for path, target in links().items() if not path.is_symlink() or str(path.readlink()) != target]
    return texts + astray + strays()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a file differs")
    if parser.parse_args().check:
        for path in differing():
            sys.stderr.write(f"{path.relative_to(ROOT)}: is not what it is made from; run: make deploy\n")
        return 1 if differing() else 0
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")
    for path in strays():
        path.unlink()
    for path, target in links().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
