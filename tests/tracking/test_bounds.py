"""Wait bounds: exact for independent waits, safe for jobs that still wait, and judged by what became of them."""

from fractions import Fraction
from math import comb, sqrt
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.tracking.bounds import (
    LONGEST_WAIT,
    MOST_WAITING,
    QUANTILES,
    RECENT,
    WINDOW,
    WaitClass,
    fewest_held,
    rank,
    upper_bounds,
)

SAMPLES = 2000
NOW = 1_800_000_000.0
# Whole numbers of seconds, so that waits are often equal.
WAITS = st.lists(st.integers(0, 60), max_size=90)
FEW = st.lists(st.integers(0, 60), max_size=12)
# Low ones too, which few waits are enough for.
LEVELS = st.sampled_from([(0.5, 0.9, 0.95), (0.1, 0.3, 0.5)])


# --- A slow reference, by other means: exact fractions, and weights that censored waits hand on -------------------------


def slow_rank(n: int, quantile: float) -> int | None:
    q = Fraction(str(quantile))
    below = Fraction(0)
    for k in range(1, n + 1):
        below += comb(n, k - 1) * q ** (k - 1) * (1 - q) ** (n - k + 1)
        if below >= Fraction("0.95"):
            return k
    return None


def slow_bound(started: list[int], censored: list[int], quantile: float) -> float | None:
    """Every wait weighs the same; a censored one hands its weight to all that are longer, in equal parts (Efron)."""
    k = slow_rank(len(started), quantile)
    if k is None:
        return None
    waits = sorted([(wait, 0) for wait in started] + [(wait, 1) for wait in censored])
    weights = [Fraction(1, len(waits))] * len(waits)
    total = Fraction(0)
    for number, (wait, lost) in enumerate(waits):
        longer = len(waits) - number - 1
        if lost:
            for other in range(number + 1, len(waits)):
                weights[other] += weights[number] / longer
            continue
        total += weights[number]
        if total >= Fraction(k, len(started)):
            return wait
    return None


@pytest.mark.parametrize("quantile", QUANTILES)
def test_ranks_are_those_of_the_binomial_distribution(quantile: float) -> None:
    assert [rank(n, quantile) for n in range(WINDOW + 1)] == [slow_rank(n, quantile) for n in range(WINDOW + 1)]


def test_needs_so_many_waits() -> None:
    assert [upper_bounds([1] * n, []) for n in (4, 5, 28, 29, 58, 59)] == [
        (None, None, None),
        (1, None, None),
        (1, None, None),
        (1, 1, None),
        (1, 1, None),
        (1, 1, 1),
    ]


@given(WAITS, FEW, LEVELS)
def test_agrees_with_the_reference(started: list[int], censored: list[int], levels: tuple[float, ...]) -> None:
    assert upper_bounds(started, censored, levels) == tuple(slow_bound(started, censored, level) for level in levels)


# --- Never shorter for longer waits -------------------------------------------------------------------------------------


@given(WAITS, st.integers(0, 89), st.integers(1, 60), LEVELS)
def test_a_longer_wait_never_shrinks_it(waits: list[int], which: int, more: int, levels: tuple[float, ...]) -> None:
    longer = [wait + more * (number == which) for number, wait in enumerate(waits)]
    assert not_shorter(upper_bounds(waits, [], levels), upper_bounds(longer, [], levels))


@given(WAITS, FEW, st.integers(0, 11), st.integers(1, 60), LEVELS)
def test_waiting_longer_never_shrinks_it(
    started: list[int], waiting: list[int], which: int, more: int, levels: tuple[float, ...]
) -> None:
    longer = [wait + more * (number == which) for number, wait in enumerate(waiting)]
    assert not_shorter(upper_bounds(started, waiting, levels), upper_bounds(started, longer, levels))


@given(WAITS, FEW, st.integers(0, 89), LEVELS)
def test_a_longer_wait_among_censored_ones_never_shrinks_it(
    started: list[int], censored: list[int], which: int, levels: tuple[float, ...]
) -> None:
    """As far as no other wait is lost from sight meanwhile, which then would count on it."""
    longer = [
        min((lost for lost in censored if lost >= wait), default=wait + 7) if number == which else wait
        for number, wait in enumerate(started)
    ]
    assert not_shorter(upper_bounds(started, censored, levels), upper_bounds(longer, censored, levels))


def not_shorter(before: tuple[float | None, ...], after: tuple[float | None, ...]) -> bool:
    never = float("inf")
    return all(
        (never if new is None else new) >= (never if old is None else old)
        for old, new in zip(before, after, strict=True)
    )


# --- As often right as it says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("n", [59, 256])
def test_is_exact_for_independent_waits(n: int, quantile: float) -> None:
    """The share of samples with a bound above the true quantile is that of the binomial distribution, at least 0.95."""
    random = Random(n)  # noqa: S311 - no secret
    k = rank(n, quantile) or 0
    exact = sum(comb(n, j) * quantile**j * (1 - quantile) ** (n - j) for j in range(k))
    right = 0
    for _ in range(SAMPLES):
        # By how much of all waits each is longer: whatever the distribution is, its quantile is at that.
        (bound,) = upper_bounds([random.random() for _ in range(n)], [], (quantile,))
        right += bound is not None and bound >= quantile
    assert exact >= 0.95
    assert right / SAMPLES == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / SAMPLES))


@pytest.mark.parametrize("quantile", QUANTILES)
def test_is_right_where_many_still_wait(quantile: float) -> None:
    """Half of the heads are lost from sight at some time. Then it is absent sometimes, and no more often wrong."""
    random = Random(3)  # noqa: S311 - no secret
    given_ = right = 0
    for _ in range(SAMPLES):
        heads = [(random.random(), random.random() * 2) for _ in range(WINDOW)]
        started = [wait for wait, seen in heads if wait <= seen]
        (bound,) = upper_bounds(started, [seen for wait, seen in heads if wait > seen], (quantile,))
        if bound is not None:
            given_ += 1
            right += bound >= quantile
    assert given_ > SAMPLES / 2
    assert right / given_ >= 0.95 - 4 * sqrt(0.95 * 0.05 / given_)


# --- A class of jobs: its heads, and the score --------------------------------------------------------------------------


def class_of(*waits: int, every: int = 100_000) -> WaitClass:
    """Return a class whose heads waited so long, one after the other, before NOW."""
    waits_of = WaitClass()
    for number, wait in enumerate(waits, -len(waits)):
        at = NOW + every * number
        waits_of.submitted(f"past{number}", at)
        waits_of.look(at + wait)
        waits_of.started(f"past{number}", at + wait)
    return waits_of


def test_bounds_of_a_class() -> None:
    waits = class_of(*reversed(range(100)))
    assert waits.bounds(NOW) == tuple(range(100)[(rank(100, quantile) or 0) - 1] for quantile in QUANTILES)
    assert waits.bounds(NOW + LONGEST_WAIT) == (None, None, None)
    assert WaitClass().bounds(NOW) == (None, None, None)


def test_heads_that_wait_or_left_count_as_longer_than_seen() -> None:
    waits = class_of(*[10] * 59)
    waits.submitted("now", NOW)
    assert waits.computed(NOW) == (10, 10, 10)
    assert waits.computed(NOW + 10) == (10, 10, None)
    waits.left("now", NOW + 11)
    assert waits.computed(NOW + 10**9) == (10, 10, None)


def test_only_the_newest_count() -> None:
    assert class_of(1000, *range(WINDOW)).heads == [*range(WINDOW)]


def test_a_bound_is_checked_at_the_start_or_as_soon_as_it_is_exceeded() -> None:
    waits = class_of(*[10] * 59)
    before = scores(waits)
    for key in ("starts", "waits on", "leaves", "leaves late"):
        waits.submitted(key, NOW)
    assert not waits.look(NOW + 10)
    waits.left("leaves", NOW + 10)
    waits.started("starts", NOW + 10)
    assert added(waits, before) == [(1, 1)] * 3
    assert waits.look(NOW + 11)
    assert not waits.look(NOW + 12)
    waits.left("leaves late", NOW + 13)
    waits.started("waits on", NOW + 14)
    assert added(waits, before) == [(3, 1)] * 3


def test_a_head_without_a_bound_is_not_checked() -> None:
    assert scores(class_of(1, 2, 3, 4)) == [(0, 0)] * 3


def test_gap_of_polls_is_part_of_what_is_promised() -> None:
    waits = class_of(*[10] * 59)
    before = scores(waits)
    waits.submitted("late", NOW, gap=60.0)
    waits.started("late", NOW + 70)
    assert added(waits, before) == [(1, 1)] * 3


def test_a_bound_that_fails_is_withheld_until_it_holds_again() -> None:
    waits = class_of(*[10] * 100)
    for number in range(RECENT):
        waits.submitted(str(number), NOW)
        waits.scores[2].add(held=number >= 11)
    assert waits.withheld() == (False, False, True)
    assert waits.bounds(NOW) == (10, 10, None)
    waits.scores[2].add(held=True)
    assert waits.bounds(NOW) == (10, 10, 10)


@pytest.mark.parametrize(("quantile", "fewest"), [(0.5, 40), (0.9, 83), (0.95, 90)])
def test_chance_is_no_reason_to_withhold(quantile: float, fewest: int) -> None:
    at_most = sum(comb(RECENT, j) * quantile**j * (1 - quantile) ** (RECENT - j) for j in range(fewest))
    assert at_most < 0.02
    assert fewest_held(RECENT, quantile) == fewest
    assert [fewest_held(checked, quantile) for checked in (0, 1)] == [0, 0]


def scores(waits: WaitClass) -> list[tuple[int, int]]:
    return [(score.checked, score.held) for score in waits.scores]


def added(waits: WaitClass, before: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [
        (checked - old_checked, held - old_held)
        for (checked, held), (old_checked, old_held) in zip(scores(waits), before, strict=True)
    ]


# --- Whatever happens ---------------------------------------------------------------------------------------------------


def test_old_heads_that_wait_are_checked_outside_the_window() -> None:
    waits = class_of(*[10**6] * 59, every=1)
    waits.submitted("old", NOW)
    before = scores(waits)
    for number in range(WINDOW):
        waits.submitted(f"new{number}", NOW)
        waits.left(f"new{number}", NOW)
    assert [head.key for head in waits.older] == ["old"]
    waits.started("old", NOW + 10**5)
    assert added(waits, before) == [(1, 1)] * 3
    assert not waits.older


def test_is_never_larger_than_8_kib() -> None:
    """At its largest: a window of long waits, and as many heads as there may be that wait and left the window."""
    waits = class_of(*[LONGEST_WAIT - 1] * 100)
    for number in range(MOST_WAITING):
        assert waits.submitted(f"{number:016}", NOW, gap=10_000)
    assert not waits.submitted("one more", NOW)
    waits.older = [head for head in waits.heads if not isinstance(head, int)]
    waits.heads = [-LONGEST_WAIT] * WINDOW
    for score in waits.scores:
        score.checked, score.held, score.recent = 10**12, 10**12, "1" * RECENT
    assert len(msgspec.msgpack.encode(waits)) < 8 * 1024


def test_goes_on_after_heads_that_never_start() -> None:
    waits = WaitClass()
    for number in range(MOST_WAITING):
        waits.submitted(str(number), NOW)
    assert not waits.submitted("no room", NOW + LONGEST_WAIT)
    waits.look(NOW + LONGEST_WAIT + 1)
    assert waits.submitted("room", NOW + LONGEST_WAIT + 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["submitted", "started", "left", "look"]),
            st.integers(0, 9),
            st.floats(-1e9, 4e9),
        ),
        max_size=40,
    )
)
def test_any_order_of_events_and_any_clock_leaves_it_fit_for_the_file(events: list[tuple[str, int, float]]) -> None:
    waits = class_of(*range(20))
    for what, number, at in events:
        if what == "look":
            waits.look(at)
        else:
            getattr(waits, what)(str(number), at)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(waits), type=WaitClass) == waits
    assert all(bound is None or bound >= 0 for bound in waits.bounds(events[-1][2] if events else NOW))
