"""A reload of thousands of users is not held up by the garbage collector, and leaves it nothing to do."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli.serve import Frozen, collector_paused, reload_uncollected
from tests.app.running import running
from tests.e2e.process import eventually
from tests.e2e.region import scripted_region

USERS = 300


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_nothing_that_is_made_meanwhile_is_looked_at() -> None:
    looks: list[str] = []
    gc.callbacks.append(lambda phase, _: looks.append(phase))
    try:
        with collector_paused():
            made = [[number] for number in range(200_000)]
        frozen = gc.get_freeze_count()
    finally:
        gc.callbacks.pop()
    assert (looks, gc.isenabled()) == ([], True)
    assert frozen >= len(made)


def test_an_error_switches_the_collector_on_again() -> None:
    with pytest.raises(LookupError), collector_paused():
        raise LookupError
    assert gc.isenabled()


def test_garbage_that_is_frozen_time_and_again_does_not_fill_the_memory() -> None:
    """As with a reload every second, while polls that fail leave cycles."""
    frozen = Frozen()
    frozen.check()
    usual = sys.getallocatedblocks()
    for _ in range(30):
        with collector_paused():
            for _ in range(usual // 20):
                cycle = list[object]()
                cycle.append(cycle)
        frozen.check()
        assert sys.getallocatedblocks() <= 2.2 * usual


async def test_reloads_leave_no_garbage_that_only_the_collector_finds(tmp_path: Path) -> None:
    """It would stay: objects made during a reload are never examined."""

    def configuration(url: str, interval: int) -> str:
        users = ", ".join(f"user-{n}" for n in range(USERS))
        region = (
            f"name: kunshan, cluster_id: 1, hpc_url: '{url}', token: made-up, users: [{users}], collect: [queue_jobs]"
        )
        return f"poll: {{interval: {interval}h}}\nclusters:\n  - {{{region}}}\n"

    async with scripted_region() as region, running(tmp_path, configuration(region.url, 1)) as exporter:
        exporter.app.around_reload = reload_uncollected
        await exporter.ready()
        await exporter.reload(configuration(region.url, 2))
        gc.unfreeze()
        gc.collect()
        for interval in (3, 4, 5):
            await exporter.reload(configuration(region.url, interval))
        await eventually(lambda: not exporter.app._closing, "the old region is closed")
        gc.unfreeze()
        assert gc.collect() < USERS, "less than an object for a user"
