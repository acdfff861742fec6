"""Tables, their sums, and progress, for people.

A table is as wide as the terminal, or as wide as it needs to be where a program reads it.
"""

import os
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    texts = [[text_of(cell) for cell in row] for row in rows]
    below = [(footer.label, [text_of(cell) for cell in footer.cells]) for footer in footers]
    width = None if wide else terminal_width(stream)
    return fitted(columns, texts, below, width, colours=_has_colours(stream))


def fitted(
    columns: Sequence[Column],
    rows: list[list[str]],
    below: Sequence[tuple[str, list[str]]],
    width: int | None,
    *,
    colours: bool,
    hint: str = "; --wide shows them",
) -> str:
    """Return the table in at most `width` cells, where a line a row can be.

    `hint` ends the line about what is left out.
    """
    kept, told = _varying(columns, rows, below, width, hint)
    columns = [columns[index] for index in kept]
    lines = [[row[index] for index in kept] for row in (*rows, *_labelled(columns, kept, below))]
    sizes = widths(columns, lines)
    if width is not None and total_width(sizes) > width:
        least = least_sizes(columns, sizes)
        for label, _ in below:
            place = next(index for index, column in enumerate(columns) if not column.right)
            least[place] = max(least[place], cell_len(label))
        if total_width(least) > width:
            return blocks(columns, lines) + told
        sizes = _shrunk(sizes, least, width)
        lines = [[shortened(cell, size) for cell, size in zip(line, sizes, strict=True)] for line in lines]
    return _grid(columns, lines[: len(rows)], lines[len(rows) :], sizes, colours=colours) + told


def _labelled(
    columns: Sequence[Column], kept: Sequence[int], below: Iterable[tuple[str, list[str]]]
) -> Iterator[list[str]]:
    """Yield the cells of footers with their labels; `columns` are those that are `kept`."""
    place = next((kept[index] for index, column in enumerate(columns) if not column.right), None)
    for label, cells in below:
        yield [label if index == place else cell for index, cell in enumerate(cells)]


def _varying(
    columns: Sequence[Column],
    rows: list[list[str]],
    below: Sequence[tuple[str, list[str]]],
    width: int | None,
    hint: str,
) -> tuple[list[int], str]:
    """Return the columns to show, and a line about those left out: as few as let the table fit, empty ones first."""
    kept = list(range(len(columns)))
    if width is None or not rows:
        return kept, ""
    sizes = widths(columns, [*rows, *(cells for _, cells in below)])
    constant = [index for index in kept if _is_constant(columns[index], [row[index] for row in rows])]
    hidden = []
    for index in sorted(constant, key=lambda index: (rows[0][index] not in ("", "0"), -index)):
        if total_width([sizes[each] for each in kept]) <= width:
            break
        if not columns[index].right and not any(each != index and not columns[each].right for each in kept):
            continue
        kept.remove(index)
        hidden.append(index)
    told = [f"{columns[index].title} {rows[0][index]}" for index in sorted(hidden) if rows[0][index]]
    texts = [f"In every row shown: {', '.join(told)}."] if told else []
    dropped = []
    for index in (index for index in reversed(kept.copy()) if columns[index].minor):
        if total_width(least_sizes([columns[each] for each in kept], [sizes[each] for each in kept])) <= width:
            break
        kept.remove(index)
        dropped.append(columns[index].title)
    if dropped:
        texts.append(f"Left out: {', '.join(reversed(dropped))}{hint}.")
    return kept, textwrap.fill(" ".join(texts), width) + "\n" if texts else ""


def _is_constant(column: Column, cells: Sequence[str]) -> bool:
    """Whether a column may be left out. That of a single row may only where it says nothing."""
    if column.styled or any(cell != cells[0] for cell in cells):
        return False
    return len(cells) > 1 or cells[0] in ("", "0")


def _grid(
    columns: Sequence[Column], rows: list[list[str]], below: list[list[str]], sizes: Sequence[int], *, colours: bool
) -> str:
    """Aligned columns of the given `sizes` under their titles. By hand: rich takes a millisecond a row."""

    def line(cells: Sequence[str], styles: Sequence[str]) -> str:
        parts = []
        for column, cell, size, style in zip(columns, cells, sizes, styles, strict=True):
            blanks = " " * (size - cell_len(cell))
            painted = Style.parse(style).render(cell) if colours and style else cell
            parts.append(blanks + painted if column.right else painted + blanks)
        return (" " * GAP).join(parts).rstrip() + "\n"

    bold = ["bold"] * len(columns)
    body = [line(row, list(map(_style_of, columns, row))) for row in rows]
    return (
        line([column.title for column in columns], bold)
        + "".join(body)
        + "".join([line(cells, bold) for cells in below])
    )


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


def total_width(sizes: Sequence[int]) -> int:
    return sum(sizes) + GAP * (len(sizes) - 1)


def least_sizes(columns: Sequence[Column], sizes: Sequence[int]) -> list[int]:
    """Return the sizes at which nothing but names is shortened, and none of them too much."""
    return [
        size if column.whole else min(size, max(NARROWEST, cell_len(column.title)))
        for column, size in zip(columns, sizes, strict=True)
    ]


def _shrunk(sizes: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Return sizes that fit: the widest columns give room first, none below its `least`."""
    sizes = list(sizes)
    while total_width(sizes) > width:
        widest = max(
            (index for index in range(len(sizes)) if sizes[index] > least[index]), key=lambda index: sizes[index]
        )
        sizes[widest] -= 1
    return sizes


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
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
