"""How results are printed: one line a figure, with its baseline, their ratio and what is aimed at."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

_LIBRARIES = ("aiohttp", "msgspec", "prometheus-client")
_COLUMNS = "{:<62} {:>11} {:>11} {:>9} {:>9}  {}"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `aim` bounds the ratio to the `baseline` from above, or `ours` itself where there is none."""

    what: str
    unit: str
    ours: float
    baseline: float | None = None
    aim: float | None = None

    @property
    def judged(self) -> float:
        return self.ours if self.baseline is None else self.ours / self.baseline

    @property
    def met(self) -> str:
        if self.aim is None:
            return ""
        return "met" if self.judged <= self.aim else "NOT met"


def print_machine() -> None:
    """Say what the figures were measured on: only ratios carry over to other machines."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    print(f"Python {platform.python_version()}, {libraries}; {platform.machine()}, {os.cpu_count()} CPUs")


def print_table(title: str, rows: Iterable[Row]) -> None:
    print()
    print(_COLUMNS.format(title, "ours", "baseline", "ratio", "aim", "").rstrip())
    for row in rows:
        baseline = "-" if row.baseline is None else f"{row.baseline:.4g}"
        ratio = "-" if row.baseline is None else shown_ratio(row.judged)
        aim = "-" if row.aim is None else shown_ratio(row.aim) if row.baseline is not None else f"{row.aim:g}"
        print(_COLUMNS.format(f"{row.what} [{row.unit}]", f"{row.ours:.4g}", baseline, ratio, aim, row.met), flush=True)


def shown_ratio(ratio: float) -> str:
    """``1.32`` or, where ours costs a small part of the baseline, ``1/250``."""
    return f"{ratio:.2f}" if ratio > 0.1 else f"1/{1 / ratio:.0f}"
