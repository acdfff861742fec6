"""The parts of dashboards: texts in two languages, queries, panels and their properties."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.metrics.family import Text
from grafana.colours import SKY, Steps, thresholds

Json = dict[str, Any]


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
    size: tuple[int, int] = (8, 8)
    steps: Steps = ()
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
    """Return overrides that give each series of a name its colour."""
    return [override(name, color={"mode": "fixed", "fixedColor": colour}) for name, colour in colours.items()]


def dashed(query: str) -> Json:
    """Return an override that distinguishes the series of one query (A, B, ...) from others of their colour."""
    style = {"fill": "dash", "dash": [6, 4]}
    return {
        "matcher": {"id": "byFrameRefID", "options": query},
        "properties": [{"id": "custom.lineStyle", "value": style}],
    }


def seconds(name: str | Text, steps: Steps = ()) -> Json:
    """Return an override for a column of durations, coloured by `steps`."""
    colour = {"custom__cellOptions": {"type": "color-text"}, "thresholds": thresholds(steps)} if steps else {}
    return override(name, unit="s", decimals=0, **colour)


def quantile(share: float, buckets: str, *, by: str = "", window: str = "1h") -> str:
    """Return a quantile of a histogram, given its buckets; no value where nothing was observed in the window."""
    grouped = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouped}) (increase({buckets}[{window}]))) >= 0"


def p90_and_p50(buckets: str, *, by: str, legend: str) -> list[Query]:
    return [Query(quantile(share, buckets, by=by), f"{legend} p{round(100 * share)}") for share in (0.9, 0.5)]


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


def lines(title: Text, en: str, zh: str, queries: Sequence[Query], *, stacked: bool = False, **more: Any) -> Panel:
    """Return a time series; `stacked` where the sum of its series means something. `axis` names what is counted."""
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
    return Panel(
        "timeseries", title, Text(en, zh), queries, custom=custom, options=options, overrides=overrides, **more
    )


def bars(title: Text, en: str, zh: str, queries: Sequence[Query], **more: Any) -> Panel:
    """Stacked bars over time, for what happened in each of them."""
    custom = {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 90, **more.pop("custom", {})}
    return lines(title, en, zh, queries, stacked=True, custom=custom, min_step="15m", **more)


STAT: Final[Json] = {
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    "colorMode": "value",
    "graphMode": "none",
    "justifyMode": "center",
    "orientation": "auto",
    "textMode": "value",
}


def number(
    title: Text, en: str, zh: str, expr: str, *, instant: bool = False, options: Json | None = None, **more: Any
) -> Panel:
    """One number, with its course unless it is `instant`: of the whole time on screen."""
    defaults = {"decimals": 0} if more.get("unit") == "s" else {}
    graph = {} if instant else {"graphMode": "area"}
    more = {"size": (3, 4), "defaults": defaults, **more}
    return Panel(
        "stat", title, Text(en, zh), [Query(expr, instant=instant)], options=STAT | graph | (options or {}), **more
    )


def tiles(
    title: Text, en: str, zh: str, expr: str, *, legend: str | Text, states: Sequence[tuple[Text, str]], **more: Any
) -> Panel:
    """Return a tile with its name for each series; the values 0, 1, ... are those of `states`, with their colours."""
    return Panel(
        "stat",
        title,
        Text(en, zh),
        [Query(expr, legend, instant=True)],
        steps=[(value or None, colour) for value, (_, colour) in enumerate(states)],
        mappings=values(**{f"v{value}": state for value, state in enumerate(states)}),
        options=STAT | {"colorMode": "background_solid", "textMode": "value_and_name"},
        **more,
    )


def table(
    title: Text,
    en: str,
    zh: str,
    queries: Sequence[str | Query],
    columns: dict[str, Text],
    *,
    sort: Text | None,
    **more: Any,
) -> Panel:
    """Return a table of the labels and values named in `columns`, in this order and by these names; others are hidden.

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
        Text(en, zh),
        [query if isinstance(query, Query) else Query(query, table=True) for query in queries],
        options=options,
        transformations=transformations,
        **more,
    )


def ranking(
    title: Text, en: str, zh: str, expr: str, *, names: dict[str, Text], value: Text, rising: bool = True, **more: Any
) -> Panel:
    """Return a panel of current values, the largest first: a table of the labels in `names` with a bar a series."""
    if more.get("unit") == "s":
        more.setdefault("defaults", {"decimals": 0})
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
    board = table(title, en, zh, [expr], columns, sort=value, overrides=overrides, **more)
    board.options["sortBy"][0]["desc"] = rising
    return board
