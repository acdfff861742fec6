"""``python -m tools.soak [MINUTES]``: whether the exporter stays as it is: memory, open files, threads. Linux only.

The real process polls simulated regions and projects four times a second, one of the regions by the list of live jobs and
with members that the platform tells; ends come from the history. Every minute begins with trouble of all kinds, in turn;
then it is reloaded, and recovers. Another process scrapes and requests the status page all the time. Exit status 1 if at the
end it has more than a tenth more of anything than at most while it met each kind of trouble three times.

``python -m tools.soak --virtual [HOURS]`` does the same for a day in virtual time: exporter and regions in one process,
polls every five minutes, and an hour for what is a minute else.
"""

import asyncio
import contextlib
import itertools
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import yaml

from bench.report import print_machine
from exporter import log as logging
from exporter.app import Application, Options
from exporter.app.status import Selection
from exporter.cli.simulate import configuration
from exporter.metrics.format import Format
from exporter.simulator import Fault, Simulator, default_projects, default_regions
from tools import virtualtime

LISTENING: Final = re.compile(r'msg="Listening on" address=(\S+)')
DEFAULT_MINUTES, DEFAULT_HOURS = 30, 24
TROUBLE, RECOVERY = 25.0, 35.0  # seconds of a minute
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
ROUNDS: Final = 3
# A tenth more is a leak, if it is not a few.
GROWTH, SLACK = 1.1, {"MiB": 4.0, "files": 8.0, "threads": 2.0, "tasks": 8.0}


@dataclass(frozen=True)
class Exporter:
    """The process, its configuration file, and where it serves."""

    process: asyncio.subprocess.Process
    file: Path
    url: str


def takes(process: str = "self") -> dict[str, float]:
    """Resources that a process uses now, open files with its sockets."""
    folder = Path("/proc", process)
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
    except AssertionError:
        print("\n".join(line for line in log.read_text(encoding="utf-8").splitlines() if "level=error" in line))
        raise
    finally:
        process.terminate()
        assert await process.wait() == 0


def settings(simulator: Simulator, folder: Path, interval: str, timeout: str) -> str:
    document = yaml.safe_load(configuration(simulator))
    document["poll"] = {"interval": interval, "timeout": timeout}
    document["tracking"] = {"state_file": str(folder / "state.db")}
    by_account = document["clusters"][1]
    del by_account["token"]
    by_account |= {"account": simulator.accounts[0].user, "members": "all"}
    by_account["collect"] = ["live_jobs" if name == "member_jobs" else name for name in by_account["collect"]]
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False)


async def look_at(url: str) -> None:
    """Scrape and request the pages until cancelled."""
    async with aiohttp.ClientSession() as session:
        for coding in itertools.cycle(("gzip", "identity")):
            for path in ("/metrics", "/", "/api/v1/status"):
                async with session.get(url + path, headers={"Accept-Encoding": coding}) as answer:
                    text = await answer.text()
                    assert answer.status == 200, f"{path} answers {answer.status}: {text[:1000]}"
            await asyncio.sleep(0.3)


async def live_through(
    rounds: int, simulator: Simulator, exporter: "Soaked", *, unit: str, seconds: float
) -> list[dict[str, float]]:
    """Resources of the exporter at the end of each round, which lasts `seconds` times a minute."""
    taken = []
    looking = asyncio.create_task(exporter.look())
    for number, faults in zip(range(rounds), itertools.cycle(TROUBLES), strict=False):
        await trouble(simulator, faults, TROUBLE * seconds)
        # Every other time with other settings for all, so that all is replaced.
        text = exporter.text.replace(exporter.interval, exporter.other_interval) if number % 2 else exporter.text
        exporter.file.write_text(text, encoding="utf-8")
        await exporter.reload()
        await asyncio.sleep(RECOVERY * seconds)
        if looking.done():
            looking.result()
        taken.append(exporter.takes())
        what = ", ".join(f"{value:.0f} {unit}" for unit, value in taken[-1].items())
        print(f"{unit} {number + 1}, after {', '.join(fault.kind for fault in faults)}: {what}", flush=True)
    looking.cancel()
    return taken


@dataclass(frozen=True)
class Soaked:
    """An exporter and its configuration; `look` scrapes and requests the status until it is cancelled."""

    file: Path
    text: str
    interval: str
    other_interval: str
    look: Callable[[], Coroutine[None, None, None]]
    reload: Callable[[], Awaitable[None]]
    takes: Callable[[], dict[str, float]]


async def live_really(minutes: int) -> list[dict[str, float]]:
    async with Simulator(default_regions(2), projects=default_projects(1)) as simulator:
        with tempfile.TemporaryDirectory(prefix="hpc-exporter-soak-") as name:
            text = settings(simulator, Path(name), "250ms", "2s")
            async with exporting(text, Path(name)) as exporter:

                async def reload() -> None:
                    exporter.process.send_signal(signal.SIGHUP)

                soaked = Soaked(
                    *(exporter.file, text, "250ms", "251ms", lambda: look_at(exporter.url), reload),
                    lambda: takes(str(exporter.process.pid)),
                )
                return await live_through(minutes, simulator, soaked, unit="minute", seconds=1.0)


async def live_virtually(hours: int) -> list[dict[str, float]]:
    logging.setup("error")
    clock = virtualtime.VirtualClock()
    regions, projects = default_regions(2, truth_kept_for=3600.0), default_projects(1, truth_kept_for=3600.0)
    simulator = Simulator(regions, projects=projects, clock=clock.monotonic, wall_clock=clock.now)
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-soak-") as name:
        async with simulator:
            file = Path(name, "exporter.yml")
            text = settings(simulator, Path(name), "5m", "15s")
            file.write_text(text, encoding="utf-8")  # noqa: ASYNC240 - of a moment in which nothing else happens
            app = Application(Options(file), clock)
            await app.start()

            async def look() -> None:
                for compress in itertools.cycle((True, False)):
                    await app.metrics(Format.TEXT, compress=compress)
                    await app.status_as(len, Selection())
                    await asyncio.sleep(120)

            def all_that_it_takes() -> dict[str, float]:
                return takes() | {"tasks": float(len(asyncio.all_tasks()))}

            soaked = Soaked(file, text, "5m", "6m", look, app.reload, all_that_it_takes)
            taken = await live_through(hours, simulator, soaked, unit="hour", seconds=60.0)
            await app.stop()
    return taken


async def trouble(simulator: Simulator, faults: tuple[Fault, ...], seconds: float) -> None:
    everywhere = [api.faults for api in simulator.apis]
    for orders, fault in itertools.product(everywhere, faults):
        orders.add(fault)
    await asyncio.sleep(seconds)
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
    virtual, numbers = "--virtual" in arguments, [int(each) for each in arguments if each != "--virtual"]
    rounds = numbers[0] if numbers else DEFAULT_HOURS if virtual else DEFAULT_MINUTES
    compared = ROUNDS * len(TROUBLES)
    if rounds <= compared:
        sys.stderr.write(f"at least {compared + 1}: the first {compared} are what it is compared with\n")
        return 2
    print_machine()
    problems = grown(virtualtime.run(live_virtually(rounds)) if virtual else asyncio.run(live_really(rounds)))
    print("\n".join(problems) or "it stays as it is")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
