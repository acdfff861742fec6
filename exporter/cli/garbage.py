"""Tuning of Python's garbage collector for `serve`: a collection of all objects would block the event loop for long.

Reference counts free nearly everything. The rest, which is in reference cycles, is collected rarely.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def tune_collector() -> None:
    """Collect the garbage of the imports, and raise the thresholds: a poll alone is some forty objects.

    A collection of 100,000 young objects, the most there can be, takes about 30 ms; a full one hardly ever takes place.
    """
    gc.collect()
    gc.set_threshold(25_000, 4, 1_000)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep objects created in the block away from the garbage collector: nearly all of them live until the next reload.

    A collection of the objects of 30,000 users blocks the event loop for a second, in whatever thread it runs.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def reload_uncollected() -> Iterator[None]:
    """As `collector_paused`, for reloads: what they froze is collected once it may be as much as all the rest."""
    try:
        with collector_paused():
            yield
    finally:
        _frozen.check()


class Frozen:
    """Bounds frozen garbage by the memory that is in use, in blocks: to count the frozen objects takes 25 ms a million."""

    def __init__(self) -> None:
        self._usual = 0

    def check(self) -> None:
        """Run a full collection where twice as much is in use as after the last one, or at the first check."""
        if self._usual and sys.getallocatedblocks() <= 2 * self._usual:
            return
        if self._usual:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        self._usual = sys.getallocatedblocks()


# There is one collector in a process.
_frozen = Frozen()
