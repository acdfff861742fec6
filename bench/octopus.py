"""What reading a long Octopus queue costs, against a loop that decodes the same pages with msgspec and does no more."""

from bench._process import by_turns, result_of, server
from bench._report import Row, print_table

ENTRIES = 50_000
ROUNDS = 3
READINGS = 5
MANY_READINGS = 40
CHURN = 500


def main() -> None:
    print_table(f"An Octopus queue of {ENTRIES:,} entries, 250 pages", list(rows()))


def rows() -> list[Row]:
    with server("_octopus_server", ENTRIES, 0) as resting, server("_octopus_server", ENTRIES, CHURN) as moving:
        ours, bare = by_turns(ROUNDS, ("_octopus_ours", resting, READINGS), ("_octopus_bare", resting, READINGS))
        moved, bare_moved = by_turns(ROUNDS, ("_octopus_ours", moving, READINGS), ("_octopus_bare", moving, READINGS))
        long = result_of("_octopus_ours", moving, MANY_READINGS)
    return [
        Row("CPU of a poll, nothing changed", "ms", ours["cpu"], bare["cpu"], 2.0),
        Row(f"CPU of a poll, {CHURN} entries left and {CHURN} came", "ms", moved["cpu"], bare_moved["cpu"], 2.0),
        Row("time of a poll, nothing changed", "ms", ours["wall"], bare["wall"], 2.0),
        Row("longest block of the event loop", "ms", max(ours["block"], moved["block"]), aim=20.0),
        Row("memory of the process", "MiB", long["memory"]),
        Row(f"memory grown from poll {MANY_READINGS // 2} to poll {MANY_READINGS}", "blocks", long["grown"], aim=1000),
    ]
