"""The tracker with its file in a running process: restarts, kills, full and hanging disks, large listings."""

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.tracking import MemberKey, Store, Tracker, rows
from exporter.tracking import service as service_module
from exporter.tracking.model import REMEMBERED_SECONDS
from exporter.tracking.service import steady_unix_time
from exporter.tracking.tracker import Batch, Step
from tests.support.face import eventually
from tests.tracking.files import (
    Observer,
    SettableClock,
    ended,
    ended_in,
    fill,
    is_kept,
    loaded,
    make_room,
    polled,
    started,
    written,
)
from tests.tracking.lives import ALONE, INTERVAL, KEY, alone, ended_by, heads_by, time_of

ROOT = Path(__file__).parents[2]


async def test_restarts_in_the_middle_change_nothing(state_file: Path) -> None:
    """Stopped and started again after every single poll, it counts what one process counts."""
    memory = await started(None)
    await polled(memory, range(1, 25))
    for poll in range(1, 25):
        service = await started(state_file)
        await polled(service, range(poll, poll + 1))
        await service.stop()
    service = await started(state_file)
    assert service.member(KEY) == memory.member(KEY)
    assert service.group(KEY.source, KEY.group_id) == memory.group(KEY.source, KEY.group_id)
    assert service.tracker.tracked_jobs(KEY.source) == memory.tracker.tracked_jobs(KEY.source) > 0
    assert service.tracker.tracked_jobs("never there") == 0
    await service.stop()
    await memory.stop()


async def test_members_and_regions_are_not_mixed_up(state_file: Path) -> None:
    """Two regions, groups or users with the same job ids have nothing to do with one another."""
    others = [KEY._replace(source="xian"), KEY._replace(group_id="7"), KEY._replace(user="bob")]
    service = await started(state_file)
    await polled(service, range(1, 20))
    alone = service.member(KEY)
    for key in others:
        await polled(service, range(5, 9), key)
    await service.stop()
    service = await started(state_file)
    assert service.member(KEY) == alone
    assert {service.member(key).finished["completed"] for key in others} == {ended_by(8)}
    assert (
        service.group("xian", KEY.group_id).queues[""].runs.count
        == service.group(KEY.source, "7").queues[""].runs.count
    )
    assert (
        service.group(KEY.source, KEY.group_id).queues[""].runs.count
        > service.group("xian", KEY.group_id).queues[""].runs.count
    )
    await service.stop()


def run_until_killed(state_file: Path, first: int, shown: int, delay: float) -> list[list[str]]:
    """Start the polling process, kill it a moment after it has shown `polls` polls, return its output."""
    command = [sys.executable, "-m", "tests.tracking.polls_until_killed", str(state_file), str(first), "1000000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own script
    assert process.stdout is not None
    said: list[str] = []
    while sum(line.startswith("shown") for line in said) < shown:
        said.append(process.stdout.readline())
        assert said[-1], "it ended by itself"
    time.sleep(delay)
    process.kill()
    said += process.stdout.read().splitlines()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    return [line.split() for line in said]


async def test_a_process_killed_at_any_moment_loses_and_doubles_nothing(state_file: Path) -> None:
    """Half a dozen times kill -9: every job that ended is counted once, no counter that was shown steps back."""
    rng = random.Random()  # noqa: S311 - any moment will do, and each run tries others
    poll, shown, cpu_seconds, heads = 1, 0, 0.0, 0
    for _ in range(6):
        # Each process writes two polls at least: of the one in which a job starts and the one in which the next is submitted, it
        # may lose one, or else the first seems to wait still, and the second to be of its burst.
        said = run_until_killed(state_file, poll, rng.randint(2, 10), rng.uniform(0.0, 0.02))
        for word, number, *values in said:
            poll = max(poll, int(number) + 1)
            if word == "shown":
                assert int(values[0]) >= shown
                assert float(values[1]) >= cpu_seconds
                assert int(values[2]) >= heads
                shown, cpu_seconds, heads = int(values[0]), float(values[1]), int(values[2])
    service = await started(state_file)
    assert ended(service) >= shown
    assert service.member(KEY).cpu_seconds >= cpu_seconds  # type: ignore[operator]  # None would be a failure too
    await polled(service, range(poll, poll + 5))
    for each in range(poll, poll + 5):
        await service.observe(ALONE, alone(each), time_of(each), INTERVAL)
    (waits,) = service.waits(ALONE.source)
    assert waits.heads == heads_by(poll + 4)
    view = service.member(KEY)
    assert view.finished["completed"] == ended_by(poll + 4)
    assert sum(view.finished.values()) == ended_by(poll + 4)
    assert view.unaccounted_seconds == 0
    await service.stop()


def crowd(first: int, count: int = 500) -> JobListing:
    return JobListing(tuple(Job(str(number), "", JobState.RUNNING) for number in range(first, first + count)))


async def test_a_full_disk_stops_nothing_and_is_told_on_the_edge(state_file: Path) -> None:
    observer = Observer()
    service = await started(state_file, observer)
    await polled(service, range(1, 5))
    await fill(service)
    with capture_logs() as logs:
        for poll in range(5, 30):
            await service.observe(KEY, crowd(1000 * poll), time_of(poll), INTERVAL)
            await asyncio.sleep(0.02)  # for a write to be tried, and fail
        assert service.member(KEY).transitions["none", "running"] == 25 * 500
        assert observer.failures
        await make_room(service)
        await polled(service, range(30, 31))
        await written(service)
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert "tracker.db: cannot be written" in logs[0]["error"]
    await polled(service, range(31, 33))
    await is_kept(service, state_file)


@pytest.fixture
def hanging_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Every write blocks its thread until the event is set."""
    monkeypatch.setattr(service_module, "_HANG_TIMEOUT", 0.05)
    answers = threading.Event()
    write = rows.write_batch

    def write_batch(*args: Any, **options: Any) -> dict[MemberKey, str]:
        answers.wait()
        return write(*args, **options)

    monkeypatch.setattr(rows, "write_batch", write_batch)
    yield answers
    answers.set()


async def test_a_disk_that_hangs_does_not_hold_up_what_is_shown(
    state_file: Path, hanging_disk: threading.Event
) -> None:
    observer = Observer()
    service = await started(state_file, observer)
    with capture_logs() as logs:
        await polled(service, range(1, 8))
        assert ended(service) == ended_by(7)
        while observer.failures < 3:  # noqa: ASYNC110 - nor has this
            await asyncio.sleep(0.01)
        assert not service.tracker._batch.members  # nor does what is to be written pile up meanwhile
        hanging_disk.set()
        await written(service)
    assert [line["log_level"] for line in logs] == ["error", "info"]
    assert "hangs" in logs[0]["error"]
    await service.stop()
    assert await ended_in(state_file) == ended_by(7)


async def test_a_disk_that_hangs_for_ever_does_not_hold_up_the_end(
    state_file: Path, hanging_disk: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "_STOP_TIMEOUT", 0.2)
    service = await started(state_file)
    store = service._store
    assert store is not None
    await polled(service, range(1, 2))
    with capture_logs() as logs:
        await asyncio.wait_for(service.stop(), 100)
    assert not hanging_disk.is_set()
    assert "could not be written" in logs[-1]["event"]
    assert "may hang" in logs[-1]["error"]
    await asyncio.wait_for(polled(service, range(2, 3)), 100)  # nor does anything wait for it afterwards
    hanging_disk.set()
    await eventually(lambda: store._connection is None)  # a reload may name the file again
    assert await ended_in(state_file) == ended_by(1)


async def test_nothing_is_shown_before_it_is_on_disk(state_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A counter that Prometheus saw must not step back when the process is killed."""
    service = await started(state_file)
    await polled(service, range(1, 6))
    write = Store.save
    seen: list[tuple[int, int]] = []

    def shown() -> tuple[int, int]:
        return ended(service), service.group(KEY.source, KEY.group_id).queues[""].runs.count

    before = shown()

    async def save(store: Store, batch: Batch) -> dict[MemberKey, str]:
        seen.append(shown())
        return await write(store, batch)

    monkeypatch.setattr(Store, "save", save)
    await polled(service, range(6, 7))
    assert seen == [before] == [(ended_by(5), ended_by(5))]
    assert shown() == (ended_by(6), ended_by(6))
    await service.stop()


async def test_many_polls_share_a_write(state_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    write = Store.save

    async def save(store: Store, batch: Batch) -> dict[MemberKey, str]:
        batches.append(len(batch.members))
        return await write(store, batch)

    monkeypatch.setattr(Store, "save", save)
    service = await started(state_file)
    keys = [KEY._replace(user=f"user{number}") for number in range(200)]
    await asyncio.gather(*(polled(service, range(3, 4), key) for key in keys))
    await service.stop()
    assert sum(batches) == 200
    assert len(batches) < 20


async def test_a_caller_that_is_cancelled_leaves_nothing_half_counted(state_file: Path) -> None:
    service = await started(state_file)
    await service.observe(KEY, JobListing(()), time_of(0), INTERVAL)
    observing = asyncio.create_task(service.observe(KEY, crowd(1, 5000), time_of(1), INTERVAL))
    await asyncio.sleep(0)
    observing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await observing
    await service.observe(KEY, crowd(1, 5000), time_of(2), INTERVAL)
    assert service.member(KEY).transitions == {("none", "running"): 5000}
    assert service.group(KEY.source, KEY.group_id).queues[""].waits.count == 5000
    await service.stop()


async def test_a_large_listing_does_not_block_the_event_loop(state_file: Path) -> None:
    """100,000 jobs, the most expensive polls: all new, all gone. None of the work that grows with them is the loop's.

    In processor time of the loop's own thread, which other processes on the machine do not lengthen.
    """
    service = await started(state_file)
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    for poll, jobs in enumerate([crowd(0, 100_000), crowd(50_000, 100_000), JobListing(()), JobListing(())]):
        await service.observe(KEY, jobs, time_of(poll), INTERVAL)
    watching.cancel()
    await service.stop()
    # About 10 ms (see bench/tracking.py for pauses in real time); to work through one of the listings takes 400 ms.
    assert longest < 0.2


async def test_listings_handed_in_just_before_the_end_are_written(state_file: Path) -> None:
    service = await started(state_file)
    observing = asyncio.create_task(polled(service, range(1, 2)))
    await service.stop()
    await observing
    service = await started(state_file)
    assert service.tracker.tracked_jobs(KEY.source) == 1
    await service.stop()


async def test_a_listing_that_comes_after_the_end_does_not_wait_for_ever(state_file: Path) -> None:
    service = await started(state_file)
    await service.stop()
    await asyncio.wait_for(polled(service, range(1, 2)), 100)


async def test_members_no_longer_configured_are_kept_for_a_week(state_file: Path) -> None:
    service = await started(state_file)
    bob = KEY._replace(user="bob")
    group = (KEY.source, KEY.group_id)
    await polled(service, range(1, 12))
    await polled(service, range(1, 12), bob)
    counted, of_group = service.member(KEY), service.group(*group)
    service.forget_members([bob])
    clock = service._clock
    assert isinstance(clock, SettableClock)
    clock.seconds = time_of(11) - time_of(0) + REMEMBERED_SECONDS
    service.forget_members([bob])
    assert service.member(KEY) == counted
    clock.seconds += 1
    service.forget_members([bob])
    assert sum(service.member(KEY).finished.values()) == 0
    assert service.member(bob) == counted
    assert service.group(*group) == of_group  # a histogram does not step back because a member left
    await service.stop()
    service = await started(state_file)
    assert sum(service.member(KEY).finished.values()) == 0
    assert service.member(bob) == counted
    await service.stop()


async def test_without_a_file_it_counts_in_memory() -> None:
    service = await started(None)
    await polled(service, range(1, 20))
    assert ended(service) == ended_by(19)
    assert not service.tracker.take_batch()  # nothing is kept for a file that will never be written
    await service.stop()


def test_steady_time_does_not_follow_a_clock_that_jumps() -> None:
    clock = SettableClock()
    now = steady_unix_time(clock)
    clock.unix -= 3600
    clock.seconds += 5
    assert now() == time_of(0) + 5


async def test_ends_of_known_users_are_counted_and_how_far_the_history_was_read_is_kept(state_file: Path) -> None:
    """Those of anyone else are left out."""
    service = await started(state_file)
    await polled(service, range(1, 3))
    job = Job("4711", "name", JobState.COMPLETED, submitted=time_of(-3), started=time_of(-2))
    rows = [EndedJob(user, "1", time_of(-1), job) for user in (KEY.user, "stranger")]
    assert await service.take_ends(KEY.source, rows, time_of(2)) == 0
    await polled(service, range(3, 12))
    assert service.member(KEY).finished["completed"] == ended_by(11) + 1
    assert (service.tracker.mark(KEY.source), service.tracker.mark("never there")) == (time_of(2), None)
    assert await service.take_ends("never there", rows, 5.0) == 0
    await is_kept(service, state_file)
    assert (await loaded(state_file)).marks == {KEY.source: time_of(2), "never there": 5.0}


def row_of(user: str, number: int, ended_at: float) -> EndedJob:
    """Return the end of a job that ran for a minute, after it had waited for another one."""
    times = {"submitted": ended_at - 120, "started": ended_at - 60}
    job = Job(str(number), "", JobState.COMPLETED, **times)  # type: ignore[arg-type]  # by their names
    return EndedJob(user, "1", ended_at, job)


async def test_an_end_waits_for_its_row_where_there_is_a_history_until_it_turns_out_that_there_is_none() -> None:
    service = await started(None)
    service.graces = {KEY.source: 1000 * INTERVAL}
    elsewhere = KEY._replace(source="xian")
    for key in (KEY, elsewhere):
        await polled(service, range(1, 10), key)
    counts = [service.member(key).finished["completed"] for key in (KEY, elsewhere)]
    assert counts == [0, ended_by(9)]
    service.history_is_missing(KEY.source)
    await polled(service, range(10, 11))
    assert ended(service) == ended_by(10), "what waited counts, too"
    await service.take_ends(KEY.source, [], time_of(10))
    await polled(service, range(11, 15))
    assert ended(service) == ended_by(10), "there is one after all"


async def test_rows_count_for_members_that_are_configured_or_remembered_each_in_its_source() -> None:
    service = await started(None)
    bob, elsewhere = KEY._replace(user="bob"), KEY._replace(source="xian")
    service.forget_members([bob, elsewhere])
    await polled(service, range(1, 2))
    rows = [row_of(user, number, time_of(-5)) for user in ("test", "bob", "stranger") for number in (901, 902)]
    assert await service.take_ends(KEY.source, rows, time_of(1)) == 0
    assert {key: service.member(key).finished["completed"] for key in (KEY, bob, elsewhere)} == {
        KEY: 2,
        bob: 2,
        elsewhere: 0,
    }
    assert service.group(KEY.source, KEY.group_id).queues[""].runs.count == 4


async def test_times_in_rows_that_cannot_be_are_reported_for_all_members_together() -> None:
    service = await started(None)
    bob = KEY._replace(user="bob")
    service.forget_members([KEY, bob])
    future = [row_of(user, number, time_of(10**6)) for user in ("test", "bob") for number in (901, 902)]
    assert await service.take_ends(KEY.source, future, time_of(1)) == 4
    assert await service.take_ends(KEY.source, future, time_of(1)) == 0, "each once"


async def test_a_row_is_counted_by_the_service_s_own_time() -> None:
    """A row that comes before polls tell of its end waits for as long as the grace, and no longer."""
    service = await started(None)
    clock = service._clock
    assert isinstance(clock, SettableClock)
    service.graces = {KEY.source: 10 * INTERVAL}
    await service.observe(KEY, JobListing((Job("901", "", JobState.RUNNING),)), time_of(0), INTERVAL)
    for poll, finished in ((0, 0), (9, 0), (10, 1)):
        clock.seconds = poll * INTERVAL
        await service.take_ends(KEY.source, [row_of("test", 901, time_of(0) + 1)], time_of(poll))
        assert ended(service) == finished


@pytest.mark.parametrize(("jobs", "in_a_thread"), [(2, False), (3, True)])
async def test_a_list_counts_as_large_by_its_jobs_and_those_that_are_followed(
    monkeypatch: pytest.MonkeyPatch, jobs: int, in_a_thread: bool
) -> None:
    monkeypatch.setattr(service_module, "_LARGE", 4)
    threads: list[int] = []
    work = Tracker.work

    def watched(*args: Any, **options: Any) -> Step:
        threads.append(threading.get_ident())
        return work(*args, **options)

    service = await started(None)
    await service.observe(KEY, crowd(0, 2), time_of(0), INTERVAL)
    monkeypatch.setattr(Tracker, "work", watched)
    await service.observe(KEY, crowd(0, jobs), time_of(1), INTERVAL)
    assert [thread != threading.get_ident() for thread in threads] == [in_a_thread]


async def test_reported_times_that_do_not_fit_are_told_to_the_caller() -> None:
    service = await started(None)
    found: list[int] = []
    for state, times in (("queued", {}), ("running", {"started": time_of(500)}), ("completed", {"ended": 1.0})):
        job = Job("1", "", JobState(state), **times)  # type: ignore[arg-type]  # by their names
        found.append(await service.observe(KEY, JobListing((job,)), time_of(len(found)), INTERVAL))
    assert found == [0, 1, 1]
    assert (service.members_of(KEY.source), service.members_of("xian")) == ([KEY], [])


async def test_it_looks_by_itself_every_hour_whether_members_are_to_be_forgotten(state_file: Path) -> None:
    service = await started(state_file)
    bob = KEY._replace(user="bob")
    service.forget_members([bob])
    await polled(service, range(1, 3))
    clock = service._clock
    assert isinstance(clock, SettableClock)
    clock.seconds = REMEMBERED_SECONDS + 3 * INTERVAL
    await polled(service, range(3, 4), bob)
    while service.members_of(KEY.source) != [bob]:  # noqa: ASYNC110 - it has no event to wait for, and needs none
        await asyncio.sleep(0.01)
    await service.stop()
    assert (await loaded(state_file)).members.keys() == {bob}
