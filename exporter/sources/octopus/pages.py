"""Lists of an Octopus project in pages. Source: the pages of its API for the lists ``queuing-jobs``, ``jobs`` and ``system-jobs``.

Only fields in use are named here: an unused field cannot make a row unreadable.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from typing import Final, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from exporter.clock import Clock
from exporter.errors import DecodeError, RejectedError
from exporter.http import Endpoint, Response, TokenProvider, Upstream, excerpt
from exporter.sources.collector import Collector
from exporter.sources.decoding import decoded, read_row_and_flaws, readable
from exporter.sources.octopus.api import error_of, fields_of
from exporter.sources.values import NULL, UNREADABLE, count_of, epoch_seconds, value_of
from exporter.text import Text

R = TypeVar("R", bound=msgspec.Struct)

# Rows of a page: the most that the API allows, and its default, for deployments that reject the former.
PAGE_SIZE: Final = 200
SMALL_PAGE_SIZE: Final = 10
# Seconds for which a rejection of the larger page is remembered: deployments are updated.
SMALL_FOR: Final = 3600.0


class WirePayload(msgspec.Struct, gc=False):
    rows: list[msgspec.Raw] | None = msgspec.field(name="list", default=None)
    page_info: msgspec.Raw = NULL


class WirePage(msgspec.Struct, gc=False):
    """Rows are read one by one: one that is odd must not cost the others."""

    payload: WirePayload
    meta_info: msgspec.Raw = NULL


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """A page as it was sent: `positions` rows of the list, which has `total` of them; None where it does not say.

    Not all fields of the rows in `flawed` could be read; `odd` counts such values. `at` is Unix time by the server's
    clock, None where the page does not say what time it is, and `received` the same moment by this machine's.
    """

    rows: list[R]
    flawed: list[R]
    positions: int
    total: int | None
    odd: int
    at: float | None
    received: float

    @property
    def rejected(self) -> int:
        """The number of rows that cannot be used."""
        return self.positions - len(self.rows)

    @property
    def skew(self) -> float | None:
        """The lead of this machine's clock over the server's in seconds; None where that is unknown."""
        return None if self.at is None else self.received - self.at


_page = msgspec.json.Decoder(WirePage, strict=False)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_page(response: Response, row: type[R]) -> Page[R]:
    """Return the page in a successful answer. Raises the PollError that says what to do about anything else."""
    page = _page_in(response)
    if page is None:
        raise error_of(response)
    sent = page.payload.rows or []
    total, odd = total_of(page.payload.page_info)
    if total is not None and total < len(sent):
        # A list cannot be shorter than a part of it.
        total, odd = None, odd + 1
    read = readable(sent, lambda raw: read_row_and_flaws(raw, row))
    if sent and not read:
        said = excerpt(response.body)
        raise DecodeError(
            Text(
                f"none of the page's {len(sent)} rows can be read: {said}",
                f"该页的 {len(sent)} 行全部无法解析：{said}",
            )
        )
    # The page has an example in ISO 8601, and one in milliseconds.
    at = epoch_seconds(value_of(fields_of(bytes(page.meta_info)).get("current_time", NULL)), UTC)
    odd += sum(flaws for _, flaws in read)
    return Page(
        [each for each, _ in read],
        [each for each, flaws in read if flaws],
        len(sent),
        total,
        odd,
        at,
        response.received,
    )


def _page_in(response: Response) -> WirePage | None:
    """Return the page in a successful answer with its rows left for later; None if it holds neither rows nor a total."""
    if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of successes
        return None
    page = decoded(_page, response.body)
    if page is None or (page.payload.rows is None and total_of(page.payload.page_info)[0] is None):
        return None
    return page


def total_of(page_info: msgspec.Raw) -> tuple[int | None, int]:
    """Return the length of the list, None where it is unknown; and whether what was sent for it makes no sense."""
    try:
        total, odd = count_of(_fields.decode(page_info).get("total", NULL))
    except UNREADABLE:
        return None, bytes(page_info) != b"null"
    return total, odd


class PageReader:
    """Requests pages of a project's lists."""

    def __init__(
        self, upstream: Upstream, tokens: TokenProvider, *, base_url: str, project_id: str, clock: Clock
    ) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._base_url = base_url
        self._project_id = quote(project_id, safe="")
        self._clock = clock
        self._small_until = 0.0

    async def page(
        self,
        collector: Collector,
        read: Callable[[Response], Page[R]],
        limit: int,
        offset: int,
        *,
        name: str = "",
        **wanted: str | int,
    ) -> Page[R]:
        """Return the page of `limit` rows at `offset` of a collector's list, or of the `name` in its path.

        Raises PollError. Empty texts among `wanted` are left out.
        """
        path = collector.path.format(project_id=self._project_id, list=name)
        given = {key: value for key, value in wanted.items() if value != ""} | {"limit": limit, "offset": offset}
        url = f"{self._base_url}{path}?{urlencode(given, quote_via=quote, safe='')}"
        return await Endpoint(self._upstream, self._tokens, collector.name, url, "X-Auth-Token").get(read)

    async def first(self, ask: Callable[[int, int], Awaitable[Page[R]]]) -> tuple[int, Page[R]]:
        """Return the size of pages, and the first of them; `ask` requests one by its size and offset. Raises PollError.

        No page says how a size is rejected. So any 400 for the large one is answered with the small one: if that is
        rejected as well, the reason was another.
        """
        if self._clock.monotonic() >= self._small_until:
            try:
                return PAGE_SIZE, await ask(PAGE_SIZE, 0)
            except RejectedError:
                page = await ask(SMALL_PAGE_SIZE, 0)
            self._small_until = self._clock.monotonic() + SMALL_FOR
            return SMALL_PAGE_SIZE, page
        return SMALL_PAGE_SIZE, await ask(SMALL_PAGE_SIZE, 0)
