"""Fixtures of the tests of the metrics."""

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

RunRealPart = Callable[[list[str], bytes], bytes]


@pytest.fixture
def run_real_part() -> RunRealPart:
    """Run a program of the machine with the input given; return its output. A failure or a complaint fails the test.

    Without the program the test is skipped, or fails where HPC_EXPORTER_REQUIRE_REAL_PARTS=1 says that all must be
    there.
    """

    def run(command: list[str], given: bytes) -> bytes:
        if shutil.which(command[0]) is None:
            if os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") == "1":
                pytest.fail(f"{command[0]} is not installed, and HPC_EXPORTER_REQUIRE_REAL_PARTS=1 requires it")
            pytest.skip(f"{command[0]} is not installed")
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=100)  # noqa: S603  # a test's own command
        assert (done.returncode, done.stderr.decode()) == (0, "")
        return done.stdout

    return run
