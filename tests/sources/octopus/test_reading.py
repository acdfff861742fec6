"""Pages put together: whatever moves or is lost, what is shown is known, and the length is the API's."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.octopus.reading import Reading
from exporter.sources.octopus.records import QueueContent, QueueListing, Requested
from exporter.sources.octopus.wire import Page, WireRow


def rows(*ids: int) -> list[WireRow]:
    return [WireRow(id=n, job_type="FRAME_EXTRACT", resource_spec="2Core_8GiB", rank_stamp=1000 * n) for n in ids]


def page(ids: Sequence[int], total: int | None, unreadable: int = 0, skew: float | None = None) -> Page:
    return Page(rows(*ids), len(ids) + unreadable, total, skew)


def read(*pages: Page) -> QueueListing:
    reading = Reading(pages[0])
    for following in pages[1:]:
        assert reading.goes_on
        reading.add(following)
    assert not reading.goes_on
    return reading.listing()


def test_one_page_is_all_there_is() -> None:
    listing = read(page([3, 1, 2], 3, skew=7.0))
    content = QueueContent({("FRAME_EXTRACT", "", "2Core_8GiB"): 3}, Requested(6, 3 * 2**33, 0), oldest_rank=1.0)
    assert listing == QueueListing(3, content, frozenset({1, 2, 3}), complete=True, certain=True, skew=7.0)


def test_an_empty_queue_asks_for_nothing_and_has_no_oldest() -> None:
    assert read(page([], 0)).content == QueueContent({}, Requested(0, 0, 0), None)
    assert read(page([], 0)).complete


def test_several_pages_are_complete_but_not_certain() -> None:
    listing = read(page([1, 2], 3), page([3], 3))
    assert (listing.length, listing.complete, listing.certain) == (3, True, False)


@given(st.integers(0, 60), st.integers(1, 25))
def test_a_queue_that_rests_is_the_same_in_pages_of_any_size(entries: int, size: int) -> None:
    ids = list(range(1, entries + 1))
    whole = read(page(ids, entries))
    cut = read(*(page(ids[at : at + size], entries) for at in range(0, max(entries, 1), size)))
    assert (cut.length, cut.content, cut.ids, cut.complete) == (whole.length, whole.content, whole.ids, True)


def test_a_row_that_shifts_to_the_next_page_counts_once() -> None:
    """Something came before it: the last row of one page is the first of the next."""
    listing = read(page([1, 2], 4), page([2, 3], 5), page([4], 5))
    assert listing.ids == {1, 2, 3, 4}
    assert listing.content is not None
    assert sum(listing.content.jobs.values()) == 4
    assert (listing.length, listing.complete) == (5, False)


def test_a_row_that_shifts_past_us_makes_the_listing_incomplete() -> None:
    """Something before it left: row 3 moved to the page that we had already."""
    listing = read(page([1, 2], 4), page([4], 3))
    assert (listing.ids, listing.length, listing.complete) == (frozenset({1, 2, 4}), 3, False)
    assert listing.content is not None


def test_an_entry_moved_to_the_end_hides_another() -> None:
    listing = read(page([1, 2], 4), page([4, 1], 4))
    assert (listing.ids, listing.complete) == (frozenset({1, 2, 4}), False)


def test_the_length_is_known_though_a_page_is_lost() -> None:
    reading = Reading(page([1, 2], 6))
    reading.lose(2, "HTTP 502")
    reading.add(page([5, 6], 6))
    listing = reading.listing()
    assert not reading.goes_on
    assert (listing.length, listing.content, listing.complete) == (6, None, False)
    assert listing.ids == {1, 2, 5, 6}
    assert listing.lost == "the page at offset 2 was lost: HTTP 502"


def test_a_list_that_ends_too_early_is_no_smaller_queue() -> None:
    reading = Reading(page([1, 2], 6))
    reading.add(page([], 6))
    assert not reading.goes_on
    assert (reading.listing().length, reading.listing().content) == (6, None)
    assert reading.listing().lost == "it ended after 2 of 6 rows"


def test_a_service_that_does_not_page_is_found_out() -> None:
    listing = read(page([1, 2], 4), page([1, 2], 4))
    assert (listing.length, listing.content) == (4, None)
    assert listing.lost == "the page at offset 2 holds only rows that came before"


def test_smaller_pages_than_asked_for_are_read_one_after_the_other() -> None:
    reading = Reading(page([1], 3))
    assert reading.offset == 1
    reading.add(page([2], 3))
    assert reading.offset == 2


def test_an_unreadable_row_may_be_any_entry() -> None:
    listing = read(page([1, 2], 3, unreadable=1))
    assert (listing.rejected, listing.complete) == (1, False)
    assert listing.content is not None


def test_without_a_total_it_is_read_to_the_end_and_the_length_stays_unknown() -> None:
    listing = read(page([1, 2], None), page([3], None), page([], None))
    assert (listing.length, listing.complete) == (None, False)
    assert listing.content is not None
    assert sum(listing.content.jobs.values()) == 3


def test_what_stops_the_reading_is_said_unless_it_was_over() -> None:
    reading = Reading(page([1, 2], 6))
    reading.stop("enough")
    assert (reading.goes_on, reading.listing().lost) == (False, "enough")
    over = Reading(page([1], 1))
    over.stop("enough")
    assert over.listing().lost == ""


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (["1Core_4GiB", "2Core_8GiB"], Requested(3, 12 * 2**30, 0)),
        (["1Core_4GiB", "4U16G", None, ""], Requested(1, 4 * 2**30, 3)),
        (["0.1Core_1KiB"] * 10, Requested(1, 10 * 2**10, 0)),
        (["0.5Core_1KiB"], Requested(0.5, 2**10, 0)),
    ],
)
def test_specs_are_added_up_exactly_and_those_not_read_are_counted(
    specs: list[str | None], expected: Requested
) -> None:
    made = [WireRow(id=n, resource_spec=spec) for n, spec in enumerate(specs)]
    content = Reading(Page(made, len(made), len(made), None)).listing().content
    assert content is not None
    assert content.requested == expected


def test_kinds_are_kept_as_they_come() -> None:
    made = [
        WireRow(id=1, job_type="TYPE_OF_TOMORROW", processor_name="点云标注", resource_spec="x"),
        WireRow(id=2, job_type=7),
        WireRow(id=3, job_type=7),
    ]
    content = Reading(Page(made, 3, 3, None)).listing().content
    assert content is not None
    assert content.jobs == {("TYPE_OF_TOMORROW", "点云标注", "x"): 1, ("7", "", ""): 2}
