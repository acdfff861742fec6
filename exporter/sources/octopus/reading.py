"""Puts the pages of one reading of a queue together. No I/O.

Rows shift between pages while the queue moves: one can come twice, one can be missed. Adding a page takes well below a
millisecond, so a queue of any length is read without a long stop.
"""

from collections import Counter
from fractions import Fraction

from exporter.sources.octopus.records import EntryId, Kind, QueueContent, QueueListing, Requested
from exporter.sources.octopus.specs import read_spec
from exporter.sources.octopus.wire import Page, WireRow


class Reading:
    """A queue as far as it was read, beginning with its first page. `offset` is where the next page begins."""

    def __init__(self, first: Page) -> None:
        self.pages = 0
        self.lost_pages = 0
        self.offset = 0
        self.goes_on = True
        self._ids: set[EntryId] = set()
        self._jobs: Counter[Kind] = Counter()
        self._oldest: int | None = None
        self._total = first.total
        self._skew = first.skew
        self._rejected = self._rejected_values = 0
        self._rank_lost = False
        self._moved = False
        self._lost = ""
        self.add(first)

    def add(self, page: Page) -> None:
        """Take in the page at `offset`."""
        self._moved = self._moved or page.total != self._total
        self._total = page.total
        self._rejected += page.rejected
        self._rejected_values += page.rejected_values
        self._rank_lost = self._rank_lost or page.rank_lost
        new = sum(self._take(row) for row in page.rows)
        if page.rows and not new:
            self._note(f"the page at offset {self.offset} holds only rows that came before")
        self._pass(page.positions)
        if page.positions == 0:
            self._end()

    def lose(self, size: int, why: str) -> None:
        """The page at `offset`, of so many rows, could not be had."""
        self.lost_pages += 1
        self._note(f"the page at offset {self.offset} was lost: {why}")
        self._pass(size)

    def stop(self, why: str) -> None:
        """Leave the rest of the queue unread, if there is a rest."""
        if self.goes_on:
            self._note(why)
        self.goes_on = False

    def listing(self) -> QueueListing:
        """What was read."""
        whole = not self._lost
        complete = whole and not self._moved and not self._rejected and len(self._ids) == self._total
        return QueueListing(
            length=self._total,
            content=self._content() if whole else None,
            ids=frozenset(self._ids),
            complete=complete,
            certain=complete and self.pages == 1,
            lost=self._lost,
            rejected=self._rejected,
            skew=self._skew,
            rejected_values=self._rejected_values,
        )

    def _take(self, row: WireRow) -> bool:
        """Whether the row is new."""
        if row.id in self._ids:
            self._moved = True
            return False
        self._ids.add(row.id)
        self._jobs[label(row.job_type), label(row.processor_name), label(row.resource_spec)] += 1
        if row.rank_stamp is not None and (self._oldest is None or row.rank_stamp < self._oldest):
            self._oldest = row.rank_stamp
        return True

    def _pass(self, positions: int) -> None:
        self.pages += 1
        self.offset += positions
        self.goes_on = self._total is None or self.offset < self._total

    def _end(self) -> None:
        """An empty page: the end, which must not come before the last of `total` rows."""
        if self._total is not None and self.offset < self._total:
            self._note(f"it ended after {self.offset} of {self._total} rows")
        self.goes_on = False

    def _note(self, why: str) -> None:
        self._lost = self._lost or why

    def _content(self) -> QueueContent:
        oldest = None if self._oldest is None or self._rank_lost else self._oldest / 1000
        return QueueContent(dict(self._jobs), requested(self._jobs), oldest)


def label(value: str | int | None) -> str:
    """Open sets of values are kept as they come."""
    return "" if value is None else str(value)


def requested(jobs: Counter[Kind]) -> Requested:
    """What the jobs ask for, added up exactly."""
    cores = memory = Fraction(0)
    unread = 0
    for (_, _, spec), count in jobs.items():
        resources = read_spec(spec)
        if resources is None:
            unread += count
        else:
            cores += count * resources.cpu_cores
            memory += count * resources.memory_bytes
    return Requested(number(cores), number(memory), unread)


def number(amount: Fraction) -> float:
    """A whole number stays exact, whatever its size."""
    return int(amount) if amount.denominator == 1 else float(amount)
