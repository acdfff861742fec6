"""``python -m tools.schedule``.

The schedule of a hundred thousand users, in virtual time, on one instance and on several.

The scheduler and the shards are the exporter's; a poll holds a request slot for as long as an answer takes, and does
nothing else. The figures are the requests a second that the API gets, on average and at most, and the resources that
this takes.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from bench import upstream
from bench.contenders import Contender, server, standby
from bench.polls import ours
from bench.report import Row, print_machine, print_table
from bench.upstream import QUEUE_JOBS, SOURCE
from exporter.errors import PollError
from exporter.polling import Scheduler, Shard, SourceStatus, Target, TargetKey, TargetStatus
from tools import virtualtime

USERS = 100_000
INTERVAL, ANSWER = 60.0, 0.02  # seconds
# The first polls, the way from them to each target's own phase, and one interval of that.
STEADY_FROM, STEADY_TO = 3 * INTERVAL, 4 * INTERVAL
# Memory of a user with five queues (docs/performance.md): itself, and 28 series of 145 bytes.
PROCESS_MIB, USER_KIB = 60, 6 + 28 * 145 / 1024


@dataclass(frozen=True)
class Scenario:
    """A number of instances; each has at most `slots` requests under way (`max_concurrency`)."""

    shards: int
    slots: int


SCENARIOS = (Scenario(1, 16), Scenario(1, 64), Scenario(4, 16))


class NoObserver:
    """A listener that is told, and does nothing."""

    def polled(self, key: TargetKey, seconds: float, error: PollError | None) -> None: ...
    def health_changed(self, status: TargetStatus, *, flipped: bool) -> None: ...
    def source_changed(self, source: str, status: SourceStatus) -> None: ...
    def expired(self, key: TargetKey) -> None: ...
    def removed(self, key: TargetKey) -> None: ...


@dataclass(frozen=True)
class Polled:
    """Activity of one instance: requests by second since its start, and how many seconds until it was ready."""

    requests: Counter[int]
    ready: float


def main() -> None:
    print_machine()
    print_table(f"{USERS:,} users every {INTERVAL:.0f} s, answers take {ANSWER * 1000:.0f} ms", rows())


def rows() -> Iterable[Row]:
    cpu = processor_time() / 1e6
    for scenario in SCENARIOS:
        polled = [of_shard(Shard(ordinal, scenario.shards), scenario.slots) for ordinal in range(scenario.shards)]
        total = sum((each.requests for each in polled), Counter[int]())
        steady = [total[second] for second in range(int(STEADY_FROM), int(STEADY_TO))]
        name = f"{scenario.shards} x {scenario.slots} slots"
        users = USERS / scenario.shards
        yield Row(f"{name}: until every user was polled once", "s", max(each.ready for each in polled))
        yield Row(f"{name}: requests in a second, at the most", "", max(total.values()))
        yield Row(f"{name}: the same after {STEADY_FROM:.0f} s", "", max(steady))
        yield Row(f"{name}: requests per second after {STEADY_FROM:.0f} s, mean", "", fmean(steady))
        yield Row(f"{name}: processors of one instance", "", fmean(steady) * cpu / scenario.shards)
        yield Row(f"{name}: memory of one instance", "MiB", PROCESS_MIB + users * USER_KIB / 1024)


def processor_time() -> float:
    """Of one poll in three whose answer changed, with processor time to spare, in microseconds."""
    unchanged, changed = cpu_of_poll(upstream.unchanging), cpu_of_poll(upstream.changing)
    return (2 * unchanged + changed) / 3


def cpu_of_poll(region: Contender) -> float:
    with server(region, 500) as url, standby(ours, url, 500, 2.0, QUEUE_JOBS, 1.0) as contender:
        return contender.measure()["cpu"]


def of_shard(shard: Shard, slots: int) -> Polled:
    return virtualtime.run(poll(shard, slots))


async def poll(shard: Shard, slots: int) -> Polled:
    """Activity of `shard` in its first minutes."""
    clock, requests, free = virtualtime.VirtualClock(0.0), Counter[int](), asyncio.Semaphore(slots)

    async def ask() -> None:
        async with free:
            requests[int(clock.monotonic())] += 1
            await asyncio.sleep(ANSWER)

    async def show(_: None) -> None: ...

    keys = (TargetKey(SOURCE, QUEUE_JOBS, f"user{index:06d}") for index in range(USERS))
    scheduler = Scheduler(clock, NoObserver())
    scheduler.update([Target(key, INTERVAL, 3 * INTERVAL, ask, show) for key in keys if shard.owns(key)])
    await scheduler.wait_ready()
    ready = clock.monotonic()
    await asyncio.sleep(max(0.0, STEADY_TO - ready))
    await scheduler.stop()
    return Polled(requests, ready)


if __name__ == "__main__":
    main()
