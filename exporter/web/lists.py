"""The lists of the status page: their rows, filtered, sorted and in pages, with tabs, form and pager."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from exporter.polling import STATES
from exporter.web.html import Markup, Parts, element, together, void
from exporter.web.query import FIRST_SORT, FIRST_VIEW, VIEWS, PageQuery
from exporter.web.texts import Texts, number

NUMBERS: Final = frozenset({"running", "queued", "held", "suspended", "other", "cpus", "gpus", "dcus"})
# A first click sorts these with the largest number or the most recent success on top.
DESCENDING_FIRST: Final = NUMBERS | {"last_success"}
# Values of a target that its row shows; all are in its details.
VALUES_SHOWN: Final = 6
_DIGITS: Final = re.compile(r"([0-9]{1,18})")

# The values of a row by column, and those of its target.
Row = Mapping[str, Any]


class Lists:
    """The list that `query` asks for, of all targets in `status`, with its form, tabs and pager."""

    def __init__(self, status: Mapping[str, Any], texts: Texts, parts: Parts, query: PageQuery) -> None:
        self._status = status
        self._t = texts
        self._parts = parts
        self._query = query

    def html(self) -> Markup:
        query, targets = self._query, self._status["targets"]
        every = rows_of(query.view, targets)
        chosen = [row for row in every if self._matches(row)]
        chosen.sort(key=lambda row: sort_key(query.sort, row), reverse=query.descending)
        offset, limit = query.selection.offset, query.selection.limit
        view = element(
            "section",
            element("h3", self._t(query.view), id="heading", class_="unseen"),
            self._table(chosen[offset : offset + limit])
            if chosen
            else element("p", self._t("nothing_matches" if every else "nothing_here"), class_="empty"),
            class_="view",
        )
        return element(
            "section",
            element("h2", self._t("lists"), class_="unseen"),
            element("div", self._tabs(sizes(targets)), self._form(len(chosen), len(every)), class_="choices"),
            view,
            self._pager(len(chosen)),
            id="lists",
        )

    def _matches(self, row: Row) -> bool:
        wanted = self._query.selection
        return (
            (not wanted.source or row["source"] == wanted.source)
            and (not wanted.collector or row["collector"] == wanted.collector)
            and (not wanted.states or row["state"] in wanted.states)
            and (not wanted.text or self._has_words(row, wanted.text))
        )

    def _has_words(self, row: Row, text: str) -> bool:
        error = self._parts.reason(row["last_error"]) if row["last_error"] else ""
        words = " ".join((*row["key"], self._title(row), error)).casefold()
        return all(word in words for word in text.casefold().split())

    def _title(self, row: Row) -> str:
        return self._t(f"collector_{row['collector']}")

    def _tabs(self, counts: Mapping[str, int]) -> Markup:
        links = [
            element(
                "a",
                self._t(view),
                element("span", number(counts[view]), class_="count"),
                href=self._query.address(view="" if view == FIRST_VIEW else view, sort=""),
                aria_current="page" if view == self._query.view else None,
            )
            for view in VIEWS
        ]
        return element("nav", *links, id="tabs", aria_label=self._t("lists"))

    def _form(self, chosen: int, total: int) -> Markup:
        t, query = self._t, self._query
        first = FIRST_SORT[query.view]
        orders = [(column, f"{t(column)} ↑") for column in VIEWS[query.view]]
        orders += [(f"-{column}", f"{t(column)} ↓") for column in VIEWS[query.view]]
        text = void(
            "input",
            type="search",
            name="filter",
            id="filter",
            aria_label=t("filter"),
            value=query.given.get("filter", ""),
            placeholder=t("filter_hint"),
            autocomplete="off",
            spellcheck="false",
        )
        kept = (name for name in ("view", "collector", "limit", "lang") if name in query.given)
        return element(
            "form",
            text,
            self._select("state", [("", t("all_states")), ("stale,failing", t("problems"))], STATES, "state_"),
            self._select("source", [("", t("all_sources"))], [each["name"] for each in self._status["sources"]]),
            # The order that is the first one anyway is left out of the address.
            self._select("sort", [("" if column == first else column, text) for column, text in orders]),
            *(void("input", type="hidden", name=name, value=query.given[name]) for name in kept),
            element("button", t("apply")),
            element(
                "p",
                t("all_shown", total) if chosen == total else t("shown", chosen, total=number(total)),
                class_="shown",
                role="status",
            ),
            role="search",
        )

    def _select(
        self, name: str, choices: list[tuple[str, str]], values: Iterable[str] = (), prefix: str = ""
    ) -> Markup:
        """Return a choice of the parameter `name`; `prefix` leads from a value to its text."""
        given = self._query.given.get(name, "")
        choices = [*choices, *((value, self._t(prefix + value) if prefix else value) for value in values)]
        options = [element("option", text, value=value, selected=value == given) for value, text in choices]
        label = self._t("sort_by" if name == "sort" else name)
        return element("select", *options, name=name, id=name, aria_label=label)

    def _table(self, rows: list[Row]) -> Markup:
        columns = VIEWS[self._query.view]
        head = element("tr", *(self._head(column) for column in columns), role="row")
        body = (
            element(
                "tr",
                *(self._cell(column, row) for column in columns),
                role="row",
                class_=row["state"],
                data_key="\t".join(row["key"]),
            )
            for row in rows
        )
        return element(
            "table",
            element("thead", head, role="rowgroup"),
            element("tbody", *body, role="rowgroup"),
            role="table",
            class_=self._query.view,
            aria_labelledby="heading",
        )

    def _head(self, column: str) -> Markup:
        query, sorted_by = self._query, column == self._query.sort
        descending = not query.descending if sorted_by else column in DESCENDING_FIRST
        sort = f"-{column}" if descending else column
        link = element(
            "a", self._t.head(column), href=query.address(sort="" if sort == FIRST_SORT[query.view] else sort)
        )
        order = ("descending" if query.descending else "ascending") if sorted_by else None
        return element("th", link, scope="col", role="columnheader", class_=classes(column), aria_sort=order)

    def _cell(self, column: str, row: Row) -> Markup:
        value, zero = row[column], False
        if column in NUMBERS:
            content: object = number(value)
            zero = value == 0
        elif column == "state":
            content = self._parts.chip(value)
        elif column == "target":
            content = self._details(row)
        elif column in ("last_success", "next_poll"):
            content = self._time(column, row)
        elif column == "result":
            content = self._result(row)
        else:
            content = element("bdi", self._title(row) if column == "collector" else value)
        return element("td", content, role="cell", class_=classes(column) + " zero" * zero, data_label=self._t(column))

    def _time(self, column: str, row: Row) -> Markup | str:
        future = column == "next_poll"
        return self._parts.time(row[column], "now" if future else "never", future=future)

    def _result(self, row: Row) -> Markup | None:
        """Return the last error; without one the first values, where the target has no list of its own."""
        if row["state"] == "absent":
            return element("bdi", self._t("explain_absent"))
        if row["last_error"]:
            return element("bdi", self._parts.reason(row["last_error"]))
        values = list(value_texts(row))
        more = [self._t("and_more", len(values) - VALUES_SHOWN)] if len(values) > VALUES_SHOWN else []
        return element("bdi", " · ".join(values[:VALUES_SHOWN] + more)) if values else None

    def _details(self, row: Row) -> Markup:
        """Return the details of a target, below its name."""
        facts = {
            "state": self._t(f"explain_{row['state']}"),
            "source": element("bdi", row["source"]),
            "collector": self._title(row),
            "last_success": self._time("last_success", row),
            "next_poll": self._time("next_poll", row),
            "failures": number(row["consecutive_failures"]),
            "values": element("bdi", " · ".join(value_texts(row))) if row["values"] else None,
            "last_error": element("bdi", self._parts.reason(row["last_error"])) if row["last_error"] else None,
        }
        pairs = (
            together(element("dt", self._t(name)), element("dd", fact))
            for name, fact in facts.items()
            if fact is not None
        )
        summary = element("summary", element("bdi", row["target"] or row["source"]))
        return element("details", summary, element("dl", *pairs), name="target")

    def _pager(self, matching: int) -> Markup | None:
        offset, limit = self._query.selection.offset, self._query.selection.limit
        if not offset and matching <= limit:
            return None

        def link(name: str, to: int, rel: str) -> Markup:
            return element("a", self._t(name), href=f"{self._query.address(offset=to)}#lists", rel=rel)

        last = min(offset + limit, matching)
        return element(
            "nav",
            link("previous", max(0, offset - limit), "prev") if offset else None,
            element("span", self._t("range", matching, first=number(offset + 1), last=number(last)))
            if offset < matching
            else None,
            link("next", offset + limit, "next") if last < matching else None,
            class_="pager",
            aria_label=self._t("pages_of_list"),
        )


def rows_of(view: str, targets: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return the rows of a list. ``key`` tells a row from all others of its list."""
    rows: list[Row] = []
    for target in targets:
        name, key = target["target"], (target["source"], target["collector"], target["target"])
        row = {**target, "key": key, "result": target["last_error"]}
        if view == "targets":
            rows.append(row)
        elif view == "members" and target["member"]:
            rows.append({**row, **target["member"]["jobs"], **target["member"]["in_use"], "member": name})
        elif view == "queues" and target["tasks"]:
            unknown = dict.fromkeys(("running", "held", "suspended", "other"))
            rows.append({**row, **unknown, "queued": target["tasks"]["length"], "user": "", "queue": name})
        elif view == "queues":
            queues = target["queues"] or ()
            rows += [{**row, **queue, "user": name, "key": (*key, queue["queue"])} for queue in queues]
    return rows


def sizes(targets: Collection[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of rows of each list."""
    return {
        "targets": len(targets),
        "queues": sum(len(target["queues"] or ()) + (target["tasks"] is not None) for target in targets),
        "members": sum(target["member"] is not None for target in targets),
    }


def sort_key(column: str, row: Row) -> Any:
    """Unknown numbers and moments come before all others; user2 comes before user10."""
    value = row[column]
    if column == "state":
        return STATES.index(value)
    if column in NUMBERS:
        return -1 if value is None else value
    if column == "result":
        return (0, value["reason"], value["message"]) if value else (1, "", "")
    parts = enumerate(_DIGITS.split(value or ""))
    return [int(part) if index % 2 else part.casefold() for index, part in parts]


def value_texts(row: Row) -> Iterator[str]:
    """Yield the values of a target, each with the labels that do not merely say which target it is."""
    values = row["values"] or ()
    families = {value["family"] for value in values}
    shared = os.path.commonprefix([*families]).rpartition("_")[0]  # noqa: RUF071 - names are no paths
    for value in values:
        labels = list(value["labels"].values())
        for own in (row["source"], *row["target"].split("/")):
            if labels[:1] == [own]:
                del labels[0]
        family = value["family"].removeprefix(shared).strip("_").replace("_", " ") if len(families) > 1 else ""
        # The value of an info metric is always 1.
        amount = "" if value["family"].endswith("_info") else number(value["value"])
        yield " ".join(filter(None, (family, *labels, amount)))


def classes(column: str) -> str:
    return f"{column} number" if column in NUMBERS else column
