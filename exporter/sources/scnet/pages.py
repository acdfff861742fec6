"""Pages of jobs, as the lists of a region and of the platform send them."""

from typing import Final, NamedTuple

import msgspec

from exporter.errors import DecodeError
from exporter.http import Response, excerpt
from exporter.sources.collector import LISTS, Collector, fields_of, list_of, opened
from exporter.sources.scnet.api import open_envelope
from exporter.sources.values import NULL, count_of
from exporter.text import Text

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
