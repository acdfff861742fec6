"""Reads a project's queues, page by page."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from exporter.clock import Clock
from exporter.errors import (
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ThrottledError,
    TransientError,
)
from exporter.http import Request, TokenProvider, Upstream, call_with_token
from exporter.sources.octopus.reading import Reading
from exporter.sources.octopus.records import QueueListing
from exporter.sources.octopus.wire import Page, read_page

# What the endpoint is called in metrics.
QUEUING_JOBS = "queuing_jobs"

# The most that the newer page allows; what the older one's example shows, for deployments that refuse the former.
PAGE_SIZE, SMALL_PAGE_SIZE = 200, 10
# A refusal of the larger page is believed for so many seconds: deployments are updated.
SMALL_FOR = 3600.0
# A queue that grows while it is read must come to an end: twice as many pages as it seemed to have, and a few.
SPARE_PAGES = 10
MAX_PAGES = 1000
# So many lost pages are bad luck; with more the service is in trouble, and asking on would make it worse.
LOST_LIMIT = 3


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue as the API is asked for it; "" for what is left out."""

    queue_type: str
    cluster_type: str = ""
    cluster_id: str = ""


class ProjectClient:
    """Asks one project, one request at a time if its upstream is made so. Raises PollError."""

    def __init__(self, upstream: Upstream, *, base_url: str, project_id: str, clock: Clock) -> None:
        self._upstream = upstream
        self._url = f"{base_url}/v1.0/{quote(project_id, safe='')}/data/queuing-jobs"
        self._clock = clock
        self._small_until = 0.0

    async def queuing_jobs(self, queue: Queue, tokens: TokenProvider) -> QueueListing:
        """All that is in `queue` (page 查询排队作业列表-QueryQueuedJobList).

        Raises the PollError of the first page; a later page that fails is lost, and the listing is then not complete.
        """
        size, page = await self._first_page(queue, tokens)
        reading = Reading(page)
        bound = pages_allowed(page.total, size)
        while reading.goes_on:
            if reading.pages >= bound:
                reading.stop(f"it grew while it was read, so reading stopped after {bound} pages")
                break
            try:
                reading.add(await self._page(queue, tokens, reading.offset, size))
            except (AuthenticationError, PermissionDeniedError):
                raise
            except PollError as error:
                reading.lose(size, str(error))
                if reading.lost_pages >= LOST_LIMIT or not worth_going_on(error):
                    reading.stop(str(error))
        return reading.listing()

    async def _first_page(self, queue: Queue, tokens: TokenProvider) -> tuple[int, Page]:
        """The size of pages, and the first of them.

        No page says how a size is refused. So any 400 for the large one is answered with the small one: if that is
        refused as well, the reason was another.
        """
        if self._clock.monotonic() < self._small_until:
            return SMALL_PAGE_SIZE, await self._page(queue, tokens, 0, SMALL_PAGE_SIZE)
        try:
            return PAGE_SIZE, await self._page(queue, tokens, 0, PAGE_SIZE)
        except RejectedError:
            page = await self._page(queue, tokens, 0, SMALL_PAGE_SIZE)
        self._small_until = self._clock.monotonic() + SMALL_FOR
        return SMALL_PAGE_SIZE, page

    async def _page(self, queue: Queue, tokens: TokenProvider, offset: int, limit: int) -> Page:
        wanted = {
            "queue_type": queue.queue_type,
            "cluster_type": queue.cluster_type,
            "cluster_id": queue.cluster_id,
            "limit": limit,
            "offset": offset,
        }
        given = {name: value for name, value in wanted.items() if value != ""}
        url = f"{self._url}?{urlencode(given, quote_via=quote, safe='')}"

        def request(token: str) -> Request:
            return Request(QUEUING_JOBS, url, headers={"X-Auth-Token": token}, secrets=(token,))

        return await call_with_token(self._upstream, tokens, request, read_page)


def pages_allowed(total: int | None, size: int) -> int:
    """How many pages of a queue are read at most that had `total` entries at the beginning, or nobody knows how many."""
    if total is None:
        return MAX_PAGES
    return min(MAX_PAGES, 2 * -(-total // size) + SPARE_PAGES)


def worth_going_on(error: PollError) -> bool:
    """Whether the next page may come where this one did not."""
    return isinstance(error, TransientError | DecodeError) and not isinstance(error, ThrottledError)
