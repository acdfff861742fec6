"""Fixtures of the web server's tests."""

from pathlib import Path

import pytest

from tests.support.web_config import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
