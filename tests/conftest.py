"""Fixtures of all tests."""

import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from pathlib import Path

import hypothesis
import pytest
import structlog

from exporter import redaction
from tests.support.disk import DeadDisk
from tests.support.http import Network, a_network

# jsonschema would make forty grammars when it is imported, in a second, for formats that no schema here has.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # as where it is not installed
# Else every process that the tests start compiles the whole project, and every worker the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Nothing may depend on the speed of the machine.
hypothesis.settings.register_profile("without deadlines", deadline=None)
hypothesis.settings.load_profile("without deadlines")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Let `-n auto` start more processes than there are processors: two thirds of the time, tests wait for others."""
    processors = os.cpu_count() or 1
    return max(processors, min(3 * processors, 8))


def pytest_collection(session: pytest.Session) -> None:
    """Let each worker begin with other modules of the whole suite: what one has rewritten, the others take over."""
    # Thousands of tests are made and none is garbage: looking for that takes a quarter of the time.
    gc.disable()
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    paths = sorted(Path(__file__).parent.rglob("test_*.py"))
    for path in paths[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]:
        # A module that cannot be imported is reported when it is collected.
        with contextlib.suppress(Exception):
            import_module(".".join(path.relative_to(session.config.rootpath).with_suffix("").parts))


def pytest_collection_finish() -> None:
    """Leave what was collected out of every later search for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Let the processes of tests notice a Ctrl-C, also where the tests themselves run in the background and do not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command that a test runs within this process sets up: its stream is gone after the test."""
    yield
    structlog.reset_defaults()
    redaction.known.forget()
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(handler)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    """Start servers and upstreams on loopback."""
    async with a_network() as started:
        yield started


@pytest.fixture
def dead_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadDisk]:
    """Yield a disk that does not answer before the test says so."""
    disk = DeadDisk()
    monkeypatch.setattr(os, "open", disk.open)
    yield disk
    disk.release()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a file system of its own, with room for little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603 - a test's folder
        pytest.skip("mounting a file system is for root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607 - the same
