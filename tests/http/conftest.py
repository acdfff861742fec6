"""Fixtures of the tests of the HTTP client: real sockets on loopback, in virtual time."""

import pytest

from exporter.http import client as http
from tests.support.clock import virtual_loops

pytest_asyncio_loop_factories = virtual_loops


@pytest.fixture
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow immediately; their pauses have tests of their own."""
    monkeypatch.setattr(http, "FIRST_BACKOFF", 0.001)
