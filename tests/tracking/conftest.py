from pathlib import Path

import pytest

from exporter.tracking import service


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "tracker.db"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the disk as long as it takes: after 5 s a poll would be shown before it is written."""
    monkeypatch.setattr(service, "_HANG_TIMEOUT", 300.0)
