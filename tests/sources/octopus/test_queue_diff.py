"""Arrivals, departures and waits: never more than was seen, and nothing kept that is no longer needed."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sources.octopus.queue_diff import Events, QueueState, QueueTotals, diff
from exporter.sources.octopus.reading import QueueListing

GAP = 180.0


def step(
    flow: QueueState, ids: Collection[int], at: float, *, complete: bool = True, certain: bool = True
) -> tuple[QueueState, Events]:
    listing = QueueListing(None, None, frozenset(ids), complete=complete, certain=complete and certain)
    return diff(flow, listing, at, GAP)


def started(ids: Collection[int] = (), at: float = 1000.0) -> QueueState:
    flow, events = step(QueueState(), ids, at)
    assert events == Events()
    return flow


def test_what_is_there_at_the_start_is_no_arrival_and_its_wait_is_unknown() -> None:
    flow = started({1, 2, 3})
    assert step(flow, {1}, 1060.0)[1] == Events(departures=2)


def test_a_wait_ends_in_the_middle_between_last_seen_and_first_missed() -> None:
    flow, came = step(started(), {1}, 1060.0)
    flow, stayed = step(flow, {1}, 1120.0)
    _, left = step(flow, set(), 1180.0)
    assert (came, stayed, left) == (Events(arrivals=1), Events(), Events(departures=1, waits=(90.0,)))


def test_an_incomplete_listing_shows_arrivals_and_no_departures() -> None:
    flow, events = step(started({1, 2}), {2, 3}, 1060.0, complete=False)
    assert events == Events(arrivals=1)
    _, events = step(flow, {2, 3}, 1120.0)
    assert events == Events(departures=1)


def test_what_an_incomplete_listing_lacks_comes_back_as_if_it_had_been_there() -> None:
    flow, _ = step(started(), {1, 2}, 1060.0)
    flow, hidden = step(flow, {2}, 1120.0, complete=False)
    flow, back = step(flow, {1, 2}, 1180.0)
    _, left = step(flow, {2}, 1240.0)
    assert (hidden, back, left) == (Events(), Events(), Events(departures=1, waits=(150.0,)))


def test_the_wait_of_what_an_incomplete_listing_lacked_ends_after_it_was_last_seen() -> None:
    flow, _ = step(started(), {1}, 1060.0)
    flow, _ = step(flow, set(), 1120.0, complete=False)
    _, left = step(flow, set(), 1180.0)
    assert left == Events(departures=1, waits=(60.0,))


def test_before_the_first_complete_listing_nothing_can_be_said() -> None:
    flow, events = step(QueueState(), {1}, 1000.0, complete=False)
    assert (events, flow.complete_at) == (Events(), None)
    flow, events = step(flow, {1, 2}, 1060.0)
    assert (events, flow.complete_at) == (Events(), 1060.0)
    assert step(flow, {2}, 1120.0)[1] == Events(departures=1)


def test_a_listing_of_several_pages_only_raises_a_suspicion_that_the_next_confirms() -> None:
    flow, _ = step(started(), {1}, 1060.0, certain=False)
    flow, suspected = step(flow, set(), 1120.0, certain=False)
    _, confirmed = step(flow, set(), 1180.0, certain=False)
    assert (suspected, confirmed) == (Events(), Events(departures=1, waits=(30.0,)))


def test_a_suspicion_that_was_wrong_is_forgotten() -> None:
    flow, _ = step(started(), {1, 2}, 1060.0, certain=False)
    flow, _ = step(flow, {2}, 1120.0, certain=False)
    flow, back = step(flow, {1, 2}, 1180.0, certain=False)
    assert back == Events()
    flow, again = step(flow, {2}, 1240.0, certain=False)
    assert again == Events()
    assert step(flow, {2}, 1300.0, certain=False)[1] == Events(departures=1, waits=(150.0,))


def test_a_certain_listing_confirms_at_once() -> None:
    flow, _ = step(started({1}), set(), 1060.0, certain=False)
    assert step(flow, set(), 1120.0)[1] == Events(departures=1)


def test_what_happens_in_a_gap_is_counted_but_not_timed() -> None:
    flow, _ = step(started(), {1}, 1060.0)
    flow, events = step(flow, {2}, 1060.0 + GAP + 1)
    assert events == Events(arrivals=1, departures=1)
    assert step(flow, set(), 1060.0 + GAP + 61)[1] == Events(departures=1)


def test_after_long_without_a_complete_listing_nothing_is_concluded_until_the_next() -> None:
    flow, _ = step(started({1}), {1, 2}, 1000.0 + GAP + 1, complete=False)
    assert flow.complete_at is None
    flow, events = step(flow, {2, 3}, 1000.0 + GAP + 61)
    assert events == Events(departures=1)
    assert step(flow, {3, 4}, 1000.0 + GAP + 121)[1] == Events(arrivals=1, departures=1)


HISTORIES = st.lists(st.frozensets(st.integers(0, 8)), min_size=1, max_size=20)


@given(HISTORIES)
def test_complete_and_certain_listings_are_accounted_for_to_the_last_entry(history: list[frozenset[int]]) -> None:
    flow, present = started(history[0], 0.0), history[0]
    for minute, ids in enumerate(history[1:], 1):
        flow, events = step(flow, ids, 60.0 * minute)
        assert events.arrivals == len(ids - present)
        assert events.departures == len(present - ids)
        assert all(wait >= 30.0 for wait in events.waits)
        assert flow.present.keys() == ids
        assert not flow.unseen
        present = ids


@given(HISTORIES, st.data())
def test_of_a_queue_that_moves_no_departure_is_made_up(history: list[frozenset[int]], data: st.DataObject) -> None:
    """A reading of several pages may miss any rows, as long as none is missed twice in a row."""
    totals = QueueTotals()
    missed: frozenset[int] = frozenset()
    gone = 0
    for minute, ids in enumerate(history):
        overlooked = data.draw(st.frozensets(st.sampled_from(sorted(ids - missed)))) if ids - missed else frozenset()
        if minute == 0:
            overlooked = frozenset()
        else:
            gone += len(history[minute - 1] - ids)
        missed = overlooked
        seen = QueueListing(None, None, ids - overlooked, complete=True, certain=False)
        totals.add(*diff(totals.state, seen, 60.0 * minute, GAP))
        assert totals.departures <= gone
    rest = QueueListing(None, None, history[-1], complete=True, certain=True)
    totals.add(*diff(totals.state, rest, 60.0 * len(history), GAP))
    assert totals.state.present.keys() == history[-1]
    assert len(history[0]) + totals.arrivals - totals.departures == len(history[-1])


LISTINGS = st.lists(
    st.tuples(st.frozensets(st.integers(0, 30), max_size=8), st.booleans(), st.booleans(), st.floats(1, 400)),
    max_size=60,
)


@given(LISTINGS)
def test_nothing_is_lost_counted_twice_or_negative_whatever_the_listings(
    listings: list[tuple[frozenset[int], bool, bool, float]],
) -> None:
    totals, at = QueueTotals(), 0.0
    for ids, complete, certain, pause in listings:
        before = totals.state
        at += pause
        listing = QueueListing(None, None, ids, complete=complete, certain=complete and certain)
        totals.add(*diff(totals.state, listing, at, GAP))
        assert totals.state.present.keys() == ids
        assert not totals.state.unseen.keys() & ids
        assert totals.state.unseen.keys() <= before.present.keys() | before.unseen.keys()
        waits = totals.waits
        assert waits.count <= totals.departures
        assert waits.sum >= 0


@pytest.mark.parametrize("complete", [True, False])
def test_memory_does_not_grow_with_the_number_of_polls(complete: bool) -> None:
    """A queue through which ten new entries pass in every poll, read as a whole or never so after the start."""
    totals = QueueTotals()
    longest = 0
    for poll in range(2000):
        ids = frozenset(range(10 * poll, 10 * poll + 100))
        listing = QueueListing(None, None, ids, complete=complete or poll == 0, certain=False)
        totals.add(*diff(totals.state, listing, 60.0 * poll, GAP))
        longest = max(longest, len(totals.state.present) + len(totals.state.unseen))
    assert longest <= 100 + 10 * 4
