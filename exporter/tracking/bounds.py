"""Upper bounds of how long the first job submitted now waits, from past waits, and how often such bounds held.

The bound of a quantile q is the k-th smallest of n independent waits, k the least number for which fewer than k of n
waits lie below the true quantile with a probability of at least the confidence (a binomial order statistic: Brevik,
Nurmi and Wolski, *Predicting bounds on queuing delay*, PPoPP 2006). Three things make it hold for real queues:

* Jobs that one user submits together are one observation: only the first of a burst, its *head*, is counted and
  given a bound.
* Jobs that start soon are known sooner than those that wait. Heads that still wait, and those that left the queue
  without a start, are right-censored: the bound is read off the Kaplan-Meier curve, at k/n of the n heads that did
  start. Where the curve does not reach that far, there is no bound.
* Only the newest heads count, and every bound given is checked against the wait of its head. A bound that failed
  more often than chance explains is withheld.

Times are Unix seconds, waits and bounds seconds. Nothing here reads a clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import ceil
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

QUANTILES: Final = (0.5, 0.9, 0.95)
CONFIDENCE: Final = 0.95
# Jobs of one user submitted within this time of one that still waits belong to its burst.
BURST_SECONDS: Final = 3600.0
# Heads that count, the newest of a class.
WINDOW: Final = 256
# Limit of heads that are followed simultaneously, so that a class takes at most 8 KiB in the state file. Further heads are
# ignored until a followed one starts.
MOST_WAITING: Final = 80
# A wait longer than this is no longer followed, and counts as longer than this.
LONGEST_WAIT: Final = 30 * 86400
# Bounds checked last, which decide whether the present one is withheld: if fewer held than chance explains.
RECENT: Final = 100
_CHANCE: Final = 0.02  # of being withheld although right; for 0.95, 90 of 100 have to hold
_ROUNDING: Final = 1e-9

Bounds = tuple[float | None, ...]  # by quantile; None where too little is known

_Wait = Annotated[int, msgspec.Meta(ge=-LONGEST_WAIT - 1, le=LONGEST_WAIT)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Bound = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Key = Annotated[str, msgspec.Meta(max_length=16)]
_NOTHING: Final[Mapping[str, float]] = MappingProxyType({})
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Recent = Annotated[str, msgspec.Meta(pattern="^[01]*$", max_length=RECENT)]


@cache
def rank(n: int, quantile: float) -> int | None:
    """Return which of `n` waits, in ascending order from 1, bounds the quantile; None if there are too few."""
    at_least = probability = quantile**n  # that n of n waits are shorter than the quantile
    if at_least > 1 - CONFIDENCE + _ROUNDING:
        return None
    k = n
    while True:
        probability *= k / (n - k + 1) * (1 - quantile) / quantile  # that k - 1 of them are
        at_least += probability
        if at_least > 1 - CONFIDENCE + _ROUNDING:
            return k
        k -= 1


@cache
def fewest_held(checked: int, quantile: float) -> int:
    """Return the number of bounds, of `checked`, below which chance alone does not explain the failures."""
    probability = at_most = (1 - quantile) ** checked  # that none holds
    held = 0
    while at_most < _CHANCE:
        probability *= (checked - held) / (held + 1) * quantile / (1 - quantile)
        held += 1
        at_most += probability
    return held


def upper_bounds(started: Iterable[float], censored: Iterable[float], quantiles: Sequence[float] = QUANTILES) -> Bounds:
    """Return a bound for each quantile, in ascending order, from ended waits and those only known to be longer.

    A bound never shrinks when a job that still waits waits longer, or when a wait without others censored meanwhile
    gets longer. (A start that comes after others were censored takes on a part of their weight.)
    """
    waits = sorted(started)
    lost = sorted(censored)
    levels = [(k / len(waits)) if (k := rank(len(waits), quantile)) else None for quantile in quantiles]
    found: list[float | None] = [None] * len(levels)
    survival, at_risk, gone, level = 1.0, len(waits) + len(lost), 0, 0
    for wait in waits:
        while gone < len(lost) and lost[gone] < wait:
            gone += 1
            at_risk -= 1
        survival *= (at_risk - 1) / at_risk
        at_risk -= 1
        while level < len(levels) and (needed := levels[level]) is not None and 1 - survival >= needed - _ROUNDING:
            found[level] = wait
            level += 1
        if level == len(levels) or levels[level] is None:
            break
    return tuple(found)


class Waiting(msgspec.Struct, array_like=True):
    """A head that waits.

    `bounds` are those given at its submission, None where there was none or it is checked already.
    """

    key: _Key
    since: _Time
    bounds: list[_Bound | None]


class Score(msgspec.Struct, array_like=True):
    """Counts of checked bounds of one quantile. `recent` has a 1 for each of the last that held, oldest first."""

    checked: _Count = 0
    held: _Count = 0
    recent: _Recent = ""

    def add(self, *, held: bool) -> None:
        self.checked += 1
        self.held += held
        self.recent = (self.recent + "01"[held])[-RECENT:]


class WaitClass(msgspec.Struct, forbid_unknown_fields=True):
    """The waits of jobs that queue together: what the bounds are computed from, and how they did.

    Less than 8 KiB in the state file.

    `heads` are the newest, in the order of their submission: a wait that ended in a start, -1 minus the time for which
    a head was seen waiting that never started in sight, or one that waits. `older` are heads that wait and are no
    longer among the newest, and still have a bound to be checked. `newest` is when the last head was submitted, `gap`
    by how much its wait may be wrong. Where a head that waits is not known to do so until now, `seen` says until when,
    by its key.
    """

    heads: Annotated[list[_Wait | Waiting], msgspec.Meta(max_length=WINDOW)] = msgspec.field(default_factory=list)
    older: Annotated[list[Waiting], msgspec.Meta(max_length=MOST_WAITING)] = msgspec.field(default_factory=list)
    scores: Annotated[list[Score], msgspec.Meta(min_length=len(QUANTILES), max_length=len(QUANTILES))] = msgspec.field(
        default_factory=lambda: [Score() for _ in QUANTILES]
    )
    newest: _Time = 0
    gap: _Time = 0

    def computed(self, now: float, seen: Mapping[str, float] = _NOTHING) -> Bounds:
        """Return the bound of each quantile for a job submitted at `now`, whatever the score of earlier ones."""
        started, censored = [], []
        for head in self.heads:
            if isinstance(head, Waiting):
                censored.append(max(0.0, seen.get(head.key, now) - head.since))
            elif head >= 0:
                started.append(head)
            else:
                censored.append(-1.0 - head)
        return upper_bounds(started, censored)

    def withheld(self) -> tuple[bool, ...]:
        """Return for each quantile whether its bound failed too often of late to be shown."""
        return tuple(
            score.recent.count("1") < fewest_held(len(score.recent), quantile)
            for quantile, score in zip(QUANTILES, self.scores, strict=True)
        )

    def bounds(self, now: float, seen: Mapping[str, float] = _NOTHING) -> Bounds:
        """Return the bounds to show at `now`.

        None that is withheld, nor of a class into which nothing is submitted any more.
        """
        if now - self.newest > LONGEST_WAIT:
            return (None,) * len(QUANTILES)
        return tuple(
            None if bound is None or withheld else bound + self.gap
            for bound, withheld in zip(self.computed(now, seen), self.withheld(), strict=True)
        )

    def submitted(self, key: str, at: float, gap: float = 0.0, seen: Mapping[str, float] = _NOTHING) -> bool:
        """Add a head submitted at `at`, with the bounds it is promised; return whether it is followed.

        `key` tells it apart from others that wait. `gap` is the time by which its wait may be wrong, in seconds. Its
        bounds are checked even where they are withheld.
        """
        if len(self.waiting()) >= MOST_WAITING:
            return False
        bounds = [None if bound is None else ceil(bound + gap) for bound in self.computed(at, seen)]
        self.newest, self.gap = max(self.newest, int(at)), ceil(gap)
        self.heads.append(Waiting(key, max(0, int(at)), bounds))
        if len(self.heads) > WINDOW:
            oldest = self.heads.pop(0)
            if isinstance(oldest, Waiting) and any(bound is not None for bound in oldest.bounds):
                self.older.append(oldest)
        return True

    def started(self, key: str, at: float) -> bool:
        """Note that a job started at `at`; return whether it was a head that is followed."""
        return self._end(key, at, started=True)

    def left(self, key: str, at: float) -> bool:
        """Note that a job was seen waiting until `at`, and is not followed from there; return whether it was a head."""
        return self._end(key, at, started=False)

    def look(self, now: float, seen: Mapping[str, float] = _NOTHING) -> bool:
        """Check the bounds that are exceeded at `now` by heads that still wait; return whether anything changed."""
        changed = False
        for number, head in enumerate(self.heads):
            if isinstance(head, Waiting):
                wait = seen.get(head.key, now) - head.since
                changed |= self._exceed(head, wait)
                if wait > LONGEST_WAIT:
                    self.heads[number] = -1 - LONGEST_WAIT
                    changed = True
        for head in self.older:
            changed |= self._exceed(head, seen.get(head.key, now) - head.since)
        self.older = [head for head in self.older if any(bound is not None for bound in head.bounds)]
        return changed

    def waiting(self) -> list[str]:
        """Return the keys of the heads that wait."""
        return [head.key for head in (*self.older, *self.heads) if isinstance(head, Waiting)]

    def _end(self, key: str, at: float, *, started: bool) -> bool:
        for place in (self.heads, self.older):
            for number, head in enumerate(place):
                if isinstance(head, Waiting) and head.key == key:
                    wait = min(max(0.0, at - head.since), LONGEST_WAIT)
                    self._exceed(head, wait)
                    if started:
                        self._hold(head)
                    if place is self.heads:
                        self.heads[number] = ceil(wait) if started else -1 - int(wait)
                    else:
                        del self.older[number]
                    return True
        return False

    def _exceed(self, head: Waiting, wait: float) -> bool:
        """Check the bounds that are shorter than `wait`."""
        changed = False
        for number, bound in enumerate(head.bounds):
            if bound is not None and wait > bound:
                self.scores[number].add(held=False)
                head.bounds[number] = None
                changed = True
        return changed

    def _hold(self, head: Waiting) -> None:
        """Check the bounds that were not exceeded until the start."""
        for number, bound in enumerate(head.bounds):
            if bound is not None:
                self.scores[number].add(held=True)
                head.bounds[number] = None
