"""Cost of tracking 100,000 listed jobs, against the least that any tracker must do: compare every job's state.

The event loop's longest pause is measured with a large listing being worked through and written to disk beside it.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.report import Row, Tables
from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Tracker, TrackingService

JOBS = 100_000
ROUNDS = 5
INTERVAL = 60.0
KEY = MemberKey("bench", "533686286955839488", "test")
STATES = (JobState.RUNNING, JobState.QUEUED)


def tables() -> Tables:
    yield f"CPU of a poll round with {JOBS:,} listed jobs", rounds()
    yield "Longest pause of the event loop meanwhile", pauses()


def listing(first: int = 0, turned: int = 0) -> JobListing:
    """Half of the jobs running, half queued; the first `turned` of them the other way round."""
    return JobListing(
        tuple(Job(str(first + i), "name", STATES[(i + (i < turned)) % 2], 1, 2, 2, 0, 2, 0, 0) for i in range(JOBS))
    )


def rounds() -> list[Row]:
    same = listing()
    return [
        compared("nothing changed", same, listing(), aim=10),
        compared("one job in ten changed its state", same, listing(turned=JOBS // 10), aim=20),
        compared("one job in ten is new, one in ten gone", same, listing(first=JOBS // 10), aim=20),
        compared("every job is new", JobListing(()), same, aim=None),
        Row("every job is new, at most", "s", cpu(lambda: polled(JobListing(()), same)), aim=1.0),
    ]


def compared(what: str, before: JobListing, after: JobListing, *, aim: float | None) -> Row:
    ours = median(cpu(lambda: polled(before, after)) for _ in range(ROUNDS))
    least = median(cpu(lambda: states_compared(before, after)) for _ in range(ROUNDS))
    return Row(what, "s", ours, least, aim)


def polled(before: JobListing, after: JobListing) -> Callable[[], None]:
    tracker = Tracker()
    tracker.observe(KEY, before, 0.0, INTERVAL)
    tracker.take_batch()
    return lambda: tracker.observe(KEY, after, INTERVAL, INTERVAL)


def states_compared(before: JobListing, after: JobListing) -> Callable[[], None]:
    known = {job.id: job.state for job in before.jobs}

    def compare() -> None:
        for job in after.jobs:
            if known.get(job.id) is not job.state:
                known[job.id] = job.state

    return compare


def cpu(prepare: Callable[[], Callable[[], None]]) -> float:
    action = prepare()
    begun = time.process_time()
    action()
    return time.process_time() - begun


def pauses() -> list[Row]:
    runs = [asyncio.run(longest_pauses()) for _ in range(ROUNDS)]
    # The median: what else the machine does can only make a pause longer.
    return [
        Row(of_one[0][0], "ms", 1000 * median(pause for _, pause in of_one), aim=20)
        for of_one in zip(*runs, strict=True)
    ]


async def longest_pauses() -> list[tuple[str, float]]:
    polls = [
        ("every job is new", listing()),
        ("nothing changed", listing()),
        ("half of them replaced", listing(first=JOBS // 2)),
        ("all gone from the listing", JobListing(())),
        ("all gone for good", JobListing(())),
    ]
    with tempfile.TemporaryDirectory() as folder:
        service = TrackingService(Path(folder) / "tracker.db", flush_interval=0.0)
        await service.start()
        found = [
            (what, await longest_pause(service, jobs, INTERVAL * number)) for number, (what, jobs) in enumerate(polls)
        ]
        await service.stop()
    return found


async def longest_pause(service: TrackingService, jobs: JobListing, at: float) -> float:
    observing = asyncio.create_task(service.observe(KEY, jobs, at, INTERVAL))
    longest = 0.0
    while not observing.done():
        before = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - before)
    return longest
