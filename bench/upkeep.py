"""What a reload, a token file that changes and the status page keep the event loop from, at ten thousand users."""

from bench._process import region, result_of
from bench._report import Row, print_table

USERS, QUEUES = 10_000, 5
INTERVAL = 20
AIM = 20.0


def main() -> None:
    print_table(f"Longest block, processor time without a break, {USERS:,} users, {USERS // INTERVAL} polls/s", rows())


def rows() -> list[Row]:
    with region(USERS, QUEUES) as url:
        blocks = result_of("_upkeep_ours", url, USERS, INTERVAL)
    return [Row(happening, "ms", milliseconds, aim=AIM) for happening, milliseconds in blocks.items()]
