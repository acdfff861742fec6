"""Keeps the garbage collector from blocking the event loop.

A full collection looks at every object that could be part of a cycle. Ten thousand users are 400,000 of those, which
takes a quarter of a second. Nearly all of them stay until the next reload, so they are taken out of its sight; and what
a reload replaces does not need the collector, because it holds no cycles (a test sees to it).
"""

import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from exporter.clock import Clock

# How many objects more than before make the collector look at the youngest, and how often it looks at older ones with
# them. Under way, a poll is some forty objects; Python's own 700 would have them looked at again and again, which takes
# a tenth of the processor time while hundreds of polls wait for their turn. It never looks at all by itself: that could
# be while thousands of polls wait.
_NEVER = 1_000_000
_THRESHOLDS = (5_000, 1, _NEVER)
# Looking at so many takes some 10 ms.
_QUICK = 20_000
_BETWEEN_LOOKS = 60.0  # seconds
# Out of sight, garbage stays: for hours of failing polls that must not go on. A blocked event loop is then the lesser evil.
_TOO_MANY = 2


def settle() -> None:
    """Do not look again at what there is; only at what is quite new, a last time."""
    gc.set_threshold(*_THRESHOLDS)
    gc.collect(1)
    gc.freeze()


async def stay_settled(ready: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """When everything was polled once, stop looking at what the first polls made, too; then look for garbage now and then."""
    await ready()
    gc.freeze()
    usual = gc.get_freeze_count()
    while True:
        await clock.sleep(_BETWEEN_LOOKS)
        tidy()
        if gc.get_freeze_count() > _TOO_MANY * usual:
            look_at_all()
            usual = gc.get_freeze_count()


def tidy() -> None:
    """Collect garbage among what was made lately, unless that is too much to look at in passing: then most of it stays."""
    if len(gc.get_objects(generation=2)) <= _QUICK:
        gc.collect()
    else:
        settle()


def look_at_all() -> None:
    """Collect all garbage, also what was put out of sight. Blocks for as long as it takes."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@contextmanager
def settled_after(reload: AbstractContextManager[None]) -> Iterator[None]:
    """Around a reload: what it made stays."""
    with reload:
        yield
    settle()
