"""The lists of the status page as CSV, for spreadsheets and programs."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from exporter.app.joblist import JobPage, job_facts
from exporter.web.lists import chosen_rows
from exporter.web.query import PageQuery
from exporter.web.rows import IN_USE, JOBS, Row
from exporter.web.texts import AtLeast, Texts

_HEALTH: Final = ("health", "last_success")
# The columns of each list. A region or project is a cluster, as in the tables of the command line.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "members": ("cluster", "group", "user", *JOBS, *IN_USE, *_HEALTH),
    "people": ("user", "clusters", *JOBS, *IN_USE),
    "groups": ("group", "clusters", "people", *JOBS, *IN_USE),
    "regions": ("cluster", "people", *JOBS, *IN_USE),
    "queues": ("cluster", "user", "queue", *JOBS, *_HEALTH),
    "jobs": (
        *("cluster", "group", "user", "id", "name", "state", "reason", "queue"),
        *(f"requested_{name}" for name in ("nodes", *IN_USE)),
        *(f"allocated_{name}" for name in IN_USE),
        *("submitted", "started", "ended", "since", "since_basis"),
    ),
    "targets": (*("cluster", "collector", "target", *_HEALTH, "next_poll", "consecutive_failures", "reason", "error"),),
}
_FIELDS: Final = {"cluster": "source", "clusters": "regions", "health": "state"}
# Lets spreadsheets recognize UTF-8.
BOM: Final = "\ufeff"
# A spreadsheet takes a text that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_of(status: Mapping[str, Any], texts: Texts, query: PageQuery, *, bom: bool) -> str:
    """Return the list that `query` requests, a line a row. Unknown numbers, and sums with an unknown part, are empty."""
    rows: Iterable[Row]
    if query.selection.jobs is None:
        chosen = chosen_rows(status, texts, query)
        rows = chosen[query.selection.offset : query.selection.offset + query.selection.limit]
    else:
        rows = job_rows(status["job_page"])
    file = io.StringIO()
    writer = csv.writer(file)
    columns = COLUMNS[query.view]
    writer.writerow(columns)
    writer.writerows([_cell(column, row) for column in columns] for row in rows)
    return (BOM if bom else "") + file.getvalue()


def job_rows(page: JobPage) -> Iterator[dict[str, Any]]:
    """Yield the jobs by column. They may be a hundred thousand."""
    for entry in page.entries:
        facts = job_facts(entry)
        for part in ("requested", "allocated"):
            facts |= {f"{part}_{name}": amount for name, amount in facts[part].items()}
        yield facts


def _cell(column: str, row: Row) -> object:
    if column in ("reason", "error") and "last_error" in row:
        error = row["last_error"] or {}
        value = error.get("message" if column == "error" else column)
    else:
        value = row[_FIELDS.get(column, column)]
    if value is None or isinstance(value, AtLeast):
        return ""
    return cell(value)


def cell(value: object) -> object:
    """Return a value as it may stand in a spreadsheet: no text from outside is a formula there."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
