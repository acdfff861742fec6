"""Fixtures of the tests of the SCNet client."""

from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "scnet"


@pytest.fixture
def page_example() -> dict[str, bytes]:
    """Return the answers that the official pages show, by endpoint."""
    return {path.stem: path.read_bytes() for path in FIXTURES.glob("*.json")}
