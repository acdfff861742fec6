"""What dashboards are made of: texts in two languages, queries, panels, variables, and their places on the grid.

Everything is plain JSON, but for `Text`, which becomes a string when a language is chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from grafana.duplicates import counted_once

Json = dict[str, Any]
LANGUAGES: Final = ("en", "zh")
COLUMNS: Final = 24


class Text(NamedTuple):
    """The same in every language."""

    en: str
    zh: str


# Okabe and Ito's colours, told apart by people of any colour vision. Blue is well, orange wants a look, vermilion action.
BLUE, SKY, GREEN, ORANGE, VERMILION = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
PURPLE, YELLOW, GREY, TEAL, WINE = "#CC79A7", "#F0E442", "#999999", "#44AA99", "#882255"

STATE_COLOURS: Final = {
    "running": GREEN,
    "queued": ORANGE,
    "held": PURPLE,
    "suspended": YELLOW,
    # Two more of Tol's, for states that are rare.
    "waiting": TEAL,
    "exiting": BLUE,
    "other": GREY,
    "unknown": VERMILION,
}
OUTCOME_COLOURS: Final = {
    "completed": SKY,
    "deleted": GREY,
    "failed": VERMILION,
    "timeout": ORANGE,
    "node_failure": PURPLE,
    "vanished_running": BLUE,
    "vanished_queued": YELLOW,
    "unknown": GREY,
}

DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
# Samples come every half minute or so: a finer step would only show that.
MIN_STEP: Final = "2m"


@dataclass(frozen=True)
class Query:
    """One query of a panel. `legend` may hold {{label}}; a `table` has a column for each label.

    Unless `once` is false, `expr` is rewritten so that an exporter that several jobs scrape counts once.
    """

    expr: str
    legend: str | Text = ""
    table: bool = False
    instant: bool = False
    once: bool = True


@dataclass(frozen=True)
class Panel:
    """One panel. `description` says what it shows and what to do about it. `steps` are thresholds: (from, colour)."""

    kind: str
    title: Text
    description: Text
    queries: Sequence[Query] = ()
    unit: str | Text = "short"
    width: int = 8
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = ()
    mappings: Sequence[Json] = ()
    no_value: Text | None = None
    min_step: str = MIN_STEP
    defaults: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    options: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()


@dataclass(frozen=True)
class Row:
    """A heading; the panels after it belong to it."""

    title: Text


@dataclass(frozen=True)
class Dashboard:
    """A dashboard. `uid` is completed by the language."""

    uid: str
    title: Text
    description: Text
    variables: Sequence[Json]
    panels: Sequence[Panel | Row]
    hours: int = 6


def override(name: str | Text, **properties: Any) -> Json:
    """Properties of one column or series; a dot in a name is written as two underscores."""
    found = [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": found}


def coloured(colours: dict[str, str]) -> list[Json]:
    """Overrides that give each series of a name its colour."""
    return [override(name, color={"mode": "fixed", "fixedColor": colour}) for name, colour in colours.items()]


def thresholds(steps: Sequence[tuple[float | None, str]]) -> Json:
    """From each value on, its colour; the first is from None."""
    return {"mode": "absolute", "steps": [{"value": start, "color": colour} for start, colour in steps]}


def shades(colour: str) -> Json:
    """Defaults that draw all series in shades of one colour: none of them is good news."""
    return {"color": {"mode": "shades", "fixedColor": colour}}


def dashed(query: str) -> Json:
    """An override that tells the series of one query (A, B, ...) from others of their colour."""
    style = {"fill": "dash", "dash": [6, 4]}
    return {
        "matcher": {"id": "byFrameRefID", "options": query},
        "properties": [{"id": "custom.lineStyle", "value": style}],
    }


def values(**texts: tuple[Text, str]) -> list[Json]:
    """Value mappings: `v0=(Text, colour)` for 0, any other name for itself."""
    return [
        {
            "type": "value",
            "options": {
                key.removeprefix("v") if key[1:].isdigit() else key: {"text": text, "color": colour, "index": index}
                for index, (key, (text, colour)) in enumerate(texts.items())
            },
        }
    ]


def lines(title: Text, description: Text, queries: Sequence[Query], *, stacked: bool = False, **more: Any) -> Panel:
    """A time series; `stacked` where the sum of its series means something. `axis` names what is counted."""
    axis = more.pop("axis", "")
    if more.get("unit") == "s":
        more.setdefault("defaults", {"decimals": 1})
    custom = {
        "drawStyle": "line",
        "lineWidth": 1 if stacked else 2,
        "fillOpacity": 60 if stacked else 0,
        "showPoints": "never",
        "spanNulls": False,
        "axisLabel": axis,
        "axisSoftMin": 0,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        **more.pop("custom", {}),
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    # Names the axis of what is counted, not that of time.
    overrides = [
        {"matcher": {"id": "byType", "options": "time"}, "properties": [{"id": "custom.axisLabel", "value": ""}]},
        *more.pop("overrides", ()),
    ]
    return Panel("timeseries", title, description, queries, custom=custom, options=options, overrides=overrides, **more)


def bars(title: Text, description: Text, queries: Sequence[Query], **more: Any) -> Panel:
    """Stacked bars over time, for what happened in each of them."""
    custom = {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 90, **more.pop("custom", {})}
    return lines(title, description, queries, stacked=True, custom=custom, min_step="15m", **more)


def number(title: Text, description: Text, query: Query, **more: Any) -> Panel:
    """One number, with how it went."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "center",
        "orientation": "auto",
        "textMode": "value",
        **more.pop("options", {}),
    }
    return Panel(
        "stat",
        title,
        description,
        [query],
        width=more.pop("width", 3),
        height=more.pop("height", 4),
        options=options,
        **more,
    )


def tiles(title: Text, description: Text, query: Query, **more: Any) -> Panel:
    """A coloured tile with its name for each series."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background_solid",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "textMode": "value_and_name",
    }
    return Panel("stat", title, description, [query], options=options, **more)


def table(
    title: Text,
    description: Text,
    queries: Sequence[Query],
    columns: dict[str, Text],
    *,
    sort: Text | None,
    **more: Any,
) -> Panel:
    """A table of the labels and values named in `columns`, in this order and by these names; others are hidden.

    The values of several queries are brought together by their labels: ``Value #A``, ``Value #B``.
    """
    hidden = {"Time", "__name__", "instance", "job", *more.pop("hidden", ())} - columns.keys()
    organize = {
        "excludeByName": dict.fromkeys(sorted(hidden), True),
        "indexByName": {name: index for index, name in enumerate(columns)},
        "renameByName": columns,
    }
    transformations = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    transformations += [{"id": "organize", "options": organize}, *more.pop("transformations", ())]
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [] if sort is None else [{"displayName": sort, "desc": True}],
    }
    return Panel(
        "table",
        title,
        description,
        queries,
        options=options,
        transformations=transformations,
        **more,
    )


def ranking(
    title: Text, description: Text, expr: str, names: dict[str, Text], value: Text, *, rising: bool = True, **more: Any
) -> Panel:
    """What is now, one bar a series: a table of the labels in `names` and a bar for the value, the largest first."""
    steps = more.pop("steps", ((None, SKY),))
    bar = override(
        value,
        custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
        min=0,
        fieldMinMax=True,
        thresholds=thresholds(steps),
        color={"mode": "thresholds"},
    )
    overrides = [bar, *more.pop("overrides", ())]
    columns = {**names, "Value": value}
    board = table(title, description, [Query(expr, table=True)], columns, sort=value, overrides=overrides, **more)
    board.options["sortBy"][0]["desc"] = rising
    return board


def variable(name: str, label: Text, query: str, **more: Any) -> Json:
    """A variable filled from Prometheus, of which several or all values can be chosen."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        **more,
    }


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
        wide, high = (COLUMNS, 1) if isinstance(item, Row) else (item.width, item.height)
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
    """A dashboard as Grafana's JSON, with links to all the others."""
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
