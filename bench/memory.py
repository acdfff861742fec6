"""How much memory the exporter takes, and what of it a target and a series are to blame for."""

from bench._process import region, result_of
from bench._report import Row, print_table

# Users, queues of each (5 states a queue, and 3 series about each user), and seconds between two polls.
SMALL, MANY_SERIES, LARGE = (1_000, 10, 3), (1_000, 50, 3), (10_000, 10, 12)
MIB = 1024 * 1024
AIM = 250.0


def main() -> None:
    print_table("Resident memory", rows())


def rows() -> list[Row]:
    small, many_series, large = (measured(*size) for size in (SMALL, MANY_SERIES, LARGE))
    a_series = (many_series["polled"] - small["polled"]) * MIB / (series(*MANY_SERIES) - series(*SMALL))
    targets = LARGE[0] - SMALL[0]
    a_target = ((large["polled"] - small["polled"]) * MIB - a_series * (series(*LARGE) - series(*SMALL))) / targets
    what = f"{LARGE[0]:,} users, {series(*LARGE):,} series"
    return [
        Row(f"{what}: polled", "MiB", large["polled"]),
        Row(f"{what}: scraped with gzip", "MiB", large["scraped"], aim=AIM),
        Row(f"{what}: highest, scraped without", "MiB", large["highest"]),
        Row("a target without its series", "bytes", a_target),
        Row("a series", "bytes", a_series),
    ]


def measured(users: int, queues: int, interval: float) -> dict[str, float]:
    with region(users, queues) as url:
        return result_of("_memory_ours", url, users, interval)


def series(users: int, queues: int, _interval: float) -> int:
    return users * (queues * 5 + 3)
