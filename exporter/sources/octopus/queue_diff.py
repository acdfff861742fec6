"""Arrivals at and departures from a queue, concluded from successive listings. A pure state machine: no I/O, no clock.

Times are seconds on one clock that never goes back. The first complete listing is only where the count begins: what is
in it came at an unknown time. An entry departs when a complete listing lacks it. A queue that moves while it is read
page by page can hide an entry from a listing that seems complete, so a listing of several pages only raises a
suspicion, which the next one confirms; the departure counts for the first.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from exporter.sources.octopus.reading import EntryId, QueueListing
from exporter.tracking.totals import Histogram


@dataclass(frozen=True, slots=True)
class Unseen:
    """An entry that the last listing lacks. `missed` is when a complete one first did; None: none has yet."""

    came: float | None
    seen: float
    missed: float | None = None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The state of a queue after a listing at the time `at`.

    `present` are the entries listed then, with the time each was first seen, None where it came at an unknown time.
    `complete_at` is the time of the last complete listing; None while nothing can be said about what comes.
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


def diff(
    flow: QueueState, ids: Collection[EntryId], *, at: float, complete: bool, certain: bool, longest_gap: float
) -> tuple[QueueState, Events]:
    """Conclude from a listing of `ids` at the time `at` (see QueueListing for `complete` and `certain`).

    Changes during more than `longest_gap` seconds without a complete listing are counted, but not timed; without one
    even then, the known state is too old to conclude from. That also bounds the memory.
    """
    in_touch = flow.complete_at is not None and at - flow.complete_at <= longest_gap
    if not complete and not in_touch:
        return QueueState({entry: came_of(flow, entry) for entry in ids}, {}, at, None), Events()

    present: dict[EntryId, float | None] = {}
    arrivals = 0
    for entry in ids:
        if entry in flow.present or entry in flow.unseen:
            present[entry] = came_of(flow, entry)
        else:
            arrivals += flow.complete_at is not None
            present[entry] = at if in_touch else None
    unseen = {entry: Unseen(came, flow.at) for entry, came in flow.present.items() if entry not in present}
    unseen.update((entry, was) for entry, was in flow.unseen.items() if entry not in present)
    if not complete:
        return QueueState(present, unseen, at, flow.complete_at), Events(arrivals)
    gone, suspected = classify_missing(unseen, at, certain=certain)
    waits = tuple(wait for was in gone if (wait := wait_of(was, longest_gap)) is not None)
    return QueueState(present, suspected, at, at), Events(arrivals, len(gone), waits)


def came_of(flow: QueueState, entry: EntryId) -> float | None:
    """When a known entry was first seen; None for others."""
    if entry in flow.present:
        return flow.present[entry]
    was = flow.unseen.get(entry)
    return was.came if was else None


def classify_missing(
    unseen: Mapping[EntryId, Unseen], at: float, *, certain: bool
) -> tuple[list[Unseen], dict[EntryId, Unseen]]:
    """Those that are gone, and those of which a complete listing at the time `at` only makes us think so."""
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
    """Seconds from first seen to gone, which was between last seen and first missed: in the middle."""
    if gone.came is None or gone.missed is None or gone.missed - gone.seen > longest_gap:
        return None
    return (gone.seen + gone.missed) / 2 - gone.came


class QueueTotals:
    """A queue's counters since the start. Its memory is that of two listings, however many there were."""

    def __init__(self) -> None:
        self.arrivals = 0
        self.departures = 0
        self.waits = Histogram()
        self.flow = QueueState()

    @property
    def known(self) -> bool:
        """Whether anything can be said about what comes and goes."""
        return self.flow.complete_at is not None

    def conclusion(self, listing: QueueListing, at: float, longest_gap: float) -> tuple[QueueState, Events]:
        """Compare the listing with the last one by `diff`. Changes nothing, so it may run in a thread; see `take`."""
        return diff(
            self.flow,
            listing.ids,
            at=at,
            complete=listing.complete,
            certain=listing.certain,
            longest_gap=longest_gap,
        )

    def take(self, conclusion: tuple[QueueState, Events]) -> None:
        """Count what `conclusion` found."""
        self.flow, events = conclusion
        self.arrivals += events.arrivals
        self.departures += events.departures
        for wait in events.waits:
            self.waits.observe(wait)
