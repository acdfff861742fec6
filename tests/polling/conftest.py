"""A scheduler on fake time, targets whose polls do as they are told, and a listener that remembers."""

import random
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from exporter.polling import Scheduler
from tests.support.clock import FakeClock
from tests.support.polling import Heard


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def heard() -> Iterator[Heard]:
    made = Heard()
    yield made
    assert made.wrong_flips == []


@pytest.fixture
async def scheduler(clock: FakeClock, heard: Heard) -> AsyncIterator[Scheduler]:
    made = Scheduler(clock, heard, rng=random.Random(1))  # noqa: S311 - repeatable
    yield made
    await made.stop()


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    structlog.reset_defaults()
    with capture_logs() as entries:
        yield entries
