"""Fixtures of the tests of sources."""

from collections.abc import AsyncIterator

import pytest

from tests.support.http import Network, a_network


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with a_network() as started:
        yield started
