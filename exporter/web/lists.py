"""The lists of the status page: their rows, filtered, sorted and in pages, with tabs, form and pager."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.app.joblist import has_words, job_facts
from exporter.polling import STATES
from exporter.records import WAITS, JobState
from exporter.web.html import Markup, Parts, element, together, void
from exporter.web.query import OF_JOBS, PageQuery
from exporter.web.rows import (
    FIRST_SORT,
    GROUPED,
    IN_USE,
    NUMBERS,
    VIEWS,
    Row,
    grouped,
    rows_of,
    sort_key,
    totals,
    unlisted,
    value_texts,
)
from exporter.web.texts import Texts, number

# A first click sorts these with the largest number or the most recent success on top.
DESCENDING_FIRST: Final = NUMBERS | {"last_success"}
# Values of a target that its row shows; all are in its details.
VALUES_SHOWN: Final = 6
# The setting without which no single jobs are shown.
PER_JOB: Final = "per_job: {enabled: true}"
# The columns of the list of single jobs, each with what stands below it in the same cell.
OF_JOB: Final[Mapping[str, str]] = {
    "job": "name",
    "user": "group",
    "queue": "source",
    "state": "reason",
    **dict.fromkeys((*IN_USE, "submitted", "started", "since"), ""),
}
# The column that names a row of each list.
NAMING: Final = {view: columns[0] for view, columns in VIEWS.items()} | {"targets": "target"}


def chosen_rows(status: Mapping[str, Any], texts: Texts, query: PageQuery) -> list[Row]:
    """Return the rows of the list that match, sorted."""

    def words_of(row: Row) -> str:
        return " ".join((*row["key"], texts(f"collector_{row['collector']}"), texts.reason(row["last_error"])))

    wanted = query.selection
    every = rows_of(query.view, status["targets"])
    found = [
        row
        for row in every
        if (not wanted.source or row["source"] == wanted.source)
        and (not wanted.collector or row["collector"] == wanted.collector)
        and (not wanted.states or row["state"] in wanted.states)
        and (not wanted.text or has_words(wanted.text, words_of(row)))
    ]
    chosen = grouped(query.view, found)
    chosen.sort(key=lambda row: sort_key(query.sort, row), reverse=query.descending)
    return chosen


def missing_sources(status: Mapping[str, Any], view: str) -> list[str]:
    """Return the regions and clusters whose jobs or members are not in a list because they are not known."""
    if view == "jobs":
        missing: list[str] = status["jobs"]["missing"]
        return missing
    return sorted({row["source"] for row in unlisted(view, status["targets"])})


def missing_text(status: Mapping[str, Any], view: str, texts: Texts) -> str:
    """Return the message about the regions that are missing in a list; empty where none is."""
    names = missing_sources(status, view)
    text = {"jobs": "jobs_missing", "queues": "queues_missing"}.get(view, "members_missing")
    return texts(text, names=texts("comma").join(names)) if names else ""


class Lists:
    """The list that `query` asks for, of all targets in `status`, with its form, tabs and pager.

    `counts` are the numbers of rows of all lists.
    """

    def __init__(
        self, status: Mapping[str, Any], counts: Mapping[str, int], texts: Texts, parts: Parts, query: PageQuery
    ) -> None:
        self._status = status
        self._t = texts
        self._parts = parts
        self._query = query
        self._counts = counts
        self._unlisted = unlisted(query.view, status["targets"])

    def html(self) -> Markup:
        query = self._query
        total = self._counts[query.view]
        if query.selection.jobs is None:
            chosen = chosen_rows(self._status, self._t, query)
            offset, limit = query.selection.offset, query.selection.limit
            shown, matching = chosen[offset : offset + limit], len(chosen)
        else:
            shown = chosen = list(self._job_rows())
            matching = self._status["job_page"].matching
        view = element(
            "section",
            element("h3", self._t(query.view), id="heading", class_="unseen"),
            self._table(shown, chosen) if shown else self._empty(matching, total),
            class_="view",
        )
        listed = query.view != "jobs" or self._status["jobs"]["enabled"]
        return element(
            "section",
            element("h2", self._t("lists"), class_="unseen"),
            element("div", self._tabs(), self._form(matching, total) if listed else None, class_="choices"),
            self._missing(),
            view,
            element("div", self._pager(matching), self._download() if listed else None, class_="below"),
            id="lists",
        )

    def _job_rows(self) -> Iterator[Row]:
        for entry in self._status["job_page"].entries:
            facts = job_facts(entry)
            key = (facts["source"], facts["group"], facts["user"], facts["id"])
            yield {**facts, **{name: getattr(entry, name) for name in IN_USE}, "job": facts["id"], "key": key}

    def _missing(self) -> Markup | None:
        """Return the message about regions whose jobs or members are unknown and missing in the list, if there are any."""
        missing = missing_text(self._status, self._query.view, self._t)
        return element("p", missing, class_="missing") if missing else None

    def _empty(self, matching: int, total: int) -> Markup:
        if self._query.view == "jobs" and not self._status["jobs"]["enabled"]:
            return element("p", *self._t.around("jobs_off", setting=element("code", PER_JOB)), class_="empty")
        nothing = "nothing_here" if self._missing() is None else "nothing_known"
        text = "nothing_more" if matching else "nothing_matches" if total else nothing
        return element("p", self._t(text), class_="empty")

    def _title(self, row: Row) -> str:
        return self._t(f"collector_{row['collector']}")

    def _download(self) -> Markup:
        """Return the link to the whole list as CSV; the mark at its beginning lets spreadsheets read Chinese."""
        query = self._query
        kept = query.address(view="", limit="", lang="", bom=1)
        return element(
            "a", self._t("csv"), href=f"./api/v1/{query.view}.csv{kept}", class_="csv", download=f"{query.view}.csv"
        )

    def _tabs(self) -> Markup:
        counts = self._counts
        problems = sum(self._status["summary"][state] for state in ("stale", "failing"))
        links = [
            element(
                "a",
                self._t(view),
                element("span", number(counts[view]), class_="count") if counts[view] or view != "jobs" else None,
                element("span", self._t("with_problem", problems), class_="chip failing")
                if view == "targets" and problems
                else None,
                href=self._query.address(view=view, sort=""),
                aria_current="page" if view == self._query.view else None,
            )
            for view in VIEWS
            if counts[view] or view in ("targets", self._query.view) or (view == "jobs" and counts["members"])
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
            placeholder=t("filter_hint_jobs" if query.view == "jobs" else "filter_hint"),
            autocomplete="off",
            spellcheck="false",
        )
        kept = (name for name in ("view", *OF_JOBS, "collector", "limit", "lang") if name in query.given)
        return element(
            "form",
            text,
            self._select("state", self._state_choices().items()),
            self._select(
                "source", [("", t("all_sources")), *((each["name"],) * 2 for each in self._status["sources"])]
            ),
            # The order that is the first one anyway is left out of the address.
            self._select("sort", [("" if column == first else column, text) for column, text in orders]),
            *(void("input", type="hidden", name=name, value=query.given[name]) for name in kept),
            element("button", t("apply")),
            *self._picked(),
            element(
                "p",
                t("all_shown", total) if chosen == total else t("shown", chosen, total=number(total)),
                class_="shown",
                role="status",
            ),
            role="search",
        )

    def _state_choices(self) -> dict[str, str]:
        """Return the values of the parameter `state` that can be chosen, with their texts, and the one that is given."""
        t, of_jobs = self._t, self._query.view == "jobs"
        states = {
            state: t(state if of_jobs else f"state_{state}") for state in map(str, JobState if of_jobs else STATES)
        }
        several = (",".join(sorted(WAITS)), t("all_waiting")) if of_jobs else ("stale,failing", t("problems"))
        choices = dict([("", t("all_states")), several, *states.items()])
        if (given := self._query.given.get("state", "")) not in choices:
            choices[given] = ", ".join(states[state] for state in given.split(",") if state)
        return choices

    def _picked(self) -> Iterator[Markup]:
        """Yield a link for each parameter of single jobs that is set, which takes it away again."""
        for name in OF_JOBS:
            if name in self._query.given:
                chosen = self._t("labelled", name=self._t(name), value=self._query.given[name])
                address = f"{self._query.address(**{name: ''})}#lists"
                again = self._t("all_again")
                yield element("a", element("bdi", chosen), " ✕", href=address, class_="picked", title=again)

    def _select(self, name: str, choices: Iterable[tuple[str, str]]) -> Markup:
        """Return a choice of the parameter `name`, of values with their texts."""
        given = self._query.given.get(name, "")
        options = [element("option", text, value=value, selected=value == given) for value, text in choices]
        label = self._t("sort_by" if name == "sort" else name)
        return element("select", *options, name=name, id=name, aria_label=label)

    def _table(self, rows: Sequence[Row], every: Sequence[Row]) -> Markup:
        """Return the table of `rows`, and below it the sums of `every` row of the list that matches."""
        columns = tuple(OF_JOB) if self._query.view == "jobs" else VIEWS[self._query.view]
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
            self._sums(columns, every) if self._query.view not in ("targets", "jobs") and len(every) > 1 else None,
            role="table",
            class_=self._query.view,
            aria_labelledby="heading",
        )

    def _sums(self, columns: Sequence[str], rows: Sequence[Row]) -> Markup:
        sums = totals([*rows, *self._unlisted])
        names = [column for column in columns if column not in NUMBERS]
        label = self._t("sum_of", len(rows))
        cells = (
            element("th", label, role="rowheader", scope="row", colspan=len(names), class_="sum"),
            *(
                element("td", number(sums[column]), role="cell", class_=classes(column), data_label=self._t(column))
                if column != "people"
                else element("td", role="cell", class_=classes(column))
                for column in columns
                if column in NUMBERS
            ),
        )
        return element("tfoot", element("tr", *cells, role="row"), role="rowgroup")

    def _head(self, column: str) -> Markup:
        query, sorted_by = self._query, column == self._query.sort
        descending = not query.descending if sorted_by else column in DESCENDING_FIRST
        sort = f"-{column}" if descending else column
        link = element(
            "a",
            self._t(column) if query.view == "jobs" and column in NUMBERS else self._t.head(column),
            href=query.address(sort="" if sort == FIRST_SORT[query.view] else sort),
        )
        order = ("descending" if query.descending else "ascending") if sorted_by else None
        return element("th", link, scope="col", role="columnheader", class_=classes(column), aria_sort=order)

    def _cell(self, column: str, row: Row) -> Markup:
        value, zero = row[column], False
        if column in NUMBERS:
            content: object = number(value)
            zero = value == 0
        elif self._query.view == "jobs":
            content = self._of_job(column, row)
        elif column == "state":
            content = self._parts.chip(value)
        elif column == "target":
            content = self._details(row)
        elif column in ("last_success", "next_poll"):
            content = self._time(column, row)
        elif column == "result":
            content = self._result(row)
        elif column == NAMING[self._query.view]:
            content = self._name(value, row)
        else:
            content = element("bdi", self._title(row) if column == "collector" else value, title=value)
        return element("td", content, role="cell", class_=classes(column) + " zero" * zero, data_label=self._t(column))

    def _of_job(self, column: str, row: Row) -> Markup | str:
        if column in ("submitted", "started", "since"):
            return self._job_time(column, row)
        below = self._job_text(OF_JOB[column], row)
        return together(
            self._job_text(column, row) or number(None),
            element("span", below, class_=f"below-{OF_JOB[column]}") if below else None,
        )

    def _job_text(self, column: str, row: Row) -> Markup | None:
        value = row[column]
        if not value or (column == "reason" and value == row["state"]):
            return None
        if column in ("state", "reason"):
            unknown = row["raw_state"] if column == "state" else None
            return element("span", self._t(value), title=unknown, class_=f"job-{column}")
        name = element("bdi", value, title=value)
        wanted = column in ("user", "queue")
        return element("a", name, href=f"{self._query.address(**{column: value})}#lists") if wanted else name

    def _job_time(self, column: str, row: Row) -> Markup | str:
        if row[column] is None:
            return number(None)
        shown = self._parts.time(row[column])
        basis = f"since_{row['since_basis']}"
        if column != "since" or basis == "since_reported":
            return shown
        return element("span", *self._t.around(basis, when=shown), title=self._t(f"explain_{basis}"))

    def _name(self, value: str, row: Row) -> Markup:
        """Return the name of a row: of sums, with a link to what was added up; with its state, unless it is well."""
        view = self._query.view
        name = element("bdi", value or self._t("nameless"), title=value)
        if view in GROUPED:
            where = {"source": value} if view == "regions" else {"filter": value}
            first = "members" if self._counts["members"] else "queues"
            there = self._query.address(**{"view": first, "sort": "", **where})
            name = element("a", name, href=there)
        elif view == "members" and self._status["jobs"]["enabled"]:
            of_member = self._query.address(view="jobs", sort="", filter="", user=value, source=row["source"])
            name = element("a", name, href=of_member)
        return together(name, self._parts.chip(row["state"]) if row["state"] in ("stale", "failing") else None)

    def _time(self, column: str, row: Row) -> Markup | str:
        future = column == "next_poll"
        return self._parts.time(row[column], "now" if future else "never", future=future)

    def _result(self, row: Row) -> Markup | None:
        """Return the last error; without one the first values, where the target has no list of its own."""
        if row["state"] == "absent":
            return element("bdi", self._t("explain_absent"))
        if row["last_error"]:
            return element("bdi", self._t.reason(row["last_error"]))
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
            "last_error": element("bdi", self._t.reason(row["last_error"])) if row["last_error"] else None,
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
        # Of a list that has become shorter, it is the last page.
        previous = max(0, min(offset - limit, (matching - 1) // limit * limit))
        return element(
            "nav",
            link("previous", previous, "prev") if offset else None,
            element("span", self._t("range", matching, first=number(offset + 1), last=number(last)))
            if offset < matching
            else None,
            link("next", offset + limit, "next") if last < matching else None,
            class_="pager",
            aria_label=self._t("pages_of_list"),
        )


def classes(column: str) -> str:
    return f"{column} number" if column in NUMBERS else column
