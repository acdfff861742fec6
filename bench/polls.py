"""What one poll costs, against a loop that sends the same requests with aiohttp, decodes the answers and does no more."""

from bench._plan import MEMBER_JOBS, QUEUE_JOBS
from bench._process import pairs, region
from bench._report import Row, paired, print_table

USERS = 500
ROUNDS = 5
SECONDS = 0.6
# A poll of each every 2 s is 250 polls a second, which leaves processor time to spare; every 0.1 s is more than one
# processor can do, so that all request slots are always taken.
PACED, FLAT_OUT = 2.0, 0.1


def main() -> None:
    print_table("CPU of a poll, whole process", list(rows()))


def rows() -> list[Row]:
    with region(USERS) as unchanged, region(USERS, changing=True) as changing:
        return [
            compared("queue_jobs, nothing changed, 250 polls/s", unchanged, PACED, QUEUE_JOBS, aim=1.3),
            compared("queue_jobs, nothing changed, flat out", unchanged, FLAT_OUT, QUEUE_JOBS, aim=1.3),
            compared("queue_jobs, every value changed, 250 polls/s", changing, PACED, QUEUE_JOBS, aim=1.6),
            compared("queue_jobs, every value changed, flat out", changing, FLAT_OUT, QUEUE_JOBS, aim=1.6),
            compared("member_jobs, nothing changed, 250 polls/s", unchanged, PACED, MEMBER_JOBS, aim=1.3),
        ]


def compared(what: str, url: str, interval: float, endpoint: str, *, aim: float) -> Row:
    args = (url, USERS, interval, endpoint, SECONDS)
    rounds = pairs(ROUNDS, ("_polls_ours", *args), ("_polls_bare", *args))
    return paired(what, "us", [(ours["cpu"], bare["cpu"]) for ours, bare in rounds], aim)
