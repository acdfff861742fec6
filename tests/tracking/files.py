"""Helpers of tests for a state file and its tracker."""

import asyncio
from pathlib import Path

from exporter.clock import SystemClock
from exporter.tracking import MemberKey, Store, Tracker, TrackerState, TrackingService
from tests.tracking.lives import INTERVAL, KEY, listing, time_of


class SettableClock(SystemClock):
    """A clock that stands still until it is set, and sleeps a thousandth of the time."""

    def __init__(self) -> None:
        self.unix = time_of(0)
        self.seconds = 0.0

    def now(self) -> float:
        return self.unix

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 1000)


class Observer:
    """Counts what the service tells."""

    def __init__(self) -> None:
        self.failures = 0
        self.restarts: list[str] = []

    def task_started(self, task: str) -> None: ...

    def task_restarted(self, task: str) -> None:
        self.restarts.append(task)

    def state_file_write_failed(self) -> None:
        self.failures += 1


async def started(state_file: Path | None, observer: Observer | None = None) -> TrackingService:
    service = TrackingService(state_file, clock=SettableClock(), observer=observer)
    await service.start()
    return service


async def is_kept(service: TrackingService, state_file: Path, *keys: MemberKey) -> None:
    """Stop a service, and find its counts again after a restart."""
    before = [(service.member(key), service.group(key.source, key.group_id)) for key in keys or (KEY,)]
    await service.stop()
    again = await started(state_file)
    assert [(again.member(key), again.group(key.source, key.group_id)) for key in keys or (KEY,)] == before
    await again.stop()


async def ended_in(state_file: Path) -> int:
    """Return the number of jobs that have completed by a state file."""
    return (await loaded(state_file)).members[KEY].totals.finished["completed"]


def ended(service: TrackingService) -> int:
    """Return the number of jobs that have completed by what a service shows."""
    return service.member(KEY).finished["completed"]


async def polled(service: TrackingService, polls: range, key: MemberKey = KEY) -> None:
    for poll in polls:
        await service.observe(key, listing(poll), time_of(poll), INTERVAL)


async def written(service: TrackingService) -> None:
    """Wait until everything is on disk again."""
    while service._told:  # noqa: ASYNC110 - it has no event to wait for, and needs none
        await asyncio.sleep(0.01)


async def loaded(path: Path) -> TrackerState:
    store, state = await Store.open(path)
    await store.close()
    return state


async def saved(path: Path, tracker: Tracker) -> None:
    store, _ = await Store.open(path)
    await store.save(tracker.take_batch())
    await store.close()


async def pragma(store: Store, text: str) -> int:
    """Run a pragma in the store's turn; return the first number of its answer, 0 if there is none."""

    def call() -> int:
        answer = store._open_file().execute(f"PRAGMA {text}").fetchone()
        store._seen = store._look()
        return int(answer[0]) if answer else 0

    return await store._call(call, timeout=60)


async def fill(service: TrackingService) -> None:
    """Let the disk be full, as far as SQLite can tell."""
    assert service._store is not None
    pages = await pragma(service._store, "page_count")
    await pragma(service._store, f"max_page_count = {pages}")


async def make_room(service: TrackingService) -> None:
    assert service._store is not None
    await pragma(service._store, "max_page_count = 1000000")
