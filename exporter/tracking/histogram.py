"""Histograms that outlive the process and a later version's change of mind about their buckets."""

from bisect import bisect_left
from typing import Annotated, Final

import msgspec

# Numbers as they are read from a file: anything else there is damage.
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]

# Seconds: a minute to a week. Polls are seconds to minutes apart, so finer buckets would only show the rhythm of
# the polls; the first one holds the waits of 0 of jobs that were submitted and started between two polls.
BUCKETS: Final[tuple[float, ...]] = (
    60.0,
    120.0,
    300.0,
    600.0,
    1800.0,
    3600.0,
    7200.0,
    14400.0,
    28800.0,
    43200.0,
    86400.0,
    172800.0,
    345600.0,
    604800.0,
)


class HistogramView(msgspec.Struct, frozen=True):
    """`cumulative` has one count for each bound, then one for +Inf, which is the number of all observations."""

    bounds: tuple[float, ...]
    cumulative: tuple[int, ...]
    sum: float

    @property
    def count(self) -> int:
        return self.cumulative[-1]


class Histogram(msgspec.Struct, forbid_unknown_fields=True):
    """Counts of observed seconds. `counts` has one more entry than `bounds`; they do not include one another."""

    bounds: tuple[Seconds, ...] = BUCKETS
    counts: list[Count] = msgspec.field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: Seconds = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError where counts and bounds do not belong together, as after a file was damaged."""
        if len(self.counts) != len(self.bounds) + 1 or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("the bounds of a histogram do not fit its counts")

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def add(self, other: "Histogram") -> None:
        """Add what another histogram with the same bounds counted."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def view(self) -> HistogramView:
        total = 0
        cumulative = tuple(total := total + count for count in self.counts)
        return HistogramView(self.bounds, cumulative, self.sum)

    def rebinned(self, bounds: tuple[float, ...]) -> "Histogram":
        """Return the same observations in other buckets.

        Observations counted up to an old bound are known to be below every bound that is not smaller, and go to the
        first of those: a count never claims more than is known, bounds that stay keep their counts, nothing is lost.
        """
        counts = [0] * (len(bounds) + 1)
        for upper, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            counts[bisect_left(bounds, upper)] += count
        return Histogram(bounds, counts, self.sum)
