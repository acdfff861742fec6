"""The parts of dashboards: texts in two languages, queries, panels and their properties."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, cast

from exporter.metrics.family import Text
from grafana.colours import SKY, Steps, thresholds

Json = dict[str, Any]


DATASOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
# Samples come every half minute or so: a finer step would only show that.
MIN_STEP: Final = "2m"
# Names of labels, and of states that tables have columns for.
LABELS: Final = {
    "hpc_cluster": Text("Region", "区域"),
    "group": Text("Group", "用户组"),
    "user": Text("User", "用户"),
    "queue": Text("Queue", "队列"),
    "accelerated": Text("Accelerated", "加速卡作业"),
    "source": Text("Source", "来源"),
    "collector": Text("Collector", "采集项"),
    "target": Text("Target", "目标"),
    "account": Text("Account", "账号"),
    "status": Text("Status", "状态"),
    "path": Text("Path", "路径"),
    "resource": Text("Resource", "资源"),
    "outcome": Text("Outcome", "结果"),
}
RUNNING, QUEUED, HELD = Text("Running", "运行"), Text("Queued", "排队"), Text("Held", "保留")
JOBS = Text("jobs", "作业数")
UNKNOWN, NOTHING = Text("unknown", "未知"), Text("-", "-")
NO_DATA, NONE_WAITS = Text("no data", "无数据"), Text("none known", "未见等待")


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


# Of a table: a label and its name, or the name of values and their query; values without a name are hidden.
Column: TypeAlias = tuple[str, Text] | tuple[Text | None, str | Query]


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


def coloured_cell(name: str | Text, steps: Steps = (), *, filled: bool = False, **properties: Any) -> Json:
    """Return an override for a column whose text, or background, has the colours of `steps` or of mappings."""
    options = {"type": "color-background", "mode": "basic"} if filled else {"type": "color-text"}
    colours = {"thresholds": thresholds(steps)} if steps else {}
    return override(name, custom__cellOptions=options, **colours, **properties)


def bar_cell(name: str | Text, steps: Steps, **properties: Any) -> Json:
    """Return an override for a column with bars from 0 up to the largest value, or to `max`, coloured by `steps`."""
    options = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    length = {} if "max" in properties else {"fieldMinMax": True}
    return override(name, custom__cellOptions=options, min=0, **length, thresholds=thresholds(steps), **properties)


def seconds(name: str | Text, steps: Steps = ()) -> Json:
    """Return an override for a column of durations, coloured by `steps`."""
    return coloured_cell(name, steps, unit="s", decimals=0) if steps else override(name, unit="s", decimals=0)


def quantile(share: float, buckets: str, *, by: str = "", window: str = "1h") -> str:
    """Return a quantile of a histogram, given its buckets; no value where nothing was observed in the window."""
    grouped = f"{by}, le" if by else "le"
    return f"histogram_quantile({share}, sum by ({grouped}) (increase({buckets}[{window}]))) >= 0"


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


def lines(
    title: Text, en: str, zh: str, queries: Query | Sequence[Query], *, stacked: bool = False, **more: Any
) -> Panel:
    """Return a time series; `stacked` where the sum of its series means something. `axis` names what is counted."""
    queries = [queries] if isinstance(queries, Query) else queries
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


def p90_and_p50(title: Text, en: str, zh: str, buckets: str, *, by: str, legend: str, **more: Any) -> Panel:
    """Return both quantiles over time, of what was observed within the hour before each moment."""
    queries = [Query(quantile(share, buckets, by=by), f"{legend} p{round(100 * share)}") for share in (0.9, 0.5)]
    return lines(title, en, zh, queries, unit="s", overrides=[dashed("B")], **more)


def bars(title: Text, en: str, zh: str, queries: Query | Sequence[Query], **more: Any) -> Panel:
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
    more = {"size": (3, 4), "defaults": defaults, **more}
    if not instant:
        # Else a number that is gone would stay on screen: the last one that there was.
        expr = f"({expr}) or vector(NaN)"
        gone = {"match": "nan", "result": {"text": more.get("no_value", NOTHING), "index": 0}}
        more["mappings"] = [{"type": "special", "options": gone}]
        options = {"graphMode": "area", "reduceOptions": STAT["reduceOptions"] | {"calcs": ["last"]}} | (options or {})
    query = Query(expr, instant=instant)
    return Panel("stat", title, Text(en, zh), [query], options=STAT | (options or {}), **more)


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


def named(*labels: str) -> list[Column]:
    """Return columns of a table for these labels."""
    return [(label, LABELS[label]) for label in labels]


def table(
    title: Text,
    en: str,
    zh: str,
    columns: Sequence[Column],
    *,
    sort: Text | None,
    falling: bool = True,
    **more: Any,
) -> Panel:
    """Return a table of these columns, in this order; other labels are hidden. Lines are brought together by their labels.

    Rows are sorted by `sort`, `falling` from the largest.
    """
    of_values = [name for name, _ in columns if not isinstance(name, str)]
    queries: list[Query] = []
    shown: dict[str, Text] = {}
    hidden = {"Time", "__name__", "instance", "job"}
    for name, of in columns:
        if isinstance(name, str):
            shown[name] = cast("Text", of)
            continue
        field_ = f"Value #{chr(ord('A') + len(queries))}" if len(of_values) > 1 else "Value"
        queries.append(of if isinstance(of, Query) else Query(cast("str", of), table=True))
        if name is None:
            hidden.add(field_)
        else:
            shown[field_] = name
    organize = {
        "excludeByName": dict.fromkeys(sorted(hidden - shown.keys()), True),
        "indexByName": {name: index for index, name in enumerate(shown)},
        "renameByName": shown,
    }
    transformations = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    if "no_value" in more:
        # Else an empty name would read as an empty table.
        empty = [override(shown[name], noValue=NOTHING) for name, _ in columns if isinstance(name, str)]
        more["overrides"] = [*empty, *more.pop("overrides", ())]
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [] if sort is None else [{"displayName": sort, "desc": falling}],
    }
    return Panel(
        "table",
        title,
        Text(en, zh),
        queries,
        options=options,
        transformations=[*transformations, {"id": "organize", "options": organize}],
        **{"no_value": NOTHING, **more},
    )


def ranking(title: Text, en: str, zh: str, expr: str, *, names: Sequence[Column], value: Text, **more: Any) -> Panel:
    """Return a table of current values, the largest first: the labels `names`, with a bar a series."""
    if more.get("unit") == "s":
        more.setdefault("defaults", {"decimals": 0})
    overrides = [bar_cell(value, more.pop("steps", ((None, SKY),))), *more.pop("overrides", ())]
    return table(title, en, zh, [*names, (value, expr)], sort=value, overrides=overrides, **more)
