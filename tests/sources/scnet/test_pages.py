"""Lists in pages: whatever an upstream does with sizes, totals and rows, each row counts once and none is lost unnoticed."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from exporter.errors import DecodeError, RecordError
from exporter.http import Response
from exporter.sources.scnet.own_jobs import OWN_JOBS
from exporter.sources.scnet.pages import Key, Page, Reading, Wanted, read_page
from tests.support.collecting import envelope, of

RIGHT: Any = object()


def page(data: Any) -> Page:
    return read_page(Response(200, envelope(data).body, {}, 0.0), OWN_JOBS)


def read(raw: msgspec.Raw) -> tuple[Key, int]:
    number = msgspec.json.decode(raw)
    if not isinstance(number, int):
        raise RecordError("not a number")
    return (number,), number


class Listed:
    """A list of rows, in pages of at most `largest`, by their numbers or by the rows before them."""

    def __init__(self, rows: list[Any], largest: int = 100, total: Any = RIGHT, *, numbered: bool = True) -> None:
        self.rows = rows
        self.asked: list[Wanted] = []
        self.after_page: Callable[[], object] = lambda: None
        self._largest = largest
        self._total = total
        self._numbered = numbered

    async def page(self, wanted: Wanted) -> Page:
        self.asked.append(wanted)
        size = min(wanted.size, self._largest)
        start = (wanted.number - 1) * size if self._numbered else wanted.start
        total = len(self.rows) if self._total is RIGHT else self._total
        found = page({"total": total, "list": self.rows[start : start + size]})
        self.after_page()
        return found

    async def read(self, **limits: int) -> Reading[int]:
        reading = Reading[int]()
        await reading.add_list(self.page, read, **limits)
        return reading


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("total", [RIGHT, None])
@pytest.mark.parametrize("largest", [10, 25, 100, 1000])
@pytest.mark.parametrize("count", [0, 3, 99, 100, 101, 200, 250])
async def test_all_rows_are_read(numbered: bool, total: Any, largest: int, count: int) -> None:
    """A page may be shorter than requested, and the list may not say how long it is."""
    listed = Listed(list(range(count)), largest, total, numbered=numbered)
    reading = await listed.read()
    assert list(reading.rows.values()) == list(range(count))
    assert (reading.missing, reading.steady, len(reading.rejected)) == (0, True, 0)
    assert len(listed.asked) <= count // min(largest, 100) + (1 if total is RIGHT else 2)


@pytest.mark.parametrize("total", [5, "5", -1, "many", [2]])
async def test_rows_that_the_total_promises_and_no_page_has_are_missing(total: Any) -> None:
    listed = Listed([1, 2], total=total)
    assert (await listed.read()).missing > 0
    assert len(listed.asked) == 2


@pytest.mark.parametrize("total", [0, 50, 120])
async def test_a_total_below_the_number_of_rows_ends_no_list(total: int) -> None:
    listed = Listed(list(range(250)), total=total)
    reading = await listed.read()
    assert (len(reading.rows), reading.missing) == (250, 0)
    assert [wanted.number for wanted in listed.asked] == [1, 2, 3, 4]


@pytest.mark.parametrize(("total", "missing"), [(1000, 900), (0, 1)])
async def test_a_page_that_comes_again_and_again_is_the_last(total: int, missing: int) -> None:
    async def same(_: Wanted) -> Page:
        return page({"total": total, "list": list(range(100))})

    reading = Reading[int]()
    await reading.add_list(same, read)
    assert (len(reading.rows), reading.missing) == (100, missing)


async def test_there_is_a_last_page() -> None:
    reading = await Listed(list(range(31))).read(size=10, most=3)
    assert (len(reading.rows), reading.missing) == (30, 1)


async def test_rows_that_move_while_pages_are_read() -> None:
    """A new row comes to the front: one comes twice. Then one ends: what was first on the next page is not seen."""
    rows = list(range(1, 151))
    listed = Listed(rows)
    listed.after_page = lambda: rows.insert(0, 0) if len(rows) == 150 else None
    reading = await listed.read()
    assert (set(reading.rows.values()), reading.missing, reading.steady) == (set(range(1, 151)), 1, False)
    rows[:] = range(150)
    listed.after_page = lambda: rows.pop(0) if len(rows) == 150 else None
    reading = await listed.read()
    assert (100 in reading.rows.values(), reading.missing, reading.steady) == (False, 0, False)


async def test_rows_that_cannot_be_read_are_counted_once() -> None:
    reading = await Listed(["a", 1, None, 2]).read()
    assert (list(reading.rows.values()), len(reading.rejected), reading.missing) == ([1, 2], 2, 0)
    reading.check()
    await reading.add_list(Listed([3, 2]).page, read)
    assert (len(reading.rows), reading.missing) == (3, 0), "the total of another list counts its own rows"
    for total in (RIGHT, 9):
        nothing = await Listed(["a", None], total=total).read()
        with pytest.raises(DecodeError, match="none of the answer's 2 rows can be read"):
            nothing.check()
    for total in (5, -1):
        with pytest.raises(DecodeError, match="no rows, although its total does not say that there are none"):
            (await Listed([], total=total).read()).check()
    Reading[int]().check()


@pytest.mark.parametrize(
    ("data", "rows", "total"),
    [
        *((none, 0, None) for none in of(None, [])),
        *(({"total": total, name: []}, 0, 0) for total in of(0, "0") for name in ("list", "records")),
        ({"total": 0, "list": None}, 0, 0),
        ({"total": "0"}, 0, 0),
        ([1, 2], 2, None),
        *(({"total": "1", name: [1]}, 1, 1) for name in ("list", "records", "rows", "items")),
        ({"list": None, "records": [1]}, 1, None),
        *(({"total": odd, "list": [1]}, 1, -1) for odd in of("many", [2], {}, True, -1)),
        *((odd, DecodeError, None) for odd in of({}, 7, "none", {"list": 7}, {"total": -1, "list": None})),
    ],
)
def test_a_page_in_each_form(data: Any, rows: Any, total: int | None) -> None:
    if rows is DecodeError:
        with pytest.raises(DecodeError):
            page(data)
    else:
        found = page(data)
        assert (len(found.rows), found.total) == (rows, total)
