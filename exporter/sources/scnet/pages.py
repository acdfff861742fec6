"""Pages of jobs, as the lists of a region and of the platform send them."""

from typing import NamedTuple

import msgspec

from exporter.errors import DecodeError
from exporter.http import Response, excerpt
from exporter.sources.collector import LISTS, Collector, fields_of, list_of, opened
from exporter.sources.scnet.api import open_envelope
from exporter.sources.values import NULL, count_of
from exporter.text import Text


class Page(NamedTuple):
    """`total` is None where the page does not say it, and -1 where it cannot be read."""

    rows: list[msgspec.Raw]
    total: int | None = None

    def missing(self, seen: int, size: int) -> int:
        """Return the number of rows still to come, at least; without a total a page that is not full is the last one."""
        if self.total is None:
            return int(len(self.rows) >= size)
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
