"""Virtual time for the tests of the application."""

import asyncio
from collections.abc import Callable

import pytest

from tools.virtualtime import VirtualTimeLoop


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Let time jump to the next timer when nothing is left to do.

    Not where a thread that does not answer is part of the test, meanwhile time would stand still; nor where another process
    is, for which nobody would wait.
    """
    real = item.get_closest_marker("real_time") is not None
    return {"real": asyncio.new_event_loop} if real else {"virtual": VirtualTimeLoop}
