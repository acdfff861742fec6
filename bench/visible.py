"""How late a change of the upstream is seen in /metrics: its target's next poll is at most an interval away."""

from bench._process import result_of, server
from bench._report import Row, print_table

USERS = 10_000
INTERVAL = 10
AIM = 1.0


def main() -> None:
    print_table(
        f"Seconds after one interval until a change is seen, {USERS:,} users, {USERS // INTERVAL} polls/s", rows()
    )


def rows() -> list[Row]:
    with server("_clock_region", USERS) as url:
        late = result_of("_visible_ours", url, USERS, INTERVAL)
    return [
        Row("p50", "s", late["p50"]),
        Row("p99", "s", late["p99"], aim=AIM),
        Row("the latest of all", "s", late["worst"]),
    ]
