"""From the start of the process until every user was asked for once, against a bare loop with as many requests at a time."""

import time

from bench._process import run, server
from bench._report import Row, print_table

USERS, INTERVAL = 10_000, 60
MILLISECONDS = 20
AIM = 3.0


def main() -> None:
    title = f"From start to ready, {USERS:,} users, answers take {MILLISECONDS} ms, 16 requests at a time"
    print_table(title, rows())


def rows() -> list[Row]:
    with server("_slow_region", USERS, MILLISECONDS) as url:
        ours, bare = (seconds(module, url, USERS, INTERVAL) for module in ("_start_ours", "_start_bare"))
    return [Row("until ready", "s", ours, bare, AIM)]


def seconds(module: str, *args: object) -> float:
    """On the clock, from nothing to the end of the process."""
    started = time.perf_counter()
    run(module, *args)
    return time.perf_counter() - started
