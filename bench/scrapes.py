"""What a scrape costs, over HTTP, against `prometheus_client.generate_latest` over as many series, which sends nothing."""

from bench._process import by_turns
from bench._report import Row, print_table

ROUNDS = {100_000: 3, 500_000: 1}
# Of so many series, by what changed since the last scrape: nothing or anything.
AIMED_AT, UNCHANGED, CHANGED = 500_000, 1 / 1000, 1 / 60


def main() -> None:
    for series, rounds in ROUNDS.items():
        print_table(f"CPU of a scrape of {series:,} series", rows(series, rounds))


def rows(series: int, rounds: int) -> list[Row]:
    ours, bare = by_turns(rounds, ("_scrapes_ours", series), ("_scrapes_bare", series))
    return [Row(case, "ms", cpu, bare["cpu"], aim_of(case, series)) for case, cpu in ours.items()]


def aim_of(case: str, series: int) -> float | None:
    if series != AIMED_AT or not case.startswith("gzip"):
        return None
    return UNCHANGED if case == "gzip, nothing changed" else CHANGED
