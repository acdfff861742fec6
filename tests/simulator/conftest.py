from collections.abc import AsyncIterator

import aiohttp
import pytest

from exporter.simulator import Region, Simulator


class Hands:
    """A clock whose hands the test moves; it starts at a moment of 2023."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
async def simulator(hands: Hands) -> AsyncIterator[Simulator]:
    async with Simulator(speed_up=60, clock=hands, wall_clock=hands) as running:
        yield running


@pytest.fixture
def region(simulator: Simulator) -> Region:
    return simulator.regions["kunshan"]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as opened:
        yield opened
