from collections.abc import AsyncIterator

import pytest

from tests.support.octopus import AtWork, project_at_work


@pytest.fixture
async def at_work() -> AsyncIterator[AtWork]:
    async with project_at_work() as ready:
        yield ready
