"""Fixtures of the tests of the SCNet client."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.http import Network, a_network

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "scnet"


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with a_network() as started:
        yield started


@pytest.fixture
def page_example() -> dict[str, bytes]:
    """Return the answers that the official pages show, by endpoint."""
    return {path.stem: path.read_bytes() for path in FIXTURES.glob("*.json")}
