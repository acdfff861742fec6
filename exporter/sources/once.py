"""The rows of `hpc-exporter once` for a collector that shows more than the values of its families."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from exporter.records import JobState

# States in which a job usually is: shown although no job is in them.
USUAL_STATES = (JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of JSON objects that commands print. Keys are added, never renamed, removed or given another meaning."""


@dataclass(frozen=True, slots=True)
class Column:
    """`whole`: never shortened, because half a number is a wrong number. `styled`: known words in it have colours.

    `summed`: the sum of the column says something. `minor`: left out first where there is no room.
    """

    title: str
    whole: bool = False
    right: bool = False
    styled: bool = False
    summed: bool = False
    minor: bool = False


def number(title: str) -> Column:
    """Return a column of numbers."""
    return Column(title, whole=True, right=True)


def count(title: str, *, minor: bool = False) -> Column:
    """Return a column of numbers that can be added up."""
    return Column(title, whole=True, right=True, summed=True, minor=minor)


# None is unknown, not zero.
Cell = str | int | None


class Table(NamedTuple):
    """The rows of a table, with a cell for each of its columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True, eq=False)
class Once:
    """Rows of a collector's own.

    `key` is that of the JSON list of them, `shape` what one of them is, and `rows` makes them from a target's subject
    and what its poll found. `table` makes a table of the rows of all targets, under the heading `heading`; `nothing`
    stands there if there is none. None: they are in the JSON only.
    """

    key: str
    shape: type[Shape]
    rows: Callable[[Any, Any], Iterable[Shape]]
    heading: str = ""
    nothing: str = ""
    table: Callable[[Sequence[Any]], Table] | None = None


def states_to_show(*met: JobState) -> list[JobState]:
    """Return the usual states and those that were met, in the order that people know."""
    wanted = {*USUAL_STATES, *met}
    return [state for state in JobState if state in wanted]


def state_columns(states: Sequence[JobState]) -> list[Column]:
    """Return a column of counts for each state."""
    return [count(state, minor=state not in (JobState.RUNNING, JobState.QUEUED)) for state in states]


def rounded(value: float | None, unit: int = 1) -> str | None:
    """`value` in units of `unit`, to a thousandth of one; with ten digits at most."""
    return None if value is None else f"{value if unit == 1 else round(value / unit, 3):.10g}"
