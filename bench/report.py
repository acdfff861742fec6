"""Output of results: one line for each figure, with its baseline, their ratio and the target."""

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median, quantiles

_LIBRARIES = ("aiohttp", "msgspec", "prometheus-client")
_COLUMNS = "{:<62} {:>11} {:>11} {:>9} {:>9}  {:<8} {}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `aim` bounds the ratio to the `baseline` from above, or `ours` itself where there is none."""

    what: str
    unit: str
    ours: float
    baseline: float | None = None
    aim: float | None = None
    # Of rounds in which both were measured a moment apart; better than that of two medians.
    ratios: tuple[float, ...] = ()

    @property
    def judged(self) -> float:
        if self.ratios:
            return median(self.ratios)
        return self.ours if self.baseline is None else self.ours / self.baseline

    @property
    def spread(self) -> str:
        """The middle half of the rounds' ratios."""
        if not self.ratios:
            return ""
        low, _, high = quantiles(self.ratios, n=4)
        return f"{low:.2f}..{high:.2f}"

    @property
    def met(self) -> str:
        if self.aim is None:
            return ""
        return "met" if self.judged <= self.aim else "NOT met"


# Of each table its title and its rows.
Tables = Iterator[tuple[str, Iterable[Row]]]


def paired(what: str, unit: str, rounds: Sequence[tuple[float, float]], aim: float) -> Row:
    """Return the row of rounds that each measured ours and the baseline, one right after the other."""
    ours, baseline = zip(*rounds, strict=True)
    ratios = tuple(of_ours / of_baseline for of_ours, of_baseline in rounds)
    return Row(what, unit, median(ours), median(baseline), aim, ratios)


def print_machine() -> None:
    """Print the machine that the figures were measured on: only ratios carry over to other machines."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    print(f"Python {platform.python_version()}, {libraries}; {platform.machine()}, {os.cpu_count()} CPUs")


def print_table(title: str, rows: Iterable[Row]) -> None:
    print()
    print(_COLUMNS.format(title, "ours", "baseline", "ratio", "aim", "", "").rstrip())
    for row in rows:
        baseline = "-" if row.baseline is None else f"{row.baseline:.4g}"
        ratio = "-" if row.baseline is None else shown_ratio(row.judged)
        aim = "-" if row.aim is None else shown_ratio(row.aim) if row.baseline is not None else f"{row.aim:g}"
        figures = (f"{row.ours:.4g}", baseline, ratio, aim, row.met, row.spread)
        print(_COLUMNS.format(f"{row.what} [{row.unit}]", *figures).rstrip(), flush=True)


def shown_ratio(ratio: float) -> str:
    """``1.32`` or, where ours costs a small part of the baseline, ``1/250``."""
    return f"{ratio:.2f}" if ratio > 0.1 else f"1/{1 / ratio:.0f}"
