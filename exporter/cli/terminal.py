"""Tables, their sums, and progress, for people.

A table is as wide as the terminal, or as wide as it needs to be where a program reads it.
"""

import os
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.style import Style

from exporter.cli.output import terminal_width
from exporter.records import JobState, known_sum
from exporter.sources.once import Cell, Column, Table
from exporter.text import printable

UNKNOWN = "?"
GAP = 2
# Least cells of a shortened name; on a terminal too narrow even for that, rows become blocks of lines.
NARROWEST = 8
ELLIPSIS = "…"

STYLES = {
    JobState.RUNNING: "green",
    JobState.FAILED: "red",
    JobState.TIMEOUT: "red",
    JobState.NODE_FAILURE: "red",
    "gone": "green",
    "still there": "red",
    "unverified": "yellow",
    "not found": "yellow",
}


class Footer(NamedTuple):
    """A row below all others, such as their sums.

    `label` stands in the first column of names, whose own cell is empty.
    """

    label: str
    cells: Sequence[Cell]


def grouped(table: Table, names: Sequence[str]) -> Table:
    """Return one row for all that agree in the columns `names`, with the sums of those that can be added up."""
    columns = [
        *(column for name in names for column in table.columns if column.title == name),
        *(column for column in table.columns if column.summed),
    ]
    places = [table.columns.index(column) for column in columns]
    rows: defaultdict[tuple[Cell, ...], list[list[Cell]]] = defaultdict(list)
    for row in table.rows:
        rows[tuple(row[place] for place in places[: len(names)])].append([row[place] for place in places])
    return Table(columns, [(*key, *sums(columns, found)[len(names) :]) for key, found in rows.items()])


def sums(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[Cell]:
    """Return the sum of each column that can be added up, None where a value of it is unknown; others are empty."""
    return [
        known_sum(_number(row[index]) for row in rows) if column.summed else "" for index, column in enumerate(columns)
    ]


def with_totals(table: Table, top: int | None, *, partial: bool) -> tuple[Table, list[Footer]]:
    """Return the `top` rows, and the sums of the others and of all.

    Top are those with the highest number in the first column of sums. `partial`: some rows are missing from the sums.
    """
    columns, rows = table
    first = next((index for index, column in enumerate(columns) if column.summed), None)
    if first is None or len(rows) == 1:
        return table, []
    footers = []
    if top is not None and top < len(rows):
        rows = sorted(rows, key=lambda row: -(_number(row[first]) or 0))
        footers.append(Footer(f"{len(rows) - top:,} more", sums(columns, rows[top:])))
    footers.append(Footer("partial" if partial else "total", sums(columns, rows)))
    return Table(columns, rows[:top]), footers


def _number(cell: Cell) -> int | None:
    return cell if isinstance(cell, int) else None


@dataclass(slots=True, eq=False)
class _Shown:
    """A column with its cells, those of the footers last, and its `size`; `whole` are cells that are never shortened."""

    column: Column
    cells: list[str]
    whole: Sequence[str] = ()
    size: int = 0

    def __post_init__(self) -> None:
        self.size = max(map(cell_len, (self.column.title, *self.cells)))

    @property
    def least(self) -> int:
        """The size at which a name is still told from others; nothing else is shortened."""
        return (
            self.size
            if self.column.whole
            else min(self.size, max(NARROWEST, *map(cell_len, (self.column.title, *self.whole))))
        )

    def lines(self, rows: int, *, colours: bool) -> Iterator[str]:
        """Yield the title and the cells, `rows` of which are no footers."""
        yield self._line(self.column.title, "bold" if colours else "")
        for number, cell in enumerate(self.cells):
            style = STYLES.get(cell, "") if self.column.styled else ""
            yield self._line(cell, (style if number < rows else "bold") if colours else "")

    def _line(self, cell: str, style: str) -> str:
        text = shortened(cell, self.size)
        blanks = " " * (self.size - cell_len(text))
        painted = Style.parse(style).render(text) if style else text
        return blanks + painted if self.column.right else painted + blanks


def rendered(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    stream: TextIO,
    footers: Sequence[Footer] = (),
    *,
    wide: bool = False,
) -> str:
    """Return the table as `stream` can show it; None as a cell is unknown, not zero.

    On a terminal too narrow for it, unless it may be `wide`, columns that say the same of every row are left out, and
    named below the table; then names are shortened.
    """
    width = None if wide else terminal_width(stream)
    return fitted(columns, list(rows), footers, width, colours=_has_colours(stream))


def fitted(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    footers: Sequence[Footer],
    width: int | None,
    *,
    colours: bool,
    hint: str = "; --wide shows them",
) -> str:
    """Return the table in at most `width` cells, where a line a row can be.

    `hint` ends the line about what is left out. By hand: rich takes a millisecond a row.
    """
    cells = [list(map(text_of, column)) for column in zip(*rows, *(footer.cells for footer in footers), strict=True)]
    shown = list(map(_Shown, columns, cells or [[] for _ in columns]))
    told = "" if width is None or not rows else _leave_out(shown, len(rows), width, hint)
    labels = [footer.label for footer in footers]
    for place in [place for place, each in enumerate(shown) if not each.column.right][:1]:
        shown[place] = _Shown(shown[place].column, [*shown[place].cells[: len(rows)], *labels], labels)
    least = {each: each.least for each in shown}
    if width is not None and total_width(least.values()) > width:
        return blocks(shown) + told
    while width is not None and total_width(each.size for each in shown) > width:
        max((each for each in shown if each.size > least[each]), key=lambda each: each.size).size -= 1
    lines = zip(*(each.lines(len(rows), colours=colours) for each in shown), strict=True)
    return "".join(f"{(' ' * GAP).join(line).rstrip()}\n" for line in lines) + told


def _leave_out(shown: list[_Shown], rows: int, width: int, hint: str) -> str:
    """Remove as few columns as let the table fit, uninformative ones first; return a line about them."""
    constant = [each for each in reversed(shown) if _is_constant(each.column, each.cells[:rows])]
    told, dropped = [], []
    for each in sorted(constant, key=lambda each: each.cells[0] not in ("", "0")):
        if total_width(other.size for other in shown) <= width:
            break
        if each.column.right or any(other is not each and not other.column.right for other in shown):
            shown.remove(each)
            told.append(each)
    for each in [each for each in reversed(shown) if each.column.minor]:
        if total_width(other.least for other in shown) <= width:
            break
        shown.remove(each)
        dropped.append(each.column.title)
    same = [f"{each.column.title} {each.cells[0]}" for each in reversed(constant) if each in told and each.cells[0]]
    texts = [f"In every row shown: {', '.join(same)}."] if same else []
    if dropped:
        texts.append(f"Left out: {', '.join(reversed(dropped))}{hint}.")
    return textwrap.fill(" ".join(texts), width) + "\n" if texts else ""


def _is_constant(column: Column, cells: Sequence[str]) -> bool:
    """Whether a column may be left out. That of a single row may only where it says nothing."""
    if column.styled or any(cell != cells[0] for cell in cells):
        return False
    return len(cells) > 1 or cells[0] in ("", "0")


def blocks(shown: Sequence[_Shown]) -> str:
    """One line a cell, for terminals too narrow for a line a row."""
    titles = _Shown(Column(""), [each.column.title for each in shown])
    _, *names = titles.lines(len(shown), colours=False)
    rows = zip(*(each.cells for each in shown), strict=True)
    return "\n".join(
        "".join(f"{name}  {cell}".rstrip() + "\n" for name, cell in zip(names, row, strict=True)) for row in rows
    )


def text_of(cell: Cell) -> str:
    """Return a cell as it can be shown, without moving the cursor, ringing bells or turning text around."""
    return UNKNOWN if cell is None else printable(str(cell))


def total_width(sizes: Iterable[int]) -> int:
    given = list(sizes)
    return sum(given) + GAP * (len(given) - 1)


def shortened(text: str, size: int) -> str:
    """Return `text` in at most `size` cells: of a longer one beginning and end, as names often differ in numbers."""
    if cell_len(text) <= size:
        return text
    end = (size - 1) // 3
    return set_cell_size(text, size - 1 - end).rstrip() + ELLIPSIS + set_cell_size(text[::-1], end)[::-1].lstrip()


def _has_colours(stream: TextIO) -> bool:
    """Whether to use colours and bold: on a terminal that can, unless NO_COLOR (https://no-color.org) is set."""
    return _can_move(stream) and not os.environ.get("NO_COLOR")


def _can_move(stream: TextIO) -> bool:
    """Whether this is a terminal that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a capable terminal until the end of the block.

    Yields a function that advances it by one.
    """
    if not _can_move(sys.stderr):
        yield lambda: None
        return
    console = Console(stderr=True, force_terminal=True, no_color=not _has_colours(sys.stderr))
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True)
    with bar:
        # Rich hides the cursor, and a command that SIGTERM ends could not bring it back.
        console.show_cursor()
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
