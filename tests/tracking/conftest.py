from pathlib import Path

import pytest


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "tracker.db"
