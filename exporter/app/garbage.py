"""Keeps the garbage collector from blocking the event loop.

A full collection looks at every object that could be part of a cycle. Ten thousand users are 400,000 of those, which
takes a quarter of a second. Nearly all of them stay until the next reload, so they are taken out of its sight.
"""

import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# How many objects more than before make the collector look at the youngest, and how often it looks at older ones with
# them. Under way, a poll is some forty objects; Python's own 700 would have them looked at again and again, which takes
# a tenth of the processor time while hundreds of polls wait for their turn.
_THRESHOLDS = (10_000, 1, 10)


def settle() -> None:
    """Collect what is garbage, and do not look again at the rest. Blocks; for starts and reloads."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


async def settle_after(ready: Callable[[], Awaitable[None]]) -> None:
    """When everything was polled once, stop looking at what the first polls made: it stays as well."""
    await ready()
    # Without a collection, which would block the polls; what little garbage there is goes at the next reload.
    gc.freeze()


@contextmanager
def settled_after(reload: AbstractContextManager[None]) -> Iterator[None]:
    """Around a reload: what it replaced is garbage, what it made stays."""
    with reload:
        yield
    settle()
