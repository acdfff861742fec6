"""Keeps the garbage collector from blocking the event loop.

A full collection looks at every object that could be part of a cycle. Ten thousand users are 400,000 of those, which
takes a quarter of a second. Nearly all of them stay until the next reload, so they are taken out of its sight; and what
a reload replaces does not need the collector, because it holds no cycles (a test sees to it).
"""

import gc
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from exporter.clock import Clock

# How many objects more than before make the collector look at the youngest, and how often it looks at older ones with
# them. Under way, a poll is some forty objects; Python's own 700 would have them looked at again and again, which takes
# a tenth of the processor time while hundreds of polls wait for their turn. It never looks at all by itself: that could
# be while thousands of polls wait.
_NEVER = 1_000_000
_THRESHOLDS = (5_000, 1, _NEVER)
# Seconds between two looks at what is new. The collector begins by itself when enough more was made than freed: where
# every poll replaces what the one before it made, that is after a hundred thousand, which then take 0.1 s at once.
_BETWEEN_LOOKS = 0.5
# How many of these looks there are for one at older objects. Polls that are tried again leave cycles that grow old.
_LOOKS = 120
# Older objects: up to so many are looked at in some 10 ms, so it is done each time; from so many on, most are garbage.
# In between it is put off, up to so many times.
_QUICK, _SUSPICIOUS, _PUT_OFF = 20_000, 200_000, 9
# Out of sight, garbage stays: when there is as much again as at first, a blocked event loop is the lesser evil.
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
    put_off, usual = 0, gc.get_freeze_count()
    for look in itertools.count(1):
        await clock.sleep(_BETWEEN_LOOKS)
        gc.collect(1)
        if look % _LOOKS == 0:
            put_off = 0 if tidy(overdue=put_off == _PUT_OFF) else put_off + 1
            if gc.get_freeze_count() > _TOO_MANY * usual:
                look_at_all()
                usual = gc.get_freeze_count()


def tidy(*, overdue: bool = False) -> bool:
    """Collect garbage among older objects, but for what is frozen, unless it is better put off; whether it was done."""
    older = len(gc.get_objects(generation=2))
    if _QUICK < older < _SUSPICIOUS and not overdue:
        return False
    gc.collect()
    return True


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
