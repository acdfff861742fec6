"""Tables for people: as wide as the terminal, or as wide as they need to be where a program reads them."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exporter.records import JobState

UNKNOWN = "?"
GAP = 2
# A column of names can be folded down to so many cells; where that is not enough, rows are written as blocks of lines.
NARROWEST = 8
# A terminal that does not say how wide it is.
USUAL_WIDTH = 80

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


@dataclass(frozen=True, slots=True)
class Column:
    """`whole`: never folded, because half a number is a wrong number. `styled`: known words in it have colours."""

    title: str
    whole: bool = False
    right: bool = False
    styled: bool = False


def number(title: str) -> Column:
    return Column(title, whole=True, right=True)


Cell = str | int | None


def rendered(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], stream: TextIO) -> str:
    """The table as `stream` can show it; None as a cell is unknown, not zero."""
    texts = [[printable(cell) for cell in row] for row in rows]
    width = terminal_width(stream)
    if width is not None and least_width(columns, texts) > width:
        return blocks(columns, texts)
    return grid(columns, texts, width, colours=has_colours(stream))


def grid(columns: Sequence[Column], rows: list[list[str]], width: int | None, *, colours: bool) -> str:
    """Aligned columns under their titles, not wider than `width`; None: as wide as they need to be."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            # Text, not str: what somebody named a job must not be taken for markup.
            Text(column.title),
            justify="right" if column.right else "left",
            no_wrap=column.whole,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*map(styled, columns, row))
    console = Console(
        file=io.StringIO(),
        width=natural_width(columns, rows) if width is None else width,
        force_terminal=colours,
        color_system="auto" if colours else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def styled(column: Column, cell: str) -> Text:
    return Text(cell, style=STYLES.get(cell, "") if column.styled else "")


def blocks(columns: Sequence[Column], rows: list[list[str]]) -> str:
    """One line a cell, for terminals too narrow for a line a row."""
    longest = max(cell_len(column.title) for column in columns)
    lines = [
        "".join(
            f"{column.title}{' ' * (longest - cell_len(column.title))}  {cell}".rstrip() + "\n"
            for column, cell in zip(columns, row, strict=True)
        )
        for row in rows
    ]
    return "\n".join(lines)


def printable(cell: Cell) -> str:
    """What can be shown without moving the cursor, ringing bells or turning text around."""
    if cell is None:
        return UNKNOWN
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(cell))


def widths(columns: Sequence[Column], rows: list[list[str]]) -> list[int]:
    return [
        max(cell_len(text) for text in [column.title, *(row[index] for row in rows)])
        for index, column in enumerate(columns)
    ]


def natural_width(columns: Sequence[Column], rows: list[list[str]]) -> int:
    return sum(widths(columns, rows)) + GAP * len(columns)


def least_width(columns: Sequence[Column], rows: list[list[str]]) -> int:
    """The width at which nothing but names is folded, and none of them too narrowly."""
    needed = [
        width if column.whole else min(width, max(NARROWEST, cell_len(column.title)))
        for column, width in zip(columns, widths(columns, rows), strict=True)
    ]
    return sum(needed) + GAP * (len(columns) - 1)


def terminal_width(stream: TextIO) -> int | None:
    """Cells in a line of the terminal; None where the text goes elsewhere. COLUMNS has the last word, as elsewhere."""
    if not stream.isatty():
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except OSError:
        return USUAL_WIDTH


def has_colours(stream: TextIO) -> bool:
    """Whether to use colours and bold: on a terminal that can, unless NO_COLOR (https://no-color.org) says otherwise."""
    return can_move(stream) and not os.environ.get("NO_COLOR")


def can_move(stream: TextIO) -> bool:
    """Whether this is a terminal that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
