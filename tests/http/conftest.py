"""Fixtures of the tests of the HTTP client: real sockets on loopback."""

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
    """Retries follow immediately; their pauses have tests of their own."""
    monkeypatch.setattr(http, "FIRST_BACKOFF", 0.001)
