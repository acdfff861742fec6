"""The task that writes the state file survives unforeseen exceptions, and nothing waits for it meanwhile."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Store, TrackingService, rows
from exporter.tracking.tracker import Batch, Tracker
from tests.tracking.files import Observer, ended, ended_in, is_kept, loaded, polled, started, written
from tests.tracking.lives import INTERVAL, KEY, ended_by, time_of

BOB = KEY._replace(user="bob")


def failing(times: int, error: BaseException, then: Callable[..., Any]) -> Callable[..., Any]:
    """`then`, after it has failed so often."""
    left = times

    def call(*args: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise error
        return then(*args, **options)

    return call


@pytest.mark.parametrize("error", [KeyError("unforeseen"), asyncio.CancelledError(), OSError(28, "No space left")])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Store, "save"), (Store, "_save"), (Store, "_look"), (Tracker, "take_batch"), (TrackingService, "_note_left_out")],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_it_starts_again_and_nothing_is_lost_or_counted_twice(
    state_file: Path, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: BaseException
) -> None:
    observer = Observer()
    service = await started(state_file, observer)
    await polled(service, range(1, 5))
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(owner, name, failing(3, error, getattr(owner, name)))
        for poll in range(5, 9):
            await asyncio.wait_for(polled(service, range(poll, poll + 1)), 100)
            assert ended(service) == ended_by(poll)
        while len(observer.restarts) < 3:  # noqa: ASYNC110 - it has no event to wait for, and needs none
            await asyncio.sleep(0.01)
        await asyncio.wait_for(written(service), 100)
    assert observer.restarts == ["tracker writer"] * 3
    assert logs
    await is_kept(service, state_file)


async def test_a_failure_outside_a_write_is_survived(state_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observer = Observer()
    service = await started(state_file, observer)
    monkeypatch.setattr(service._clock, "sleep", failing(1, KeyError("unforeseen"), service._clock.sleep))
    await polled(service, range(1, 9))
    assert ended(service) == ended_by(8)
    assert observer.restarts == ["tracker writer"]
    await service.stop()
    assert await ended_in(state_file) == ended_by(8)


@pytest.mark.parametrize(
    "job",
    [
        Job("new", "", JobState.RUNNING, allocated_cpus=2**70),
        Job("new", "", JobState.RUNNING, allocated_cpus=-1),
        Job("new", "", JobState.RUNNING, allocated_gpus=0.5),  # type: ignore[arg-type]  # that is the point
    ],
    ids=["too large", "negative", "half"],
)
async def test_a_value_that_cannot_be_written_costs_its_member_alone(state_file: Path, job: Job) -> None:
    """The others are kept as ever; the member counts in memory, and begins anew at the next start."""
    observer = Observer()
    service = await started(state_file, observer)
    await polled(service, range(1, 5))
    await polled(service, range(1, 5), BOB)
    with capture_logs() as logs:
        await service.observe(BOB, JobListing((job,)), time_of(5), INTERVAL)
        await polled(service, range(5, 9))
        assert service.member(BOB).transitions["none", "running"] == 1
    assert observer.failures
    assert not observer.restarts
    assert [(line["log_level"], line["user"]) for line in logs] == [("error", "bob")]
    await service.stop()
    state = await loaded(state_file)
    assert state.members.keys() == {KEY}
    assert state.members[KEY].totals.finished["completed"] == ended_by(8)


async def test_a_member_is_kept_again_once_its_values_can_be_written(state_file: Path) -> None:
    service = await started(state_file)
    await polled(service, range(1, 5), BOB)
    bad = JobListing((Job("new", "", JobState.RUNNING, allocated_cpus=2**70),))
    await service.observe(BOB, bad, time_of(5), INTERVAL)
    await polled(service, range(6, 12), BOB)
    await is_kept(service, state_file, BOB)


async def test_an_unforeseen_failure_of_one_member_leaves_the_others(
    state_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = rows._write_member

    def write_member(connection: Any, key: MemberKey, change: Any) -> None:
        write(connection, key, change)
        if key == BOB:
            raise LookupError("unforeseen")

    monkeypatch.setattr(rows, "_write_member", write_member)
    service = await started(state_file)
    with capture_logs() as logs:
        await asyncio.gather(polled(service, range(1, 9)), polled(service, range(1, 9), BOB))
        await service.stop()
    assert ["LookupError: unforeseen" in line["error"] for line in logs] == [True]
    state = await loaded(state_file)
    assert state.members.keys() == {KEY}
    assert state.members[KEY].totals.finished["completed"] == ended_by(8)


async def test_a_listing_that_cannot_be_taken_in_costs_its_member_alone(
    state_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await started(state_file)
    await polled(service, range(1, 5))
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "record", failing(1, LookupError("unforeseen"), Tracker.record))
        with pytest.raises(LookupError):
            await polled(service, range(5, 6), BOB)
        await polled(service, range(6, 9), BOB)
        await polled(service, range(5, 9))
    await is_kept(service, state_file, KEY, BOB)


async def test_an_end_in_the_middle_of_a_failure_still_writes(
    state_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await started(state_file)

    async def save(_store: Store, _batch: Batch) -> dict[MemberKey, str]:
        raise LookupError("unforeseen")

    with monkeypatch.context() as patch, capture_logs():
        patch.setattr(Store, "save", save)
        await polled(service, range(1, 9))
    await service.stop()
    assert await ended_in(state_file) == ended_by(8)


async def test_a_listing_that_cannot_be_taken_in_at_the_end_costs_nothing_else(
    state_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await started(state_file)
    await polled(service, range(1, 8))
    monkeypatch.setattr(Tracker, "record", failing(1, LookupError("unforeseen"), Tracker.record))
    observing = asyncio.create_task(polled(service, range(8, 9)))
    await service.stop()
    with pytest.raises(LookupError):
        await observing
    assert await ended_in(state_file) == ended_by(7)


async def test_an_end_that_fails_says_so(state_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = await started(state_file)

    async def save(_store: Store, _batch: Batch) -> dict[MemberKey, str]:
        raise LookupError("unforeseen")

    monkeypatch.setattr(Store, "save", save)
    with capture_logs() as logs:
        await polled(service, range(1, 9))
        await service.stop()
    assert "may be lost" in logs[-1]["event"]
    assert logs[-1]["error"] == "the writer failed"
