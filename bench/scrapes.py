"""What a scrape costs, over HTTP, against `prometheus_client.generate_latest` over as many series, which sends nothing."""

from bench._process import by_turns
from bench._report import Row, print_table

ROUNDS = {100_000: 3, 500_000: 1}
AIM = 1 / 50


def main() -> None:
    for series, rounds in ROUNDS.items():
        print_table(f"CPU of a scrape of {series:,} series", rows(series, rounds))


def rows(series: int, rounds: int) -> list[Row]:
    ours, bare = by_turns(rounds, ("_scrapes_ours", series), ("_scrapes_bare", series))
    return [Row(case, "ms", cpu, bare["cpu"], AIM) for case, cpu in ours.items()]
