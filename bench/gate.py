"""``python -m bench.gate [--write | --base=COMMIT]``: instructions of the hot paths, counted by callgrind.

They are compared with the committed ones, or with those of another commit on this machine.

Two processes run the paths, one on each of two processors, and `bench.repeatable` takes away what would differ from run to run:
clock, threads, other processes and the load of the machine have no part in a count. It depends on the build of Python and on the
compiled libraries: `counts.json` has counts for each Python, and one that is not in it is not judged against them. For Linux on
x86-64, with valgrind, which shows the same processor to all that it runs wherever there is AVX2.
"""

import ctypes
import gc
import importlib
import io
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

TREE: Final = Path(__file__).parent.parent
COUNTS: Final = Path(__file__).with_name("counts.json")
TOLERANCE: Final = 0.05
PYTHON: Final = ", ".join(
    (platform.python_version(), *platform.python_build(), platform.python_compiler(), platform.machine())
)
USERS, INTERVAL = 100, 60.0
STARTED, SERIES, SCRAPES = 300, 20_000, 4

# A request to valgrind is code that does nothing elsewhere (valgrind.h): mov rax, rdi; xor edx, edx; rol rdi by 3, 13, 61 and
# 51; xchg rbx, rbx; mov rax, rdx; ret.
REQUEST: Final = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
# callgrind.h: the letters C and T, and a number.
ZERO, DUMP_AT, START, STOP = (0x43540000 + number for number in (1, 3, 4, 5))


class Callgrind:
    """The callgrind that this process runs under."""

    def __init__(self) -> None:
        self._code = mmap.mmap(-1, len(REQUEST), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._call = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(address)

    def _request(self, number: int, text: bytes = b"") -> None:
        name = ctypes.create_string_buffer(text)
        self._call((ctypes.c_ulong * 6)(number, ctypes.addressof(name)))

    @contextmanager
    def counted(self, path: str, times: int = 1) -> Iterator[None]:
        """Count the instructions of the block, which does one thing `times` times, without the garbage collector's."""
        gc.collect()
        gc.disable()
        self._request(ZERO)
        self._request(START)
        yield
        self._request(STOP)
        self._request(DUMP_AT, f"{path}/{times}".encode())
        gc.enable()


def import_start_and_scrapes() -> None:
    callgrind = Callgrind()
    with callgrind.counted("import of the command serve"):
        importlib.import_module("exporter.cli.serve")
    from bench import repeatable

    repeatable.prepare()
    repeatable.run(start(callgrind))
    repeatable.run(scrapes(callgrind))


def polls_and_tracker() -> None:
    from bench import repeatable
    from bench.upstream import MEMBER_JOBS, QUEUE_JOBS, ChangingRegion, Region

    callgrind = Callgrind()
    repeatable.prepare()
    for path, region, endpoint in (
        ("poll, nothing changed", Region, QUEUE_JOBS),
        ("poll, every value changed", ChangingRegion, QUEUE_JOBS),
        ("poll of a member, jobs changed", ChangingRegion, MEMBER_JOBS),
    ):
        repeatable.run(polls(callgrind, path, region, endpoint))
    observations(callgrind)


# Each is run by a process of its own; under callgrind, each path leaves a file.
PROCESSES: Final = {run.__name__: run for run in (import_start_and_scrapes, polls_and_tracker)}


async def polls(callgrind: Callgrind, path: str, region: Any, endpoint: str) -> None:
    from bench.exporter import polls_of, running
    from bench.upstream import Plan, serving
    from tools.virtualtime import VirtualClock

    clock = VirtualClock(0.0)
    async with (
        serving(region(USERS, 5).answer) as url,
        running(Plan(url, USERS, INTERVAL, endpoint), clock) as app,
    ):
        await clock.sleep(2 * INTERVAL)
        before = polls_of(app, endpoint)
        with callgrind.counted(path, USERS):
            await clock.sleep(INTERVAL)
        assert polls_of(app, endpoint) == before + USERS


async def start(callgrind: Callgrind) -> None:
    from bench.exporter import running
    from bench.upstream import Plan, Region, serving
    from tools.virtualtime import VirtualClock

    async with serving(Region(STARTED, 5).answer) as url:  # not a part of the count
        with callgrind.counted(f"start with {STARTED} users, until polled, and stop"):
            async with running(Plan(url, STARTED, INTERVAL), VirtualClock(0.0)):
                pass


async def scrapes(callgrind: Callgrind) -> None:
    from bench.crowd import Connection, some
    from bench.exporter import serving
    from bench.scrapes import Targets, not_started

    app = not_started()
    targets = Targets(app, SERIES)
    async with serving(app) as url:
        connection = Connection(url)
        await connection.open()
        await some(connection, 2)
        for change in (targets.nothing_changed, targets.one_target_changed):
            with callgrind.counted(f"scrape of {SERIES:,} series, {change.__name__.replace('_', ' ')}", SCRAPES):
                for _ in range(SCRAPES):
                    change()
                    _, worked = await connection.scrape()
                    assert worked


def observations(callgrind: Callgrind) -> None:
    from bench.tracking import JOBS, KEY, listing
    from exporter.tracking import Tracker

    tracker = Tracker()
    tracker.observe(KEY, listing(), 0.0, INTERVAL)
    for polls, (change, jobs) in enumerate((("nothing", listing()), ("one in ten", listing(turned=JOBS // 10))), 1):
        tracker.take_batch()
        with callgrind.counted(f"tracker, {JOBS:,} jobs, {change} changed"):
            tracker.observe(KEY, jobs, polls * INTERVAL, INTERVAL)


def counts(tree: Path) -> dict[str, int]:
    """Instructions by path, of the sources in a folder. Raises CalledProcessError if one of its processes failed."""
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-gate-") as folder:
        # Else the first one would count the compilation of modules, unless something else had left their bytecode.
        run_all([], tree, folder)
        # Each in a file of its own, with the number of its process.
        run_all(
            ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/%p"],
            tree,
            folder,
        )
        return dict(sorted(count_of(file.read_text(encoding="utf-8")) for file in Path(folder).glob("*.*")))


def run_all(under: Sequence[str], tree: Path, folder: str) -> None:
    """Run all processes at the same time, under another program."""
    # A large block is a mapping of its own, however the heap looks: else some are copied where they grow, and some are not.
    environment = {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "TMPDIR": folder,
        "PYTHONHASHSEED": "0",
        "MALLOC_MMAP_THRESHOLD_": str(128 * 1024),
    }
    commands = [[*under, sys.executable, "-m", "bench.gate", name] for name in PROCESSES]
    running = [subprocess.Popen(command, cwd=tree, env=environment) for command in commands]  # noqa: S603 - ourselves
    ended = [process.wait() for process in running]
    for command, status in zip(commands, ended, strict=True):
        if status:
            raise subprocess.CalledProcessError(status, command)


def counts_at(commit: str) -> dict[str, int]:
    """Instructions by path at a commit, by its own bench/."""
    archive = subprocess.run(["git", "archive", commit], cwd=TREE, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603, S607 - ours
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-base-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")
        return counts(Path(folder))


def count_of(text: str) -> tuple[str, int]:
    """Return the path and the count of a file of callgrind."""
    found = re.search(r"Client Request: (.+)/(\d+)\n.*^totals: (\d+)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, text[:1000]
    return found[1], int(found[3]) // int(found[2])


def judged(found: dict[str, int], before: dict[str, int]) -> bool:
    """Print each count and its change; whether none is larger by more than the tolerance."""
    worse = False
    for path, count in found.items():
        change = count / before[path] - 1 if path in before else None
        worse |= change is not None and change > TOLERANCE
        print(f"{path:<60} {count:>15,}  {'new' if change is None else f'{change:+.2%}'}")
    return not worse


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in PROCESSES:
        PROCESSES[arguments[0]]()
        return 0
    known: dict[str, dict[str, int]] = json.loads(COUNTS.read_text(encoding="utf-8"))
    if not arguments and PYTHON not in known:
        print(
            f"bench-gate: not judged, no counts for {PYTHON}; make bench-gate WRITE=1 adds them, BASE=HEAD^ does without"
        )
        return 0
    if shutil.which("valgrind", path=os.defpath) is None:
        sys.stderr.write("bench-gate: needs valgrind, which is not installed\n")
        return 1
    found = counts(TREE)
    if arguments == ["--write"]:
        known[PYTHON] = found
        COUNTS.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    try:
        before = counts_at(arguments[0].removeprefix("--base=")) if arguments else known[PYTHON]
    except subprocess.CalledProcessError as error:
        print(f"bench-gate: not judged, the base cannot be counted in the same way: {error}")
        return 0
    fine = judged(found, before)
    if not fine:
        print("bench-gate: too many more instructions; if they are worth it, make bench-gate WRITE=1")
    return not fine


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
