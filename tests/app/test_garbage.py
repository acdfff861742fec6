"""What stays is not looked at again, and yet nothing that is thrown away stays."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from exporter.app import garbage


class InACycle:
    def __init__(self) -> None:
        self.itself = self


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


def test_what_a_reload_replaces_goes() -> None:
    """Although it was put out of sight when it was new."""
    old = InACycle()
    gone = weakref.ref(old)
    garbage.settle()

    with garbage.settled_after(nullcontext()):
        del old

    assert gone() is None


async def test_what_the_first_polls_made_is_put_out_of_sight_when_all_were_tried() -> None:
    tried = asyncio.Event()

    async def wait_ready() -> None:
        await tried.wait()

    settling = asyncio.create_task(garbage.settle_after(wait_ready))
    await asyncio.sleep(0)
    frozen = gc.get_freeze_count()
    kept = InACycle()
    tried.set()
    await settling

    assert gc.get_freeze_count() > frozen
    assert not any(thing is kept for thing in gc.get_objects())
