"""How long anything keeps the event loop from turning to the next: a poll that is due, a scrape, a health check."""

from bench._process import region, result_of
from bench._report import Row, print_table

USERS = 10_000
INTERVAL = 15
SECONDS = 8
AIM = 20.0


def main() -> None:
    print_table(f"Longest block of the event loop, {USERS:,} users", rows())


def rows() -> list[Row]:
    idle = result_of("_loop_bare", SECONDS)
    rows = []
    for queues, series in ((5, "280,000"), (10, "530,000")):
        with region(USERS, queues, changing=True) as url:
            ours = result_of("_loop_ours", url, USERS, INTERVAL, SECONDS)
        what = f"{series} series, {USERS // INTERVAL} polls/s, a scrape a second"
        rows += [Row(f"{what}: CPU", "ms", ours["cpu"], aim=AIM), Row(f"{what}: clock", "ms", ours["wall"], aim=AIM)]
    return [*rows, Row("an idle event loop at the same time: clock", "ms", idle["wall"])]
