"""A thousand scrapes, forty at a time, while ten thousand users are polled: how long they take, against a single one."""

from bench._process import region, result_of
from bench._report import Row, print_table

USERS, QUEUES, INTERVAL = 10_000, 10, 20
AIM = 10.0


def main() -> None:
    series = USERS * (QUEUES * 5 + 3)
    print_table(f"1,000 scrapes, 40 at a time, gzip, {series:,} series, {USERS // INTERVAL} polls/s", rows())


def rows() -> list[Row]:
    with region(USERS, QUEUES, changing=True) as url:
        found = result_of("_crowd_ours", url, USERS, INTERVAL)
    return [
        Row("p50; baseline: a single one", "s", found["p50"], found["single"]),
        Row("p99; baseline: a single one", "s", found["p99"], found["single"], AIM),
        Row("how many failed", "", found["failed"], aim=0),
    ]
