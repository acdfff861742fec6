"""The query parameters of the status page and of `/api/v1/status`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from exporter.app.joblist import FIRST_ORDER, ORDERS, JobSelection
from exporter.app.status import DEFAULT_LIMIT, MAX_LIMIT, Selection
from exporter.errors import ExporterError
from exporter.polling import STATES
from exporter.records import JobState
from exporter.web.rows import FIRST_SORT, VIEWS

LONGEST_TEXT: Final = 200
# Rows of a list on one page, unless `limit` says otherwise.
ROWS: Final = 100
# The first list with rows is shown unless another one is chosen.
FIRST_VIEW: Final = next(iter(VIEWS))
# Parameters for single jobs only. With these, a state is one of jobs.
OF_JOBS: Final = ("user", "group", "queue")
PARAMETERS: Final = ("view", "filter", "state", "source", *OF_JOBS, "collector", "sort", "offset", "limit", "lang")


class QueryError(ExporterError):
    """A parameter is wrong; the text says which and why."""


def selection_of(query: Mapping[str, str], default_limit: int = DEFAULT_LIMIT) -> Selection:
    """Return the targets requested by ``filter``, ``state``, ``source``, ``collector``, ``offset`` and ``limit``.

    Raises QueryError.
    """
    return Selection(**_common(query, STATES, default_limit), collector=query.get("collector", ""))


def job_selection_of(query: Mapping[str, str], default_limit: int = DEFAULT_LIMIT) -> JobSelection:
    """Return the single jobs requested by the same parameters, ``user``, ``group``, ``queue`` and ``sort``.

    Raises QueryError.
    """
    sort = query.get("sort") or FIRST_ORDER
    _known("sort", sort.removeprefix("-"), ORDERS)
    return JobSelection(
        **_common(query, tuple(JobState), default_limit) | {name: query.get(name, "") for name in OF_JOBS},
        sort=sort.removeprefix("-"),
        descending=sort.startswith("-"),
    )


def _common(query: Mapping[str, str], known_states: tuple[str, ...], default_limit: int) -> dict[str, Any]:
    states = frozenset(state for state in query.get("state", "").split(",") if state)
    for state in sorted(states):
        _known("state", state, known_states)
    return {
        "text": query.get("filter", "")[:LONGEST_TEXT],
        "states": states,
        "source": query.get("source", ""),
        "offset": _number(query, "offset", 0, 0, 10**9),
        "limit": _number(query, "limit", default_limit, 1, MAX_LIMIT),
    }


@dataclass(frozen=True, slots=True)
class PageQuery:
    """The list that a page shows, and its rows: those selected, in the order of the column `sort`.

    `given` are the parameters as they were sent. Where no list was chosen, `view` is the first one.
    """

    selection: Selection
    view: str
    sort: str
    descending: bool
    given: Mapping[str, str]

    def opening(self, view: str) -> "PageQuery":
        """Return the query for another list, to open a page with on which none was chosen."""
        sort = FIRST_SORT[view]
        return replace(self, view=view, sort=sort.removeprefix("-"), descending=sort.startswith("-"))

    def address(self, **changes: object) -> str:
        """Return the address of the page with some parameters changed, on the first page of a list unless named."""
        wanted = {**self.given, "offset": "", **changes}
        if "jobs" in {self.view, view := changes.get("view") or self.view} and view != self.view:
            # A state of jobs is none of targets.
            wanted |= {**dict.fromkeys(("state", *OF_JOBS), ""), **changes}
        if wanted.get("view") == FIRST_VIEW:
            wanted["view"] = ""
        return "?" + urlencode({name: value for name, value in wanted.items() if value})


def page_query(query: Mapping[str, str], rows: int = ROWS) -> PageQuery:
    """Return the requested page, of `rows` rows unless it says otherwise. Raises QueryError."""
    view = query.get("view") or FIRST_VIEW
    _known("view", view, VIEWS)
    sort = query.get("sort") or FIRST_SORT[view]
    _known("sort", sort.removeprefix("-"), VIEWS[view])
    # Defaults are left out, so that a page has one address.
    default = {"view": FIRST_VIEW, "sort": FIRST_SORT[view]}
    given = {name: query[name] for name in PARAMETERS if query.get(name) not in ("", None, default.get(name))}
    if view == "jobs":
        selection = replace(selection_of({**query, "state": ""}, rows), jobs=job_selection_of(query, rows))
    else:
        selection = selection_of(query, rows)
    return PageQuery(selection, view, sort.removeprefix("-"), sort.startswith("-"), given)


def _known(name: str, value: str, known: Mapping[str, object] | tuple[str, ...]) -> None:
    if value not in known:
        raise QueryError(f"{name}: {value[:LONGEST_TEXT]!r} is none of {', '.join(known)}")


def _number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise QueryError(f"{name}: must be a whole number from {low} to {high}")
    return int(text)
