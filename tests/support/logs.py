"""Generated logs of a batch system: one queue with fair shares, and users who submit in bursts."""

from collections import Counter
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import takewhile
from random import Random
from typing import NamedTuple

from bench.bounds import Entry

DAY = 86400.0
HOUR = 3600.0


class Asked(NamedTuple):
    """A job as it is submitted: when, by whom, how long it will run, and how long its user waits for it at most."""

    submit: float
    user: str
    run: float
    patience: float


def flat(_: float) -> float:
    return 1.0


def generated(
    seed: int,
    *,
    days: int = 60,
    slots: int = 40,
    users: int = 12,
    sessions_a_day: float = 24.0,
    largest_burst: int = 60,
    load: Callable[[float], float] = flat,
    closed: tuple[float, float] = (0.0, 0.0),
) -> list[Entry]:
    """Return the jobs submitted in `days` days.

    Users come for sessions in which they submit up to `largest_burst` jobs within ten minutes. `load` is by what the
    usual length of a run is multiplied at a time in seconds. Nothing starts between the two times of `closed`.
    """
    random = Random(seed)  # noqa: S311 - no secret
    asked = submissions(random, users, sessions_a_day, largest_burst)
    until = takewhile(lambda job: job.submit < days * DAY, asked)
    return run_all(sorted(job._replace(run=job.run * load(job.submit)) for job in until), slots, closed)


def submissions(random: Random, users: int, sessions_a_day: float, largest_burst: int) -> Iterator[Asked]:
    at = 0.0
    while True:
        at += random.expovariate(sessions_a_day / DAY)
        user, usual = f"user{random.randrange(users)}", HOUR * 4 * random.lognormvariate(0.0, 1.0)
        for _ in range(min(largest_burst, int(random.paretovariate(1.1)))):
            yield Asked(
                at + random.uniform(0, 600), user, usual * random.uniform(0.5, 1.5), random.expovariate(0.2 / DAY)
            )


def run_all(asked: list[Asked], slots: int, closed: tuple[float, float]) -> list[Entry]:
    """Start the jobs: of those that wait, the first of the user with the fewest running jobs."""
    done: list[Entry] = []
    waiting: dict[str, list[Asked]] = {}
    running: Counter[str] = Counter()
    ends: list[tuple[float, str]] = []  # "" for the end of the closed time
    coming = [*reversed(asked)]
    if closed[1]:
        heappush(ends, (closed[1], ""))
    while coming or ends:
        if coming and (not ends or coming[-1].submit <= ends[0][0]):
            job = coming.pop()
            now = job.submit
            waiting.setdefault(job.user, []).append(job)
        else:
            now, user = heappop(ends)
            running[user] -= bool(user)
        while waiting and running.total() < slots and not closed[0] <= now < closed[1]:
            user = min(waiting, key=lambda user: (running[user], waiting[user][0].submit))
            job = waiting[user].pop(0)
            if not waiting[user]:
                del waiting[user]
            started = now - job.submit <= job.patience
            done.append(Entry(job.submit, min(now - job.submit, job.patience), user, "1", started=started))
            if started:
                running[user] += 1
                heappush(ends, (now + job.run, user))
    return done
