"""Histograms that outlive the process and a later version's change of mind about their buckets."""

from bisect import bisect_left
from typing import Annotated, Final

import msgspec

# Numbers as they are read from a file: anything else there is damage.
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0, lt=1e300)]

# Seconds: half a minute to a month, each at most half as long again as the one before: with steps of 2 to 3, a day's
# 90th percentile was off by up to 18 % on real logs. Times that people think in, so that boards can ask for them.
BUCKETS: Final[tuple[float, ...]] = (
    *(30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0),
    *(hours * 3600.0 for hours in (1.0, 1.5, 2, 3, 4, 6, 8, 12, 18)),
    *(days * 86400.0 for days in (1.0, 1.5, 2, 3, 4, 5, 7, 10, 14, 21, 30)),
)


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
