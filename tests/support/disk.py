"""Disks that do not answer, as a network share whose server is gone, or have no room."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.config import files


@contextmanager
def impatient(seconds: float = 0.05) -> Iterator[None]:
    """Give each read so little time. Only while a disk is dead: on a busy machine any read may take as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "READ_TIMEOUT", seconds)
        yield


class DeadDisk:
    """Block every opening of one of its files until it answers again."""

    def __init__(self) -> None:
        self.paths: set[str] = set()
        self.waiting = 0
        self._answer = threading.Event()
        self._open = os.open

    def file(self, path: Path, content: str) -> Path:
        """Return a file on this disk."""
        path.write_text(content, encoding="utf-8")
        self.paths.add(str(path))
        return path

    def open(self, path: Any, *arguments: Any, **named: Any) -> int:
        """Take the place of `os.open`."""
        if str(path) in self.paths:
            self.waiting += 1
            self._answer.wait()
            self.waiting -= 1
        return self._open(path, *arguments, **named)

    async def answers(self) -> None:
        """Let all go on that wait; return when they have."""
        self.release()
        async with asyncio.timeout(100):
            while self.waiting:  # noqa: ASYNC110 - threads set no event of the loop
                await asyncio.sleep(0.01)

    def release(self) -> None:
        self.paths.clear()
        self._answer.set()


def take_all_room(disk: Path) -> Path:
    """Fill `disk`; the file that does it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return ballast
