"""The dashboards as they are committed, and ways through them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PROVISIONED = ROOT / "grafana" / "provisioned"
LANGUAGES = ("en", "zh")
BOARDS = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text(encoding="utf-8"))
    for path in sorted(PROVISIONED.glob("*/*.json"))
}
ENGLISH = {name: board for name, board in BOARDS.items() if name.startswith("en/")}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """All but the rows' headings."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def targets(board: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each query with the title of its panel."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield panel["title"], target


def variables(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in board["templating"]["list"] if each["type"] == "query"]


def filled_in(expression: str, seconds: int, **values: str) -> str:
    """Return an expression as Grafana sends it.

    Every variable at All, over a range in seconds, unless `values` say otherwise.
    """
    known = {"__range": f"{seconds}s", "__rate_interval": "8m", "__interval": "2m", **values}
    return re.sub(r"\$([a-zA-Z_]\w*)", lambda match: known.get(match[1], ".*"), expression)


def expressions(board: dict[str, Any]) -> list[str]:
    """Return the queries of panels and variables, without Grafana's variables."""
    found = [target["expr"] for _, target in targets(board)]
    for each in variables(board):
        match = re.fullmatch(r"label_values\((.*), \w+\)", each["query"]["query"])
        assert match, each
        found.append(match[1])
    return [filled_in(expression, 3600) for expression in found]
