"""Background work survives unforeseen exceptions."""

import asyncio
from itertools import chain, pairwise, repeat

import pytest
import structlog

from exporter.supervise import FIRST_PAUSE, LONGEST_PAUSE, supervise
from tests.support.clock import FakeClock


class Restarts(list[str]):
    """A TaskObserver."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def task_started(self, task: str) -> None:
        self.started.append(task)

    def task_restarted(self, task: str) -> None:
        self.append(task)


async def test_work_that_fails_is_logged_counted_and_started_again() -> None:
    clock, restarts, runs = FakeClock(), Restarts(), 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise KeyError("unforeseen")

    with structlog.testing.capture_logs() as lines:
        task = asyncio.create_task(supervise("example", work, clock=clock, observer=restarts))
        await clock.advance(0)
        assert runs == 1
        await clock.advance(FIRST_PAUSE)
        assert runs == 2
        await clock.advance(2 * FIRST_PAUSE)
        await task
    assert runs == 3
    assert restarts.started == ["example"]
    assert restarts == ["example", "example"]
    assert [(line["log_level"], line["task"]) for line in lines] == [("error", "example")] * 2


async def test_pauses_grow_to_a_bound_and_start_over_after_a_long_run() -> None:
    clock, starts = FakeClock(), list[float]()
    lengths = chain(repeat(0.0, 9), [LONGEST_PAUSE + 1], repeat(0.0))

    async def work() -> None:
        starts.append(clock.monotonic())
        await clock.sleep(next(lengths))
        raise ValueError

    task = asyncio.create_task(supervise("example", work, clock=clock, observer=Restarts()))
    for _ in range(1_000):
        await clock.advance(1.0)
    task.cancel()
    pauses = [round(later - earlier) for earlier, later in pairwise(starts)]
    assert pauses[:9] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert pauses[9:12] == [round(LONGEST_PAUSE + 1 + FIRST_PAUSE), 2, 4]


async def test_cancelling_the_task_ends_the_work() -> None:
    clock, restarts = FakeClock(), Restarts()
    task = asyncio.create_task(
        supervise("example", asyncio.Event().wait, clock=clock, observer=restarts)  # type: ignore[arg-type]
    )
    await clock.advance(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert restarts == []


async def test_something_cancelled_that_the_work_awaits_does_not_end_it() -> None:
    clock, restarts, runs = FakeClock(), Restarts(), 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise asyncio.CancelledError

    task = asyncio.create_task(supervise("example", work, clock=clock, observer=restarts))
    await clock.advance(FIRST_PAUSE)
    await task
    assert (runs, restarts) == (2, ["example"])
