"""A region with one queue, for the tests that need no more."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.region import ScriptedRegion, envelope, queue, scripted_region


@pytest.fixture
async def region() -> AsyncIterator[ScriptedRegion]:
    async with scripted_region({"queue_jobs": envelope([queue("debug", R=2)])}) as region:
        yield region
