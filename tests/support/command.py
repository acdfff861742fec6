"""Commands as people run them: processes of their own."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Generous: the machine may be busy with other tests.
DEADLINE = 120.0


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table in a pipe, without its titles. No cell of the tests has two blanks in a row."""
        return [line.split() for line in self.stdout.splitlines()[1:]]


class Command:
    """Runs the command line in `folder`, where its configuration is."""

    def __init__(self, folder: Path, configuration: str) -> None:
        self.folder = folder
        self.config = folder / "exporter.yml"
        self.config.write_text(configuration, encoding="utf-8")

    async def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, stdin: int = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", "-m", "exporter", *arguments),
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def __call__(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Ended:
        """Run it to its end. Whatever happens, it must not be a traceback."""
        return await ended(await self.start(*arguments, env=env), stdin)


async def ended(process: asyncio.subprocess.Process, stdin: str = "") -> Ended:
    """Wait for a command's end."""
    try:
        async with asyncio.timeout(DEADLINE):
            stdout, stderr = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    assert b"Traceback" not in stderr, stderr.decode()
    return Ended(process.returncode, stdout.decode(), stderr.decode())
