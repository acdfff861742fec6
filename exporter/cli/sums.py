"""Tables added up: rows with the same names as one, the highest of many, and totals below them."""

from collections import defaultdict
from collections.abc import Sequence

from exporter.cli.terminal import Footer
from exporter.records import known_sum
from exporter.sources.once import Cell, Column, Table


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
