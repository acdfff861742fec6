"""Queues read over real sockets: page by page, while they move, and while pages are lost."""

from typing import Any

import pytest

from exporter.errors import (
    ThrottledError,
    UpstreamBusyError,
)
from exporter.simulator import Fault
from exporter.sources.octopus.pages import SMALL_FOR
from exporter.sources.octopus.reading import LOST_LIMIT, MAX_PAGES, Queue, pages_allowed
from tests.support.octopus import PROCESSOR, AtWork, entries

KEY = ("INTERNAL", "", "")


def lost_page(offset: int, **how: Any) -> Fault:
    return Fault(
        endpoint="queuing_jobs", offset=offset, **{"kind": "error", "status": 502, "code": "octopus.400102", **how}
    )


async def test_pages_of_two_hundred_one_after_the_other(at_work: AtWork) -> None:
    at_work.hold((1, 450), queue=PROCESSOR)
    listing = await at_work.read(PROCESSOR)
    assert (listing.length, len(listing.ids), listing.complete) == (450, 450, True)
    where = "queue_type=PROCESSOR&cluster_type=MODELARTS&cluster_id=pool-1"
    assert at_work.asked == [f"{where}&limit=200&offset={offset}" for offset in (0, 200, 400)]


async def test_whatever_a_name_holds_arrives_as_it_is(at_work: AtWork) -> None:
    queue = Queue("队列 &limit=1#?%", "A/B", "x=y&offset=7")
    at_work.hold((1, 3), queue=queue)
    assert (await at_work.read(queue)).length == 3


# The size of pages


async def test_a_deployment_that_rejects_large_pages_is_asked_for_small_ones(at_work: AtWork) -> None:
    at_work.hold((1, 25))
    at_work.project.max_limit = 100
    listing = await at_work.read()
    assert (listing.length, listing.complete) == (25, True)
    assert [query.partition("&")[2] for query in at_work.asked] == [
        "limit=200&offset=0",
        "limit=10&offset=0",
        "limit=10&offset=10",
        "limit=10&offset=20",
    ]
    assert at_work.network.counts.api_codes == {"octopus.400000": 1}


async def test_the_size_is_remembered_for_every_queue_and_tried_again_an_hour_later(at_work: AtWork) -> None:
    at_work.hold((1, 5))
    at_work.hold((1, 5), queue=PROCESSOR)
    at_work.project.max_limit = 10
    await at_work.read()
    await at_work.read(PROCESSOR)
    assert sum("limit=200" in query for query in at_work.asked) == 1
    at_work.project.max_limit = 200
    await at_work.clock.advance(SMALL_FOR)
    await at_work.read()
    assert "limit=200" in at_work.asked[-1]


async def test_a_queue_that_grows_while_it_is_read_comes_to_an_end(at_work: AtWork) -> None:
    at_work.hold((1, 300))

    def grow(_key: object) -> None:
        rows = at_work.project.rows[KEY]
        rows.extend(entries(len(rows) + 1, len(rows) + 300))

    at_work.project.after_page = grow
    listing = await at_work.read()
    assert len(at_work.asked) == pages_allowed(300, 200) == 14
    assert listing.length == 300 + 13 * 300
    assert (listing.content, listing.complete) == (None, False)
    assert listing.lost == "it grew while it was read, so reading stopped after 14 pages"


def test_the_bound_leaves_room_and_has_an_end() -> None:
    assert pages_allowed(50_000, 200) == 2 * 250 + 10
    assert pages_allowed(0, 200) == 10
    assert pages_allowed(None, 200) == pages_allowed(2**53, 10) == MAX_PAGES


# Lost pages


@pytest.mark.parametrize(
    "how",
    [
        {"kind": "status", "status": 504},
        {"kind": "disconnect"},
        {"kind": "truncated"},
        {"status": 400, "code": "octopus.400000"},
    ],
)
async def test_a_lost_page_leaves_the_length_and_takes_nothing_for_gone(at_work: AtWork, how: dict[str, Any]) -> None:
    at_work.hold((1, 450))
    at_work.project.faults.add(lost_page(200, **how))
    listing = await at_work.read()
    assert (listing.length, listing.content, listing.complete) == (450, None, False)
    assert listing.lost.startswith("the page at offset 200 was lost: ")
    assert listing.ids <= set(range(1, 451))
    assert listing.ids >= set(range(1, 201))


async def test_the_pages_after_a_lost_one_are_read(at_work: AtWork) -> None:
    at_work.hold((1, 450))
    at_work.project.faults.add(lost_page(200))
    assert (await at_work.read()).ids == {*range(1, 201), *range(401, 451)}


async def test_a_service_in_trouble_is_not_asked_for_all_pages(at_work: AtWork) -> None:
    at_work.hold((1, 5000))
    at_work.project.faults.add(Fault(kind="error", status=502, code="octopus.400102", since=at_work.clock.now() + 1))
    pages = 0

    def after_page(_key: object) -> None:
        nonlocal pages
        pages += 1
        at_work.clock.jump(2)

    at_work.project.after_page = after_page
    listing = await at_work.read()
    assert (listing.length, len(at_work.asked), pages) == (5000, 1 + LOST_LIMIT, 1)


async def test_throttled_midway_it_stops_asking(at_work: AtWork) -> None:
    at_work.hold((1, 900))
    at_work.project.faults.add(lost_page(400, status=429, code="APIG.0308", retry_after=3))
    listing = await at_work.read()
    assert (listing.length, listing.content) == (900, None)
    assert len(at_work.asked) == 3
    with pytest.raises(ThrottledError):
        await at_work.read(PROCESSOR)
    assert len(at_work.asked) == 3


async def test_without_a_first_page_there_is_no_listing(at_work: AtWork) -> None:
    at_work.hold((1, 450))
    at_work.project.faults.add(lost_page(0))
    with pytest.raises(UpstreamBusyError):
        await at_work.read()
    assert len(at_work.asked) == 1
