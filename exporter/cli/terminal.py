"""Tables and progress for people.

A table is as wide as the terminal, or as wide as it needs to be where a program reads it.
"""

import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from exporter.records import JobState
from exporter.sources.once import Cell, Column
from exporter.text import printable

UNKNOWN = "?"
GAP = 2
# Least cells of a folded column of names; on a terminal too narrow even for that, rows become blocks of lines.
NARROWEST = 8

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


def rendered(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], stream: TextIO) -> str:
    """Return the table as `stream` can show it; None as a cell is unknown, not zero."""
    texts = [[text_of(cell) for cell in row] for row in rows]
    width = _terminal_width(stream)
    colours = _has_colours(stream)
    sizes = widths(columns, texts)
    if width is None or sum(sizes) + GAP * (len(sizes) - 1) <= width:
        return _grid(columns, texts, sizes, colours=colours)
    if least_width(columns, sizes) <= width:
        return folded(columns, texts, width, colours=colours)
    return blocks(columns, texts)


def _grid(columns: Sequence[Column], rows: list[list[str]], sizes: Sequence[int], *, colours: bool) -> str:
    """Aligned columns of the given `sizes` under their titles. By hand: rich takes a millisecond a row."""

    def line(cells: Sequence[str], styles: Sequence[str]) -> str:
        parts = []
        for column, cell, size, style in zip(columns, cells, sizes, styles, strict=True):
            blanks = " " * (size - cell_len(cell))
            painted = Style.parse(style).render(cell) if colours and style else cell
            parts.append(blanks + painted if column.right else painted + blanks)
        return (" " * GAP).join(parts).rstrip() + "\n"

    titles = line([column.title for column in columns], ["bold"] * len(columns))
    return titles + "".join([line(row, list(map(_style_of, columns, row))) for row in rows])


def folded(columns: Sequence[Column], rows: list[list[str]], width: int, *, colours: bool) -> str:
    """Return the same for a terminal so narrow that names take several lines."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        justify: Literal["right", "left"] = "right" if column.right else "left"
        # Text, not str: the name of a job is no markup.
        table.add_column(Text(column.title), justify=justify, no_wrap=column.whole, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_style_of(column, cell)) for column, cell in zip(columns, row, strict=True)))
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colours,
        color_system="auto" if colours else None,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def _style_of(column: Column, cell: str) -> str:
    return STYLES.get(cell, "") if column.styled else ""


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


def text_of(cell: Cell) -> str:
    """Return a cell as it can be shown, without moving the cursor, ringing bells or turning text around."""
    return UNKNOWN if cell is None else printable(str(cell))


def widths(columns: Sequence[Column], rows: list[list[str]]) -> list[int]:
    return [
        max(cell_len(text) for text in [column.title, *(row[index] for row in rows)])
        for index, column in enumerate(columns)
    ]


def least_width(columns: Sequence[Column], sizes: Sequence[int]) -> int:
    """Return the width at which nothing but names is folded, and none of them too narrowly."""
    needed = [
        size if column.whole else min(size, max(NARROWEST, cell_len(column.title)))
        for column, size in zip(columns, sizes, strict=True)
    ]
    return sum(needed) + GAP * (len(columns) - 1)


def _terminal_width(stream: TextIO) -> int | None:
    """Cells in a line of the terminal, or what COLUMNS says; None where the text goes elsewhere."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def _has_colours(stream: TextIO) -> bool:
    """Whether to use colours and bold: on a terminal that can, unless NO_COLOR (https://no-color.org) says otherwise."""
    return _can_move(stream) and not os.environ.get("NO_COLOR")


def _can_move(stream: TextIO) -> bool:
    """Whether this is a terminal that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a capable terminal until the end of the block; yields a function that advances it by one."""
    if not _can_move(sys.stderr):
        yield lambda: None
        return
    console = Console(stderr=True, force_terminal=True, no_color=not _has_colours(sys.stderr))
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True)
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
