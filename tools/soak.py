"""``python -m tools.soak [MINUTES]``: whether the exporter stays as it is: memory, open files, threads. Linux only.

The real process polls simulated regions and projects four times a second. Every minute begins with trouble of all
kinds, in turn; then it is reloaded, and recovers. Another process scrapes and requests the status page all the time.
Exit status 1 if at the end it has more than a tenth more of anything than at most while it met each kind of trouble
twice.
"""

import asyncio
import contextlib
import itertools
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from bench.report import print_machine
from exporter.cli.simulate import configuration
from exporter.simulator import Fault, Simulator, default_projects, default_regions

LISTENING: Final = re.compile(r'msg="Listening on" address=(\S+)')
DEFAULT_MINUTES: Final = 30
TROUBLE, RECOVERY = 25.0, 35.0  # seconds
TROUBLES: Final = (
    (Fault(kind="status", status=503, probability=0.7),),
    (Fault(kind="disconnect", probability=0.5), Fault(kind="truncated", probability=0.5)),
    (Fault(kind="hang"),),
    (Fault(kind="refused"),),
    (Fault(kind="broken_json", probability=0.5), Fault(kind="wrong_shape", probability=0.5)),
    (Fault(kind="status", status=429, retry_after=1), Fault(kind="delay", seconds=0.5)),
    (Fault(kind="huge", mebibytes=65, probability=0.3), Fault(kind="drip", seconds=1.0)),
)
# So often each kind of trouble makes room for itself: answers of 64 MiB do not leave memory as they found it.
ROUNDS: Final = 2
# A tenth more is a leak, if it is not a few.
GROWTH, SLACK = 1.1, {"MiB": 4.0, "files": 8.0, "threads": 2.0}


@dataclass(frozen=True)
class Exporter:
    """The process, its configuration file, and where it serves."""

    process: asyncio.subprocess.Process
    file: Path
    url: str

    def takes(self) -> dict[str, float]:
        """Resources that it uses now."""
        folder = Path("/proc", str(self.process.pid))
        status = dict(line.split(":", 1) for line in (folder / "status").read_text(encoding="ascii").splitlines())
        return {
            "MiB": int(status["VmRSS"].split()[0]) / 1024,
            "files": float(len(list((folder / "fd").iterdir()))),
            "threads": float(status["Threads"]),
        }


@contextlib.asynccontextmanager
async def exporting(text: str, folder: Path) -> AsyncIterator[Exporter]:
    file, log = folder / "exporter.yml", folder / "log"
    file.write_text(text, encoding="utf-8")
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "exporter", "serve", f"--config.file={file}", "--web.listen-address=127.0.0.1:0"),
            stderr=output,
        )
    try:
        while (found := LISTENING.search(log.read_text(encoding="utf-8"))) is None:  # noqa: ASYNC110 - another process sets no event of ours
            await asyncio.sleep(0.1)
        yield Exporter(process, file, f"http://{found[1]}")
    finally:
        process.terminate()
        assert await process.wait() == 0


def settings(simulator: Simulator, folder: Path) -> str:
    text = configuration(simulator).replace("interval: 5s", "interval: 250ms").replace("timeout: 5s", "timeout: 2s")
    return f"{text}\ntracking: {{state_file: {folder / 'state.db'}}}\n"


async def look_at(url: str) -> None:
    """Scrape and request the pages until cancelled."""
    async with aiohttp.ClientSession() as session:
        for coding in itertools.cycle(("gzip", "identity")):
            for path in ("/metrics", "/", "/api/v1/status"):
                async with session.get(url + path, headers={"Accept-Encoding": coding}) as answer:
                    assert answer.status == 200
                    await answer.read()
            await asyncio.sleep(0.3)


async def live_through(minutes: int) -> list[dict[str, float]]:
    """Resources of the exporter at the end of each minute."""
    taken = []
    async with Simulator(default_regions(2), projects=default_projects(1)) as simulator:
        with tempfile.TemporaryDirectory(prefix="hpc-exporter-soak-") as name:
            folder = Path(name)
            text = settings(simulator, folder)
            async with exporting(text, folder) as exporter:
                looking = asyncio.create_task(look_at(exporter.url))
                for minute, faults in zip(range(minutes), itertools.cycle(TROUBLES), strict=False):
                    await trouble(simulator, faults)
                    # Every other time with other settings for all, so that all is replaced.
                    exporter.file.write_text(text.replace("250ms", "251ms") if minute % 2 else text, encoding="utf-8")
                    exporter.process.send_signal(signal.SIGHUP)
                    await asyncio.sleep(RECOVERY)
                    assert not looking.done(), looking.exception()
                    taken.append(exporter.takes())
                    what = ", ".join(f"{value:.0f} {unit}" for unit, value in taken[-1].items())
                    print(f"minute {minute + 1}, after {', '.join(fault.kind for fault in faults)}: {what}", flush=True)
                looking.cancel()
    return taken


async def trouble(simulator: Simulator, faults: tuple[Fault, ...]) -> None:
    everywhere = [region.faults for region in simulator.regions.values()]
    everywhere += [project.faults for project in simulator.projects.values()]
    for orders, fault in itertools.product(everywhere, faults):
        orders.add(fault)
    await asyncio.sleep(TROUBLE)
    for orders in everywhere:
        orders.clear()


def grown(taken: list[dict[str, float]]) -> list[str]:
    """Resources that grew after the first rounds of faults, in words."""
    usual = taken[: ROUNDS * len(TROUBLES)]
    return [
        f"{end:.0f} {unit} at the end, at most {most:.0f} in the first {len(usual)} minutes"
        for unit, end in taken[-1].items()
        if end > (most := max(each[unit] for each in usual)) * GROWTH + SLACK[unit]
    ]


def main(arguments: list[str]) -> int:
    minutes = int(arguments[0]) if arguments else DEFAULT_MINUTES
    compared = ROUNDS * len(TROUBLES)
    if minutes <= compared:
        sys.stderr.write(f"at least {compared + 1} minutes: the first {compared} are what it is compared with\n")
        return 2
    print_machine()
    problems = grown(asyncio.run(live_through(minutes)))
    print("\n".join(problems) or "it stays as it is")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
