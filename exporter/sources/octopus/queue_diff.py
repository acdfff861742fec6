"""Arrivals at and departures from a queue, derived from successive listings. A pure state machine: no I/O, no clock.

Times are seconds on one clock that never goes back. The first complete listing is the baseline: when its entries arrived is
unknown. An entry departs when a complete listing lacks it. A queue that moves while it is read page by page can hide an entry
from a listing that seems complete, so a listing of several pages only makes an entry suspected; the next one confirms the
departure, which counts for the time of the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.sources.octopus.reading import EntryId, QueueListing
from exporter.tracking.totals import Histogram


@dataclass(frozen=True, slots=True)
class Unseen:
    """An entry that the last listing lacks. `missed` is when a complete one first lacked it; None: none has yet."""

    came: float | None
    seen: float
    missed: float | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of a queue after a listing at the time `at`.

    `present` are the entries listed then, with the time each was first seen; None where the arrival is unknown.
    `complete_at` is the time of the last complete listing; None while arrivals cannot be counted.
    """

    present: Mapping[EntryId, float | None] = field(default_factory=dict)
    unseen: Mapping[EntryId, Unseen] = field(default_factory=dict)
    at: float = 0.0
    complete_at: float | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """The changes that a listing shows. `waits` are seconds in the queue, for those departures where that is known."""

    arrivals: int = 0
    departures: int = 0
    waits: tuple[float, ...] = ()


def diff(state: QueueState, listing: QueueListing, at: float, longest_gap: float) -> tuple[QueueState, Events]:
    """Return the state after a listing read at the time `at`, and the changes since the last one.

    Changes during more than `longest_gap` seconds without a complete listing are counted, but not timed. If the listing
    that ends such a gap is incomplete as well, the known state is too old to compare with, and is dropped: this also
    bounds the memory.
    """
    recent = state.complete_at is not None and at - state.complete_at <= longest_gap
    if not listing.complete and not recent:
        return QueueState({entry: came_of(state, entry) for entry in listing.ids}, {}, at, None), Events()

    present: dict[EntryId, float | None] = {}
    arrivals = 0
    for entry in listing.ids:
        if entry in state.present or entry in state.unseen:
            present[entry] = came_of(state, entry)
        else:
            arrivals += state.complete_at is not None
            present[entry] = at if recent else None
    unseen = {entry: Unseen(came, state.at) for entry, came in state.present.items() if entry not in present}
    unseen.update((entry, was) for entry, was in state.unseen.items() if entry not in present)
    if not listing.complete:
        return QueueState(present, unseen, at, state.complete_at), Events(arrivals)
    gone, suspected = classify_missing(unseen, at, certain=listing.certain)
    waits = tuple(wait for was in gone if (wait := wait_of(was, longest_gap)) is not None)
    return QueueState(present, suspected, at, at), Events(arrivals, len(gone), waits)


def came_of(state: QueueState, entry: EntryId) -> float | None:
    """Return when a known entry was first seen; None for others."""
    if entry in state.present:
        return state.present[entry]
    was = state.unseen.get(entry)
    return was.came if was else None


def classify_missing(
    unseen: Mapping[EntryId, Unseen], at: float, *, certain: bool
) -> tuple[list[Unseen], dict[EntryId, Unseen]]:
    """Return the entries that departed, and those only suspected to have, after a complete listing at the time `at`."""
    gone: list[Unseen] = []
    suspected: dict[EntryId, Unseen] = {}
    for entry, was in unseen.items():
        missing = was if was.missed is not None else Unseen(was.came, was.seen, at)
        if certain or was.missed is not None:
            gone.append(missing)
        else:
            suspected[entry] = missing
    return gone, suspected


def wait_of(gone: Unseen, longest_gap: float) -> float | None:
    """Return the seconds from first seen to departure: the midpoint between last seen and first missed."""
    if gone.came is None or gone.missed is None or gone.missed - gone.seen > longest_gap:
        return None
    return (gone.seen + gone.missed) / 2 - gone.came


class QueueTotals:
    """A queue's counters since the start. Its memory is that of two listings, however many there were."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.departures = 0
        self.waits = Histogram()
        self.state = QueueState()

    @property
    def known(self) -> bool:
        """Whether arrivals and departures can be counted now."""
        return self.state.complete_at is not None

    def add(self, state: QueueState, events: Events) -> None:
        """Count the changes that `diff` found."""
        self.state = state
        self.arrivals += events.arrivals
        self.departures += events.departures
        for wait in events.waits:
            self.waits.observe(wait)
