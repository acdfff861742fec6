"""Keeps the garbage collector from blocking the event loop.

A full collection looks at every object that could be part of a cycle. Ten thousand users are 400,000 of those, which
takes a quarter of a second. Nearly all of them stay until the next reload, so they are taken out of its sight.
"""

import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager


def settle() -> None:
    """Collect what is garbage, and do not look again at the rest. Blocks; for starts and reloads."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


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
