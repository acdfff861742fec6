"""Counters and histograms that outlive the process, and a later version's change of mind about buckets."""

from bisect import bisect_left
from collections.abc import Mapping
from copy import copy
from itertools import product
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec.structs import replace

from exporter.records import JobState
from exporter.tracking.model import (
    BASES,
    CENSOR_REASONS,
    MEASURES,
    OUTCOMES,
    Basis,
    CensorReason,
    Events,
    Measure,
    MemberState,
    Moment,
    Outcome,
    Update,
)

Name = TypeVar("Name")

# A scheduler whose queues have other names all the time must not fill the memory: those of further ones count without name.
MOST_QUEUES: Final = 256
# Numbers as they are read from a file: anything else there is damage.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e300)]

# Seconds: half a minute to a month, each at most half as long again as the one before: with steps of 2 to 3, a day's
# 90th percentile was off by up to 18 % on real logs. Times that people think in, so that boards can ask for them.
BUCKETS: Final[tuple[float, ...]] = (
    *(30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0),
    *(hours * 3600.0 for hours in (1.0, 1.5, 2, 3, 4, 6, 8, 12, 18)),
    *(days * 86400.0 for days in (1.0, 1.5, 2, 3, 4, 5, 7, 10, 14, 21, 30)),
)
_Before = Annotated[str, msgspec.Meta(pattern=f"^(none|{'|'.join(JobState)})$")]
_After = Annotated[str, msgspec.Meta(pattern=f"^(gone|{'|'.join(JobState)})$")]


class Histogram(msgspec.Struct, forbid_unknown_fields=True):
    """Counts of observed seconds. `counts` has one more entry than `bounds`; they do not include one another."""

    bounds: tuple[Seconds, ...] = BUCKETS
    counts: list[Count] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: Seconds = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError where counts and bounds do not belong together, as after a file was damaged."""
        if len(self.counts) != len(self.bounds) + 1 or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("the bounds of a histogram do not fit its counts")

    @property
    def count(self) -> int:
        """The number of all observations."""
        return sum(self.counts)

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def add(self, other: "Histogram") -> None:
        """Add what another histogram with the same bounds counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def rebinned(self, bounds: tuple[float, ...]) -> "Histogram":
        """Return the same observations in other buckets.

        Observations counted up to an old bound are known to be below every bound that is not smaller, and go to the
        first of those: a count never claims more than is known, bounds that stay keep their counts, nothing is lost.
        """
        counts = [0] * (len(bounds) + 1)
        for upper, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            counts[bisect_left(bounds, upper)] += count
        return Histogram(bounds, counts, self.sum)


class MemberTotals(msgspec.Struct, forbid_unknown_fields=True):
    """A member's counters since it was first polled.

    `transitions` holds what occurred, by (from_state, to_state); `finished` every outcome. Resource seconds are None until
    an amount was listed: what the upstream never sends is unknown, not 0. `oldest_queued` is Unix seconds, None where no
    job waits.
    """

    transitions: dict[tuple[_Before, _After], Count] = msgspec.field(default_factory=dict)
    finished: dict[Outcome, Count] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    cpu_seconds: Seconds | None = None
    gpu_seconds: Seconds | None = None
    dcu_seconds: Seconds | None = None
    unaccounted_seconds: Seconds = 0.0
    oldest_queued: Moment | None = None

    def add(self, update: Update) -> None:
        events = update.events
        _add_counts(self.transitions, events.transitions)
        _add_counts(self.finished, events.finished)
        known, seconds = events.amounts_known, events.resource_seconds
        self.cpu_seconds = _added(self.cpu_seconds, seconds[0], known[0])
        self.gpu_seconds = _added(self.gpu_seconds, seconds[1], known[1])
        self.dcu_seconds = _added(self.dcu_seconds, seconds[2], known[2])
        self.unaccounted_seconds += events.unaccounted
        self.oldest_queued = update.oldest_waiting

    def copied(self) -> "MemberTotals":
        """Return the counters as they are now."""
        return replace(self, transitions=dict(self.transitions), finished=dict(self.finished))


class Spells(msgspec.Struct, forbid_unknown_fields=True):
    """Histograms of the waits and runs in one queue."""

    waits: Histogram = msgspec.field(default_factory=Histogram)
    runs: Histogram = msgspec.field(default_factory=Histogram)


class GroupTotals(msgspec.Struct, forbid_unknown_fields=True):
    """A group's histograms and counters; they outlive the members that they came from.

    `queues` by name, which is empty where the queue is not known; `observed` and `censored` hold every combination.
    """

    queues: dict[str, Spells] = msgspec.field(default_factory=dict)
    observed: dict[tuple[Measure, Basis], Count] = msgspec.field(
        default_factory=lambda: dict.fromkeys(product(MEASURES, BASES), 0)
    )
    censored: dict[tuple[Measure, CensorReason], Count] = msgspec.field(
        default_factory=lambda: dict.fromkeys(product(MEASURES, CENSOR_REASONS), 0)
    )

    def add(self, other: "GroupTotals") -> None:
        for queue, spells in other.queues.items():
            mine = self.of_queue(queue)
            mine.waits.add(spells.waits)
            mine.runs.add(spells.runs)
        _add_counts(self.observed, other.observed)
        _add_counts(self.censored, other.censored)

    def of_queue(self, queue: str) -> Spells:
        """Return the histograms of a queue, new if need be."""
        name = queue if queue in self.queues or len(self.queues) < MOST_QUEUES else ""
        if name not in self.queues:
            self.queues[name] = Spells()
        return self.queues[name]

    def copied(self) -> "GroupTotals":
        """Return the counters as they are now, with one queue at least."""
        # `add` replaces the counts of a histogram, and never changes them in place.
        queues = {
            queue: Spells(copy(spells.waits), copy(spells.runs))
            for queue, spells in (self.queues or {"": Spells()}).items()
        }
        return GroupTotals(queues, dict(self.observed), dict(self.censored))

    def rebinned(self) -> "GroupTotals":
        """Return the same in the buckets of this version."""
        queues = {
            queue: Spells(spells.waits.rebinned(BUCKETS), spells.runs.rebinned(BUCKETS))
            for queue, spells in self.queues.items()
        }
        return GroupTotals(queues, self.observed, self.censored)

    @classmethod
    def of(cls, events: Events) -> "GroupTotals":
        """Return the contribution of one listing to its group.

        A queue is there, at 0, as soon as a job of it is listed.
        """
        totals = cls()
        _add_counts(totals.censored, events.censored)
        for queue in sorted(events.queues):
            totals.of_queue(queue)
        for spell in events.waits:
            totals.of_queue(spell.queue).waits.observe(spell.seconds)
            totals.observed["wait", spell.basis] += 1
        for spell in events.runs:
            totals.of_queue(spell.queue).runs.observe(spell.seconds)
            totals.observed["run", spell.basis] += 1
        return totals


class TrackedMember(msgspec.Struct):
    """All that is remembered of a member."""

    state: MemberState = msgspec.field(default_factory=MemberState)
    totals: MemberTotals = msgspec.field(default_factory=MemberTotals)


def _added(total: float | None, seconds: float, known: bool) -> float | None:
    return None if total is None and not known else (total or 0.0) + seconds


def _add_counts(counts: dict[Name, int], more: Mapping[Name, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
