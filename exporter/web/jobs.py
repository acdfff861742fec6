"""The list of single jobs: its rows, cells and lines of CSV."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from exporter.app.joblist import JobPage, job_facts
from exporter.web.html import Markup, Parts, element, together
from exporter.web.query import PageQuery
from exporter.web.texts import Texts, number

# The setting without which no single jobs are shown.
PER_JOB: Final = "per_job: {enabled: true}"
# The columns of the table, each with what stands below it in the same cell.
SHOWN: Final[Mapping[str, str]] = {
    "job": "name",
    "user": "group",
    "queue": "source",
    "state": "reason",
    **dict.fromkeys(("cpus", "gpus", "dcus", "submitted", "started", "since"), ""),
}
TIMES: Final = ("submitted", "started", "since")


def job_rows(page: JobPage) -> Iterator[dict[str, Any]]:
    """Yield the rows of the shown jobs, by column."""
    for entry in page.entries:
        facts = job_facts(entry)
        numbers = {"cpus": entry.cpus, "gpus": entry.gpus, "dcus": entry.dcus}
        key = (facts["source"], facts["group"], facts["user"], facts["id"])
        yield {**facts, **numbers, "job": facts["id"], "key": key}


def csv_rows(page: JobPage) -> Iterator[dict[str, Any]]:
    """Yield the jobs with the columns of the CSV, which may be a hundred thousand."""
    for entry in page.entries:
        facts = job_facts(entry)
        for part in ("requested", "allocated"):
            facts |= {f"{part}_{name}": amount for name, amount in facts[part].items()}
        yield facts


class JobCells:
    """The contents of cells, in the language of `texts`."""

    def __init__(self, texts: Texts, parts: Parts, query: PageQuery) -> None:
        self._t = texts
        self._parts = parts
        self._query = query

    def cell(self, column: str, row: Mapping[str, Any]) -> Markup | str:
        """Return the content of a cell that holds no number."""
        if column in TIMES:
            return self._time(column, row)
        below = self._text(SHOWN[column], row)
        return together(
            self._text(column, row) or number(None),
            element("span", below, class_=f"below-{SHOWN[column]}") if below else None,
        )

    def _text(self, column: str, row: Mapping[str, Any]) -> Markup | None:
        value = row[column]
        if not value or (column == "reason" and value == row["state"]):
            return None
        if column in ("state", "reason"):
            words = self._t(value)
            unknown = row["raw_state"] if column == "state" else None
            return element("span", words, title=unknown, class_=f"job-{column}")
        name = element("bdi", value, title=value)
        wanted = {"user", "queue"} & {column}
        return element("a", name, href=f"{self._query.address(**{column: value})}#lists") if wanted else name

    def _time(self, column: str, row: Mapping[str, Any]) -> Markup | str:
        if row[column] is None:
            return number(None)
        shown = self._parts.time(row[column])
        basis = f"since_{row['since_basis']}"
        if column != "since" or basis == "since_reported":
            return shown
        return element("span", *self._t.around(basis, when=shown), title=self._t(f"explain_{basis}"))


def picked(texts: Texts, query: PageQuery, names: Sequence[str]) -> list[Markup]:
    """Return a link for each of these parameters that is set, which takes it away again."""
    return [
        element(
            "a",
            element("bdi", texts("labelled", name=texts(name), value=query.given[name])),
            " ✕",
            href=f"{query.address(**{name: ''})}#lists",
            class_="picked",
            title=texts("all_again"),
        )
        for name in names
        if name in query.given
    ]
