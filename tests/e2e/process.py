"""The exporter as a process of its own, controlled by signals and requests."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.support import forks

# Generous: the machine may be busy with other tests. Nothing waits so long unless it is broken.
DEADLINE = 120.0
# The series of collectors, and of the regions themselves.
DOMAIN = re.compile("hpc_(?!exporter_)")
# In either format of the log.
LISTENING = re.compile(r'^(?=.*"Listening on").*\baddress(?:=|": ")([^"\s]+)', re.MULTILINE)


async def eventually(look: Callable[[], object], what: str) -> None:
    """Wait until `look` returns something true, directly or awaited."""
    try:
        async with asyncio.timeout(DEADLINE):
            pause = 0.02
            while not await result_of(look()):
                await asyncio.sleep(pause)
                # A look may cost both processes a scrape.
                pause = min(1.2 * pause, 0.2)
    except TimeoutError:
        raise AssertionError(f"never came true: {what}") from None


async def result_of(found: object) -> object:
    return await found if isinstance(found, Awaitable) else found


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def samples(self) -> dict[str, float]:
        return samples_of(self.text)


def samples_of(exposition: str) -> dict[str, float]:
    """Values by series, written as in the exposition."""
    lines = [line for line in exposition.split("\n") if line and not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


class ExporterProcess:
    """One run of ``python -m exporter`` in `folder`, which also holds its output."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self.folder = folder
        self.config = folder / "exporter.yml"
        if configuration:
            self.config.write_text(configuration, encoding="utf-8")
        self.process: forks.Process
        self._http: aiohttp.ClientSession | None = None

    async def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        with (self.folder / "stdout").open("wb") as stdout, (self.folder / "stderr").open("wb") as stderr:
            self.process = await forks.start(
                *arguments, cwd=self.folder, env=env or {}, stdout=stdout, stderr=stderr, warning="always"
            )

    async def serve(self, *arguments: str, env: Mapping[str, str] | None = None, listeners: int = 1) -> None:
        """Serve on a free port; return when it listens."""
        if not any(argument.startswith("--web.listen-address") for argument in arguments):
            arguments = (*arguments, "--web.listen-address=127.0.0.1:0")
        await self.start(*arguments, env=env)
        await eventually(
            lambda: len(self.addresses) >= listeners or self.process.returncode is not None,
            f"it listens on {listeners} addresses",
        )
        assert self.process.returncode is None, self.stderr

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    @property
    def command_line(self) -> str:
        """The arguments that every user of the machine can read."""
        return Path(f"/proc/{self.process.pid}/cmdline").read_text(encoding="utf-8")

    @property
    def addresses(self) -> list[str]:
        """HOST:PORT of every listener, from the log."""
        return LISTENING.findall(self.stderr)

    @property
    def url(self) -> str:
        return f"http://{self.addresses[0]}"

    def log_lines(self, text: str) -> list[str]:
        return [line for line in self.stderr.splitlines() if text in line]

    async def logged(self, text: str, number: int = 1) -> list[str]:
        """Wait for `number` log lines with `text`; all such lines."""
        await eventually(lambda: len(self.log_lines(text)) >= number, f"{number} lines with {text!r}")
        return self.log_lines(text)

    async def ask(self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> Answer:
        """Send no headers but these and Host; do not follow redirects, do not decompress."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=DEADLINE),
                skip_auto_headers=["Accept", "Accept-Encoding", "User-Agent"],
            )
        url = path if path.startswith("http") else self.url + path
        async with self._http.request(method, url, headers=headers, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers.copy(), await answer.read())

    async def samples(self) -> dict[str, float]:
        return (await self.ask("/metrics")).samples

    async def shows(self, condition: Callable[[dict[str, float]], object], what: str) -> dict[str, float]:
        """Scrape until `condition` holds; the samples of that scrape."""
        samples: dict[str, float] = {}

        async def look() -> object:
            nonlocal samples
            samples = await self.samples()
            return condition(samples)

        await eventually(look, f"/metrics shows {what}")
        return samples

    async def status(self) -> dict[str, Any]:
        """Return the document of /api/v1/status."""
        facts: dict[str, Any] = msgspec.json.decode((await self.ask("/api/v1/status")).body)
        return facts

    async def ready(self) -> None:
        """Wait until every target was polled, without requests of /-/ready, which are counted by status code."""

        async def look() -> object:
            return (await self.status())["ready"]

        await eventually(look, "every target was polled")

    async def wait(self) -> int:
        """Return the exit status, once it has ended."""
        async with asyncio.timeout(DEADLINE):
            return await self.process.wait()

    async def stop(self) -> int:
        """Send SIGTERM, as systemd does; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.wait()

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def serving(
    folder: Path, configuration: str, *arguments: str, env: Mapping[str, str] | None = None, listeners: int = 1
) -> AsyncIterator[ExporterProcess]:
    """Serve `configuration`. The process has to stop on SIGTERM with status 0, without traceback or warning."""
    exporter = ExporterProcess(folder, configuration)
    try:
        await exporter.serve("serve", *arguments, env=env, listeners=listeners)
        yield exporter
        if exporter.process.returncode is None:
            assert await exporter.stop() == 0, exporter.stderr
        assert "Traceback" not in exporter.stderr
        assert "Warning:" not in exporter.stderr
    finally:
        await exporter.close()


async def run(
    folder: Path, *arguments: str, configuration: str = "", env: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a command: exit status, standard output, standard error."""
    exporter = ExporterProcess(folder, configuration)
    try:
        await exporter.start(*arguments, env=env)
        status = await exporter.wait()
    finally:
        await exporter.close()
    return status, exporter.stdout, exporter.stderr
