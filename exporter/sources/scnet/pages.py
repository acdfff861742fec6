"""Paged lists of jobs, of regions and of the platform: how the pages are read, and the fields that all rows have."""

from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    RecordError,
    RejectedError,
    UnexpectedStatusError,
)
from exporter.http import Response, excerpt
from exporter.records import HAS_STARTED, Job, JobState
from exporter.sources.collector import Collector, opened
from exporter.sources.decoding import LISTS, fields_of, list_of
from exporter.sources.reasons import pending_reason
from exporter.sources.scnet.api import open_envelope
from exporter.sources.values import NULL, Count, Id, Name, count_of, epoch_seconds
from exporter.text import Text

R = TypeVar("R")

# Rows of a page that are requested; a region or the platform may give fewer.
PAGE_SIZE: Final = 100
# A list of more pages is not read to its end.
MAX_PAGES: Final = 1000
# Answers of the platform where it does not list the jobs of an account's groups.
REFUSALS: Final = (AuthenticationError, PermissionDeniedError, RejectedError, UnexpectedStatusError, ApiError)
# Rows that the shortest known pages hold, where a request does not say how many.
SMALLEST_PAGE: Final = 10


class Page(NamedTuple):
    """`total` is None where the page does not say it, and -1 where it cannot be read, or is less than the page has."""

    rows: list[msgspec.Raw]
    total: int | None = None

    def missing(self, seen: int, fresh: int) -> int:
        """Return the number of rows still to come, at least, after `seen` ones, of which `fresh` came first on this page.

        Without a total the list goes on until a page has fewer new rows than any page holds: a region may give fewer rows
        than were requested.
        """
        if self.total is None:
            return int(fresh >= SMALLEST_PAGE)
        if 0 <= self.total < seen:
            # Rows came that it does not count: so may others.
            return int(fresh > 0)
        return self.total - seen if self.total >= 0 else 1


class Wanted(NamedTuple):
    """A page to request: its number, counted from 1, or the number of rows before it; and its `size` in rows."""

    number: int
    start: int
    size: int


# Values that tell a row from all others.
Key = tuple[Any, ...]


class Reading(Generic[R]):
    """Collects the rows of one or several lists from their pages.

    Rows move between pages meanwhile: one that comes twice counts once, as it was read last.
    """

    def __init__(self) -> None:
        self.rows: dict[Key, R] = {}
        self.rejected: set[bytes] = set()
        # Rows that the total counts and no page had.
        self.missing = 0
        # Whether the totals of each list stayed the same.
        self.steady = True

    @property
    def seen(self) -> int:
        return len(self.rows) + len(self.rejected)

    async def add_list(
        self,
        ask: Callable[[Wanted], Awaitable[Page]],
        read: Callable[[msgspec.Raw], tuple[Key, R]],
        *,
        size: int = PAGE_SIZE,
        most: int = MAX_PAGES,
    ) -> None:
        """Add all pages of a list, `most` at the most. Raises PollError: that of the first page that fails.

        `read` raises RecordError for a row that cannot be used.
        """
        listed, totals, position, missing = set[Key | bytes](), set[int | None](), 0, 0
        for number in range(1, most + 1):
            page = await ask(Wanted(number, position, size))
            totals.add(page.total)
            position += len(page.rows)
            before = len(listed)
            listed.update(self._added(raw, read) for raw in page.rows)
            missing = page.missing(len(listed), len(listed) - before)
            if number == 1 and 0 < len(page.rows) < size and missing:
                # The platform has a largest size of its own: pages are numbered by it from here on.
                size = len(page.rows)
            if not missing or len(listed) == before:
                break
        self.missing += missing
        self.steady = self.steady and len(totals) == 1

    def _added(self, raw: msgspec.Raw, read: Callable[[msgspec.Raw], tuple[Key, R]]) -> Key | bytes:
        """Add a row; the key or the bytes that tell it from all others."""
        try:
            key, row = read(raw)
        except RecordError:
            self.rejected.add(bytes(raw))
            return bytes(raw)
        self.rows[key] = row
        return key

    def check(self) -> None:
        """Raise DecodeError where there are rows and none came or can be read: the content of the list is unknown."""
        if self.missing and not self.seen:
            raise DecodeError(
                Text(
                    "the answer has no rows, although its total does not say that there are none",
                    "响应没有任何行，但其 total 并未表明列表为空",
                )
            )
        if self.rejected and not self.rows:
            number = len(self.rejected)
            raise DecodeError(
                Text(f"none of the answer's {number} rows can be read", f"响应中的 {number} 行全部无法解析")
            )


def read_page(response: Response, collector: Collector) -> Page:
    """One page of a list; null is one without jobs. Raises DecodeError for anything else that holds no list."""
    data = opened(open_envelope, collector, response)
    if not bytes(data).lstrip().startswith(b"{"):
        return Page(list_of(data))
    fields = fields_of(data)
    # Which name the list goes by differs between deployments.
    lists = [fields[name] for name in LISTS if bytes(fields.get(name, NULL)) != b"null"]
    total, _ = count_of(fields.get("total", NULL))
    rows = list_of(lists[0]) if lists else []
    if not lists and total is None:
        said = excerpt(bytes(data))
        raise DecodeError(Text(f"the answer is not a page of jobs: {said}", f"响应不是作业列表：{said}"))
    odd = bytes(fields.get("total", NULL)) != b"null" if total is None else total < len(rows)
    return Page(rows, -1 if odd else total)


class JobRow(msgspec.Struct, gc=False, rename="camel"):
    """Fields that the rows of all lists have; the amount is that in use."""

    job_id: Id
    job_name: Name = Name("")
    job_state: msgspec.Raw = NULL
    queue: Name = Name("")
    reason: Any = None
    job_queue_time: Any = None
    job_start_time: Any = None
    proc_num_used: Count | None = None


# Requested nodes, cores, GPUs and DCUs, then allocated cores, GPUs and DCUs.
N = int | None
Amounts = tuple[N, N, N, N, N, N, N]


def job_of(
    row: JobRow,
    state: JobState,
    word: str,
    amounts: Amounts,
    zone: tzinfo,
    *,
    ended: float | None = None,
    scheduler: str = "",
) -> Job:
    """Return the job of a row. Where its state is unknown, `word` is the spelling of that."""
    return Job(
        str(row.job_id),
        str(row.job_name),
        state,
        *amounts,
        word,
        str(row.queue),
        pending_reason(state, row.reason),
        epoch_seconds(row.job_queue_time, zone),
        # That of a job that waits is an expected one.
        epoch_seconds(row.job_start_time, zone) if state in HAS_STARTED or ended is not None else None,
        ended,
        scheduler,
    )
