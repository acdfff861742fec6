"""What the tests of the metrics have in common."""

import os
import shutil
from collections.abc import Callable

import pytest


@pytest.fixture
def real_part() -> Callable[[str], str]:
    """The path of a program that a test wants to use for real.

    Without it the test is skipped, or fails where HPC_EXPORTER_REQUIRE_REAL_PARTS=1 says that all must be there.
    """

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            if os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") == "1":
                pytest.fail(f"{program} is not installed, and HPC_EXPORTER_REQUIRE_REAL_PARTS=1 requires it")
            pytest.skip(f"{program} is not installed")
        return path

    return find
