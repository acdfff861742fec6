"""Commands as people run them: processes of their own."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.support import forks

# Generous: the machine may be busy with other tests.
DEADLINE = 120.0


@dataclass(frozen=True)
class Ended:
    """The exit status and output of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table in a pipe, without its titles. No cell of the tests has two blanks in a row."""
        return [line.split() for line in self.stdout.splitlines()[1:]]


class Running:
    """A command that was started, with the files that its output goes to unless it goes elsewhere."""

    def __init__(self, process: forks.Process, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.process = process
        self._stdout = stdout
        self._stderr = stderr

    def said(self) -> str:
        """Return its standard output so far."""
        return os.pread(self._stdout.fileno(), 1024 * 1024, 0).decode()

    async def ended(self) -> Ended:
        """Wait for its end, which must not be a traceback."""
        try:
            async with asyncio.timeout(DEADLINE):
                status = await self.process.wait()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
        stdout, stderr = map(text_of, (self._stdout, self._stderr))
        assert "Traceback" not in stderr, stderr
        return Ended(status, stdout, stderr)


def text_of(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode()


class Command:
    """Runs the command line in `folder`, where its configuration is."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self.folder = folder
        self.config = folder / "exporter.yml"
        self.config.write_text(configuration, encoding="utf-8")

    async def start(
        self,
        *arguments: str,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        to: Mapping[str, forks.File] = {},
    ) -> Running:
        """Start it, with "stdout" or "stderr" going where `to` says."""
        given, out, err = (tempfile.TemporaryFile() for _ in range(3))  # noqa: SIM115 - closed at the command's end
        with given:
            given.write(stdin.encode())
            given.seek(0)
            process = await forks.start(
                *arguments,
                cwd=self.folder,
                env=env or {},
                stdin=given,
                stdout=to.get("stdout", out),
                stderr=to.get("stderr", err),
                warning="error",
            )
        return Running(process, out, err)

    async def __call__(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
        return await (await self.start(*arguments, stdin=stdin, env=env)).ended()


@contextmanager
def abandoned_pipe() -> Iterator[int]:
    """Yield a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)
