"""All dashboards, in the order in which their questions come, and their JSON.

It is plain JSON but for `Text`, which becomes a string when a language is chosen.
"""

from collections.abc import Sequence
from typing import Any, Final

from exporter.metrics.family import Text
from grafana import exporter, lasting, members, octopus, overview, queues, submitting, waiting
from grafana.colours import SKY, thresholds
from grafana.duplicates import counted_once
from grafana.parts import DATASOURCE, Dashboard, Json, Panel, Query, Row

LANGUAGES: Final = ("en", "zh")
COLUMNS: Final = 24
BOARDS: Final = tuple(of.BOARD for of in (overview, queues, members, waiting, octopus, exporter, submitting, lasting))
DATASOURCE_VARIABLE: Final[Json] = {
    "type": "datasource",
    "name": "datasource",
    "label": Text("Data source", "数据源"),
    "query": "prometheus",
    "refresh": 1,
    "current": {},
}


def placed(panels: Sequence[Panel | Row]) -> list[Json]:
    """Panels as Grafana's JSON, from left to right and from top to bottom, each row of them as high as its highest."""
    done: list[Json] = []
    x = y = height = 0
    for number_, item in enumerate(panels, 1):
        wide, high = (COLUMNS, 1) if isinstance(item, Row) else item.size
        if x + wide > COLUMNS:
            x, y, height = 0, y + height, 0
        place = {"x": x, "y": y, "w": wide, "h": high}
        x, height = x + wide, max(height, high)
        made = (
            {"type": "row", "title": item.title, "collapsed": False, "panels": []}
            if isinstance(item, Row)
            else _panel(item)
        )
        done.append({"id": number_, "gridPos": place, **made})
    return done


def _panel(panel: Panel) -> Json:
    coloured_by = "palette-classic" if panel.kind == "timeseries" else "thresholds"
    defaults: Json = {
        "unit": panel.unit,
        "color": {"mode": coloured_by},
        "thresholds": thresholds(panel.steps or ((None, SKY),)),
        "mappings": list(panel.mappings),
        "custom": panel.custom,
        **panel.defaults,
    }
    if panel.no_value is not None:
        defaults["noValue"] = panel.no_value
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "interval": panel.min_step,
        "fieldConfig": {"defaults": defaults, "overrides": list(panel.overrides)},
        "options": panel.options,
        "targets": [_target(query, chr(ord("A") + index)) for index, query in enumerate(panel.queries)],
        "transformations": list(panel.transformations),
    }


def _target(query: Query, name: str) -> Json:
    at_once = query.instant or query.table
    return {
        "refId": name,
        "datasource": DATASOURCE,
        "expr": counted_once(" ".join(query.expr.split())) if query.once else " ".join(query.expr.split()),
        "legendFormat": query.legend or "__auto",
        "format": "table" if query.table else "time_series",
        "instant": at_once,
        "range": not at_once,
        "editorMode": "code",
    }


def dashboard(board: Dashboard, all_boards: Sequence[Dashboard]) -> Json:
    """Return a dashboard as Grafana's JSON, with links to all the others."""
    return {
        "uid": Text(f"{board.uid}-en", f"{board.uid}-zh"),
        "title": board.title,
        "description": board.description,
        "tags": ["hpc-exporter"],
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 41,
        "version": 1,
        "refresh": "1m",
        "time": {"from": f"now-{board.hours}h", "to": "now"},
        "timezone": "browser",
        "links": [_link(other) for other in all_boards if other is not board],
        "templating": {"list": [DATASOURCE_VARIABLE, *board.variables]},
        "annotations": {"list": []},
        "panels": placed(board.panels),
    }


def _link(board: Dashboard) -> Json:
    return {
        "type": "link",
        "title": board.title,
        "tooltip": board.description,
        "url": Text(f"/d/{board.uid}-en", f"/d/{board.uid}-zh"),
        "keepTime": True,
        "includeVars": True,
        "targetBlank": False,
        "icon": "dashboard",
        "tags": [],
        "asDropdown": False,
    }


def in_language(value: Any, language: str) -> Any:
    """`value` with each Text replaced by that language's string."""
    if isinstance(value, Text):
        return getattr(value, language)
    if isinstance(value, dict):
        return {in_language(key, language): in_language(each, language) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [in_language(each, language) for each in value]
    return value
