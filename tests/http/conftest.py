"""What the tests of the HTTP choke point have in common: real sockets on loopback."""

from collections.abc import AsyncIterator

import pytest

from exporter.http import client as http
from tests.support.http import Network, a_network


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with a_network() as started:
        yield started


@pytest.fixture
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come at once; their pauses have tests of their own."""
    monkeypatch.setattr(http, "FIRST_BACKOFF", 0.001)
