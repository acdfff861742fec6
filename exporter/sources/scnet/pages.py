"""Pages of jobs, as the lists of a region and of the platform send them."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

import msgspec

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    RejectedError,
    UnexpectedStatusError,
)
from exporter.http import Response, excerpt
from exporter.sources.collector import LISTS, Collector, fields_of, list_of, opened
from exporter.sources.scnet.api import open_envelope
from exporter.sources.values import NULL, count_of
from exporter.text import Text

# Rows of a page that are requested; a region or the platform may give fewer.
PAGE_SIZE: Final = 100
# A list of more pages is not read to its end.
MAX_PAGES: Final = 1000
# Answers of the platform where it does not list the jobs of an account's groups.
REFUSALS: Final = (AuthenticationError, PermissionDeniedError, RejectedError, UnexpectedStatusError, ApiError)
# Rows that the shortest known pages hold, where a request does not say how many.
SMALLEST_PAGE: Final = 10


class Page(NamedTuple):
    """`total` is None where the page does not say it, and -1 where it cannot be read."""

    rows: list[msgspec.Raw]
    total: int | None = None

    def missing(self, seen: int, fresh: int) -> int:
        """Return the number of rows still to come, at least, after `seen` ones, of which `fresh` came first on this page.

        Without a total the list goes on until a page has fewer new rows than any page holds: a region may give fewer rows
        than were requested.
        """
        if self.total is None:
            return int(fresh >= SMALLEST_PAGE)
        return max(0, self.total - seen) if self.total >= 0 else 1


class Reading(Protocol):
    """The rows that were read so far."""

    @property
    def seen(self) -> int: ...
    def add(self, page: Page) -> None: ...


async def read_numbered(ask: Callable[[int, int], Awaitable[Page]], reading: Reading) -> tuple[int, bool]:
    """Read page after page by number and size; the rows that no page had, and whether the total stayed the same."""
    size, totals, missing = PAGE_SIZE, set[int | None](), 0
    for number in range(1, MAX_PAGES + 1):
        page = await ask(number, size)
        totals.add(page.total)
        before = reading.seen
        reading.add(page)
        missing = page.missing(reading.seen, reading.seen - before)
        if number == 1 and 0 < len(page.rows) < size and missing:
            # The platform has a largest size of its own: pages are numbered by it from here on.
            size = len(page.rows)
        if not missing or reading.seen == before:
            break
    return missing, len(totals) == 1


def read_page(response: Response, collector: Collector) -> Page:
    """One page of a list; null is one without jobs. Raises DecodeError for anything else that holds no list."""
    data = opened(open_envelope, collector, response)
    if not bytes(data).lstrip().startswith(b"{"):
        return Page(list_of(data))
    fields = fields_of(data)
    # Which name the list goes by differs between deployments.
    lists = [fields[name] for name in LISTS if bytes(fields.get(name, NULL)) != b"null"]
    total, _ = count_of(fields.get("total", NULL))
    if not lists and total is None:
        said = excerpt(bytes(data))
        raise DecodeError(Text(f"the answer is not a page of jobs: {said}", f"响应不是作业列表：{said}"))
    if total is None and bytes(fields.get("total", NULL)) != b"null":
        total = -1
    return Page(list_of(lists[0]) if lists else [], total)
