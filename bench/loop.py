"""How long anything keeps the event loop from turning to the next: a poll that is due, a scrape, a health check."""

from bench._process import region, result_of
from bench._report import Row, print_table

USERS, QUEUES = 10_000, 10
INTERVAL = 20
SECONDS = 5
AIM = 20.0


def main() -> None:
    series = USERS * (QUEUES * 5 + 3)
    print_table(f"Longest block, {USERS:,} users, {series:,} series, {USERS // INTERVAL} polls/s, 1 scrape/s", rows())


def rows() -> list[Row]:
    idle = result_of("_loop_bare", SECONDS)
    with region(USERS, QUEUES, changing=True) as url:
        ours = result_of("_loop_ours", url, USERS, INTERVAL, SECONDS)
    return [
        Row("processor time without a break", "ms", ours["cpu"], aim=AIM),
        # With waits for the interpreter's lock and, as the idle loop shows, for other processes: not ours to promise.
        Row("on the clock; baseline: an idle event loop", "ms", ours["wall"], idle["wall"]),
    ]
