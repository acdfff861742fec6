"""Reads a queue page by page, and puts the pages together (page 查询排队作业列表-QueryQueuedJobList).

Rows shift between pages while the queue moves: one can come twice, one can be missed. Adding a page takes well below a
millisecond, so a queue of any length is read without a long stop.
"""

import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from exporter.errors import (
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    ThrottledError,
    TransientError,
)
from exporter.http import Response
from exporter.records import Record
from exporter.sources.collector import Collector
from exporter.sources.octopus.pages import Page, PageReader, read_page
from exporter.sources.values import Count, as_id, text_from

# A queue that grows while it is read must come to an end: twice as many pages as it seemed to have, and a few.
SPARE_PAGES = 10
MAX_PAGES = 1000
# More lost pages than this mean that the service is overloaded, and further requests would make it worse.
LOST_LIMIT = 3


# A number as JSON has it, of no more digits than a Long.
PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")

# The queue entry's number, or text where an API sends that.
EntryId = int | str
# A name as the API spells it.
Spelled = str | int | float | bool | None
# Job type, processor and resource spec; "" where it says nothing.
Kind = tuple[str, str, str]


class QueueRow(msgspec.Struct, gc=False):
    """A row that can be told from others. ``rank_stamp`` is in milliseconds; it changes when the entry is moved."""

    id: int | str | float
    job_type: Spelled = None
    processor_name: Spelled = None
    resource_spec: Spelled = None
    rank_stamp: Count | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for an id that cannot be used; it is the same in whatever form it was sent."""
        if type(self.id) is not int:
            self.id = entry_id(self.id)


def entry_id(sent: str | float) -> EntryId:
    """Return the id of an entry. Raises ValueError for one that cannot be used."""
    text = as_id(sent)
    if text is None:
        raise ValueError("not a usable id")
    return int(text) if PLAIN_NUMBER.fullmatch(text) else text


class Requested(Record, frozen=True, gc=False):
    """The resources that the queued jobs request.

    `unread` counts those whose resource spec is missing or not understood.
    """

    cpu_cores: float
    memory_bytes: float
    unread: int


class QueueContent(Record, frozen=True, gc=False):
    """The content of a queue.

    `oldest_rank` is the smallest `rank_stamp` in Unix seconds; None where no entry has one, or one cannot be read.
    """

    jobs: dict[Kind, int]
    requested: Requested
    oldest_rank: float | None


class QueueListing(Record, frozen=True, gc=False):
    """One reading of a queue.

    `length` is what the API says, None where it says nothing. `content` is None where not everything could be read;
    `lost` then says why. `complete`: an entry that is not in `ids` was not in the queue; `certain`: and surely not,
    because all entries came in one answer. `rejected` counts rows without a usable id, `rejected_values` single values
    that make no sense. `skew` is how far our clock is ahead of the server's, in seconds.
    """

    length: int | None
    content: QueueContent | None
    ids: frozenset[EntryId]
    complete: bool
    certain: bool
    lost: str = ""
    rejected: int = 0
    skew: float | None = None
    rejected_values: int = 0


class Queue(NamedTuple):
    """A queue as the API takes it; "" for parameters that are left out."""

    queue_type: str
    cluster_type: str = ""
    cluster_id: str = ""


async def read_queue(pages: PageReader, collector: Collector, queue: Queue) -> QueueListing:
    """Read all that is in `queue`, by requests for the path of `collector`.

    Raises the PollError of the first page; a later page that fails is lost, and the listing is then not complete.
    """

    async def ask(limit: int, offset: int) -> Page[QueueRow]:
        return await pages.page(collector, _read, limit, offset, **queue._asdict())

    size, page = await pages.first(ask)
    reading = Reading(page)
    bound = pages_allowed(page.total, size)
    while reading.goes_on:
        if reading.pages >= bound:
            reading.stop(f"it grew while it was read, so reading stopped after {bound} pages")
            break
        try:
            reading.add(await ask(size, reading.offset))
        except (AuthenticationError, PermissionDeniedError):
            raise
        except PollError as error:
            reading.lose(size, str(error))
            if reading.lost_pages >= LOST_LIMIT or not worth_going_on(error):
                reading.stop(str(error))
    return reading.listing()


def _read(response: Response) -> Page[QueueRow]:
    return read_page(response, QueueRow)


def pages_allowed(total: int | None, size: int) -> int:
    """Return the most pages that are read of a queue of `total` entries, or of an unknown number."""
    if total is None:
        return MAX_PAGES
    return min(MAX_PAGES, 2 * -(-total // size) + SPARE_PAGES)


def worth_going_on(error: PollError) -> bool:
    """Whether the next page may come where this one did not."""
    return isinstance(error, TransientError | DecodeError) and not isinstance(error, ThrottledError)


class Reading:
    """The pages of a queue read so far, from the first one on. `offset` is where the next page begins."""

    def __init__(self, first: Page[QueueRow]) -> None:
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

    def add(self, page: Page[QueueRow]) -> None:
        """Take in the page at `offset`."""
        self._moved = self._moved or page.total != self._total
        # Where one made no sense, so may the next: a queue of many entries is not empty because its last page says so.
        self._total = None if self._total is None else page.total
        self._rejected += page.rejected
        self._rejected_values += page.odd
        self._rank_lost = self._rank_lost or page.rejected > 0 or any(row.rank_stamp is None for row in page.flawed)
        new = sum(self._take(row) for row in page.rows)
        if page.rows and not new:
            self._note(f"the page at offset {self.offset} holds only rows that came before")
        self._pass(page.positions)
        if page.positions == 0:
            self._end()
        elif not new:
            # A service that sends one page again and again would be asked for a thousand of them.
            self.stop("a page held no new row")

    def lose(self, size: int, why: str) -> None:
        """Note that the page of `size` rows at `offset` could not be read."""
        self.lost_pages += 1
        self._note(f"the page at offset {self.offset} was lost: {why}")
        self._pass(size)

    def stop(self, why: str) -> None:
        """Leave the rest of the queue unread, if there is a rest."""
        if self.goes_on:
            self._note(why)
        self.goes_on = False

    def listing(self) -> QueueListing:
        """Return the listing as far as it was read."""
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

    def _take(self, row: QueueRow) -> bool:
        """Whether the row is new."""
        if row.id in self._ids:
            self._moved = True
            return False
        self._ids.add(row.id)  # type: ignore[arg-type]  # it is an EntryId by now
        self._jobs[label(row.job_type), label(row.processor_name), label(row.resource_spec)] += 1
        # 0 is what no stamp looks like.
        if row.rank_stamp and (self._oldest is None or row.rank_stamp < self._oldest):
            self._oldest = row.rank_stamp
        return True

    def _pass(self, positions: int) -> None:
        self.pages += 1
        self.offset += positions
        self.goes_on = self._total is None or self.offset < self._total

    def _end(self) -> None:
        """Take an empty page as the end, which must not come before the last of `total` rows."""
        if self._total is not None and self.offset < self._total:
            self._note(f"it ended after {self.offset} of {self._total} rows")
        self.goes_on = False

    def _note(self, why: str) -> None:
        self._lost = self._lost or why

    def _content(self) -> QueueContent:
        oldest = None if self._oldest is None or self._rank_lost else self._oldest / 1000
        return QueueContent(dict(self._jobs), requested(self._jobs), oldest)


def label(value: Spelled) -> str:
    """Open sets of values are kept as they come."""
    return value if type(value) is str else text_from(value) or ""


def requested(jobs: Counter[Kind]) -> Requested:
    """Return the resources that the jobs request, added up exactly."""
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
    """Return an amount; a whole number stays exact, whatever its size."""
    return int(amount) if amount.denominator == 1 else float(amount)


# Resource specs: `1Core_4GiB`, and other forms that are beyond doubt. The page has examples of this form only.
# GB is left out: the vendor's pages use it for powers of 1000 and of 1024.
BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# At most 9 digits: no machine has more, and endless ones take long to read.
_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
_SPEC = re.compile(rf"{_NUMBER}Cores?_{_NUMBER}(KiB|MiB|GiB|TiB)")


class Resources(NamedTuple):
    """The resources that a job requests, exactly."""

    cpu_cores: Fraction
    memory_bytes: Fraction


@lru_cache(maxsize=4096)
def read_spec(spec: str) -> Resources | None:
    """Return the resources that `spec` names; None for a form that is not understood."""
    match = _SPEC.fullmatch(spec)
    if match is None:
        return None
    cores, amount, unit = match.groups()
    return Resources(Fraction(cores), Fraction(amount) * BYTES[unit])
