"""What stays is not looked at again, and yet nothing that is thrown away stays."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from exporter.app import garbage
from tests.app.running import running
from tests.e2e.process import eventually
from tests.e2e.region import ScriptedRegion, cluster, configuration, envelope, job, queue, scripted_region
from tests.support.clock import FakeClock


class InACycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
async def region() -> AsyncIterator[ScriptedRegion]:
    jobs = envelope([job("1"), job("2")])
    async with scripted_region({"queue_jobs": envelope([queue("debug", R=2)]), "member_jobs": jobs}) as region:
        yield region


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector belongs to the whole process: it is left as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_is_there_is_not_looked_at_again() -> None:
    kept = InACycle()
    assert any(thing is kept for thing in gc.get_objects())

    garbage.settle()

    assert not any(thing is kept for thing in gc.get_objects())


def test_garbage_from_before_goes() -> None:
    gone = weakref.ref(InACycle())

    garbage.settle()

    assert gone() is None


async def test_what_the_first_polls_made_is_put_out_of_sight_when_all_were_tried() -> None:
    clock, tried = FakeClock(), asyncio.Event()

    async def wait_ready() -> None:
        await tried.wait()

    settling = asyncio.create_task(garbage.stay_settled(wait_ready, clock))
    await asyncio.sleep(0)
    frozen = gc.get_freeze_count()
    kept = InACycle()
    tried.set()
    await clock.advance(0)
    settling.cancel()

    assert gc.get_freeze_count() > frozen
    assert not any(thing is kept for thing in gc.get_objects())


async def test_garbage_that_grew_old_goes_within_a_minute_or_so() -> None:
    clock = FakeClock()

    async def wait_ready() -> None:
        return

    settling = asyncio.create_task(garbage.stay_settled(wait_ready, clock))
    await clock.advance(1)
    thing = InACycle()
    gone = weakref.ref(thing)
    gc.collect(0)
    gc.collect(1)  # so it is among the old ones
    del thing
    await clock.advance(60)
    settling.cancel()

    assert gone() is None


async def test_garbage_out_of_sight_goes_when_there_is_as_much_of_it_as_of_all_the_rest() -> None:
    clock = FakeClock()

    async def wait_ready() -> None:
        return

    settling = asyncio.create_task(garbage.stay_settled(wait_ready, clock))
    await clock.advance(1)
    things = [InACycle() for _ in range(2 * gc.get_freeze_count())]
    gone = weakref.ref(things[0])
    gc.freeze()
    del things
    await clock.advance(60)
    settling.cancel()

    assert gone() is None


@pytest.mark.parametrize(
    ("others", "overdue", "done"),
    [(0, False, True), (30_000, False, False), (30_000, True, True), (250_000, False, True)],
)
def test_garbage_among_many_older_objects_waits_until_it_must_not(others: int, overdue: bool, done: bool) -> None:
    """To look at tens of thousands would block the event loop; hundreds of thousands are themselves the garbage."""
    gc.freeze()
    many: list[list[int]] = [[] for _ in range(others)]
    thing = InACycle()
    gone = weakref.ref(thing)
    gc.collect(0)
    gc.collect(1)  # so all of it is among the old ones
    del thing

    assert garbage.tidy(overdue=overdue) == done

    assert (gone() is None) == done
    assert len(many) == others


async def test_what_a_reload_replaces_goes_without_the_collector(tmp_path: Path, region: ScriptedRegion) -> None:
    """A region with other settings, its client, and the targets of both kinds: nothing of them is in a cycle."""
    async with running(tmp_path, configuration(cluster(region.url))) as exporter:
        await exporter.ready()
        old = exporter.app.regions["kunshan"]
        gone: list[weakref.ref[object]] = [weakref.ref(old.client), weakref.ref(old.upstream)]
        gone += [weakref.ref(target.poll) for target in old.targets()]
        gone += [weakref.ref(status.start) for status in exporter.app.poller.statuses]
        del old
        gc.disable()
        try:
            await exporter.reload(configuration(cluster(region.url, name="xian")))
            await eventually(lambda: not any(each() for each in gone), "all of the old region is gone")
        finally:
            gc.enable()
