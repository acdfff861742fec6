"""Mutation testing of a package with the tests of its own: ``make mutants PACKAGE=tracking SAMPLE=200``.

mutmut makes the mutants, all in one copy of the package, behind a switch. The tests are collected once; each mutant is a
fork of that process, in which the tests run that call its function, quick ones first, until one fails.

Results stay in build/mutants/PACKAGE: a run that was interrupted goes on where it was, and after a change only what it
concerns runs again. A sample is the same one each time; another seed draws another one, in which tests are judged that
were made for the survivors of the first. mutmut leaves decorated functions and module level code as they are.
"""

import argparse
import ctypes
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from math import sqrt
from pathlib import Path
from typing import Final

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from mutmut.mutation.data import SourceFileMutationData  # type: ignore[import-not-found]
from mutmut.mutation.diff_apply import get_diff_for_mutant  # type: ignore[import-not-found]
from mutmut.mutation.trampoline import set_mutant_under_test  # type: ignore[import-not-found]
from mutmut.state import state  # type: ignore[import-not-found]
from mutmut.utils.file_utils import setup_source_paths, walk_mutatable_files  # type: ignore[import-not-found]

ROOT: Final = Path(__file__).parent.parent
MEMORY: Final = "tests/metrics/test_exposition.py::test_memory_does_not_grow_with_the_number_of_polls"
PROCESSES: Final = (
    "a_process_killed_at_any_moment_loses_and_doubles_nothing",
    "a_large_listing_does_not_block_the_event_loop",
)
# The source files, separated by blanks, and the tests of each package, without those that take too long to be repeated.
PACKAGES: Final = {
    "tracking": (
        "exporter/tracking/*",
        [
            "tests/tracking",
            *(f"--ignore=tests/tracking/{name}.py" for name in ("test_accuracy", "test_bounds_logs")),
            *(f"--deselect=tests/tracking/test_service.py::test_{name}" for name in PROCESSES),
        ],
    ),
    "polling": ("exporter/polling/*", ["tests/polling"]),
    "http": ("exporter/http/*", ["tests/http"]),
    "metrics": ("exporter/metrics/*", ["tests/metrics", f"--deselect={MEMORY}"]),
    "collector": (
        "exporter/sources/collector.py exporter/sources/decoding.py",
        ["tests/sources/test_collector.py", "tests/sources/test_one_file.py"],
    ),
}
COPIED: Final = ("tests", "bench", "config", "deploy", "docs", "grafana", "reference", "tools")
SETTINGS: Final = """
[tool.mutmut]
source_paths = ["exporter"]
only_mutate = {source}
track_dependencies = false
# The words of log lines are promised to no one; a cast does nothing.
do_not_mutate_patterns = ['\\blog\\.\\w+', '\\bcast\\(']
"""
PYTEST: Final = [
    "--rootdir=.",
    "-q",
    "-s",
    "-p",
    "no:cacheprovider",
    "--timeout=0",
    "-Wignore:Module already imported",
]
# Exit statuses of a mutant's tests, as mutmut shows them. UNCLEAR: the process ended in another way.
SURVIVED, KILLED, WITHOUT_TESTS, UNCLEAR, TIMEOUT = 0, 1, 33, 35, 36
# Tests that take more seconds are left out: they would be most of the time that mutants take.
LONGEST: Final = 1.5
# A mutant's tests hang beyond this many times the seconds that all of them took without it, and the longest, and a few.
SLOWER, MUCH_SLOWER, SOME_SECONDS = 2, 10, 5.0
MEMORY_LIMIT: Final = 4 * 1024**3
# Of prctl(2): the signal that a process gets when its parent ends.
PR_SET_PDEATHSIG: Final = 1


def prepare(folder: Path, package: str) -> None:
    """Copy the files that mutants and their tests need; make the mutants."""
    source, _ = PACKAGES[package]
    mutated = folder / "mutants"
    for name, into in (("exporter", folder), *((name, mutated) for name in COPIED)):
        shutil.rmtree(into / name, ignore_errors=True)
        # With new times: mutmut makes mutants anew, and keeps the results of functions that are as they were.
        shutil.copytree(
            ROOT / name, into / name, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copy
        )
    # Files beside code: mutmut writes all that is code.
    shutil.copytree(
        folder / "exporter", mutated / "exporter", ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True
    )
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8") + SETTINGS.format(source=json.dumps(source.split()))
    for into in (folder, mutated):
        (into / "pyproject.toml").write_text(project, encoding="utf-8")
    os.chdir(folder)
    # It reads its settings from there when it is loaded.
    from mutmut.__main__ import create_mutants  # type: ignore[import-not-found]  # noqa: PLC0415

    with redirect_stdout(StringIO()):
        create_mutants(1)


class Results:
    """The exit status of the tests of each mutant, None where they did not run yet. Kept in mutmut's files."""

    def __init__(self) -> None:
        self._files: dict[str, SourceFileMutationData] = {}
        for path in walk_mutatable_files():
            data = SourceFileMutationData(path=path)
            data.meta_path = data.meta_path.absolute()
            data.load()
            self._files |= dict.fromkeys(data.exit_code_by_key, data)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __getitem__(self, name: str) -> int | None:
        status: int | None = self._files[name].exit_code_by_key[name]
        return status

    def __setitem__(self, name: str, status: int) -> None:
        self._files[name].exit_code_by_key[name] = status
        self._files[name].save()

    def difference(self, name: str) -> str:
        return str(get_diff_for_mutant(name, path=self._files[name].path))


def elapsed(process: int | str = "self") -> float:
    """Return seconds that go by, without those in which a process could have run and others had the processors."""
    waited = int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[1])
    return time.monotonic() - waited / 1e9


class Fork:
    """A process of its own that calls `function` and ends with the status that this returns."""

    def __init__(self, function: Callable[[], int], seconds: float) -> None:
        self._limit = seconds
        # A test that was killed leaves its files.
        self._folder = tempfile.mkdtemp(prefix="mutant")
        self._process = os.fork()
        if not self._process:
            status = UNCLEAR
            try:
                os.setsid()
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
                tempfile.tempdir = os.environ["TMPDIR"] = self._folder
                status = function()
            except BaseException:  # noqa: BLE001 - nothing may get back into the loop of the process that was forked
                traceback.print_exc()
            finally:
                os._exit(status)
        self._began = elapsed(self._process)

    def status(self) -> int | None:
        """Return the status that it ended with, None while it runs. It is killed where it takes too long."""
        process, status = os.waitpid(self._process, os.WNOHANG)
        if process:
            self._clean()
            return max(os.waitstatus_to_exitcode(status), -1)
        if elapsed(self._process) - self._began < self._limit:
            return None
        self.kill()
        return TIMEOUT

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        self._clean()

    def _clean(self) -> None:
        # Processes that its tests started.
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)


class Runner:
    """A plugin of pytest that runs mutants instead of tests."""

    def __init__(self, results: Results, names: list[str], jobs: int) -> None:
        self._results, self._names, self._jobs = results, names, jobs
        self._tests: dict[str, list[tuple[float, pytest.Item]]] = defaultdict(list)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._find_out(session.items)
        waiting = [name for name in self._names if self._results[name] in (None, SURVIVED, WITHOUT_TESTS, UNCLEAR)]
        done, running = len(self._names) - len(waiting), dict[str, Fork]()
        try:
            while waiting or running:
                while waiting and len(running) < self._jobs:
                    name = waiting.pop()
                    running[name] = self._start(name)
                for name, fork in list(running.items()):
                    status = fork.status()
                    if status is not None:
                        del running[name]
                        done += 1
                        self._results[name] = status
                        print(f"{done}/{len(self._names)} {status} {name}", flush=True)
                time.sleep(0.01)
        finally:
            for fork in running.values():
                fork.kill()
        return True

    def _find_out(self, items: list[pytest.Item]) -> None:
        """Note which tests call which function, and how long they take. Exits where one fails."""
        with tempfile.NamedTemporaryFile("r") as file:
            fork = Fork(lambda: trace(items, Path(file.name)), 3600)
            while (status := fork.status()) is None:
                time.sleep(0.1)
            if status:
                pytest.exit(f"a test fails without a mutant:\n{file.read()}", returncode=1)
            for name, (seconds, functions) in json.load(file).items():
                test = next(item for item in items if item.nodeid == name)
                for function in functions if seconds < LONGEST else ():
                    self._tests[function].append((seconds, test))

    def _start(self, name: str) -> Fork:
        timed = sorted(self._tests[name.partition("__mutmut_")[0]], key=lambda test: test[0])
        tests, seconds = [test for _, test in timed], [seconds for seconds, _ in timed]
        limit = SOME_SECONDS + SLOWER * sum(seconds) + MUCH_SLOWER * max(seconds, default=0.0)
        return Fork(lambda: run(name, tests), limit)


def trace(items: list[pytest.Item], file: Path) -> int:
    """Write into the file how many seconds each test takes, and which functions with mutants it calls."""
    silence()
    set_mutant_under_test("stats")
    # Processes that tests start need not note anything.
    del os.environ["MUTANT_UNDER_TEST"]
    found = {}
    calls = state()._stats  # noqa: SLF001 - where functions with mutants note that they are called
    for item, following in zip(items, [*items[1:], None], strict=True):
        began = elapsed()
        calls.clear()
        reports = runtestprotocol(item, nextitem=following, log=False)
        for report in reports:
            if report.failed:
                file.write_text(f"{item.nodeid}: {report.longreprtext}", encoding="utf-8")
                return KILLED
        found[item.nodeid] = elapsed() - began, sorted(calls)
    file.write_text(json.dumps(found), encoding="utf-8")
    return SURVIVED


def silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)


def run(name: str, tests: list[pytest.Item]) -> int:
    """Return whether one of these tests fails with the mutant."""
    if not tests:
        return WITHOUT_TESTS
    silence()
    set_mutant_under_test(name)
    for test, following in zip(tests, [*tests[1:], None], strict=True):
        if any(report.failed for report in runtestprotocol(test, nextitem=following, log=False)):
            return KILLED
    return SURVIVED


def bounds(killed: int, tested: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % for a share, in percent."""
    share, z = killed / tested, 1.96
    middle, width = share + z * z / (2 * tested), z * sqrt(share * (1 - share) / tested + z * z / (4 * tested**2))
    return tuple(100 * (middle + sign * width) / (1 + z * z / tested) for sign in (-1, 1))  # type: ignore[return-value]


def report(package: str, results: Results, names: list[str]) -> None:
    """Print the mutants that survived, and the share that did not."""
    found = {name: results[name] for name in names if results[name] not in (None, UNCLEAR)}
    for name in names:
        if results[name] in (SURVIVED, WITHOUT_TESTS, UNCLEAR):
            print(f"# {name}: {results[name]}", results.difference(name), sep="\n")
    counts = Counter(found.values())
    killed = counts[KILLED] + counts[TIMEOUT]
    if found:
        low, high = bounds(killed, len(found))
        print(
            f"{package}: {killed} of {len(found)} mutants killed, {100 * killed / len(found):.1f} % ({low:.1f} to {high:.1f}), "
            f"{counts[TIMEOUT]} of them by time; {counts[WITHOUT_TESTS]} that no test calls; there are {len(list(results))}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--only", default="", help="only mutants with this in their names")
    parser.add_argument("--sample", type=int, help="the number of mutants to run; all of them without it")
    parser.add_argument("--seed", type=int, default=0, help="draws another sample")
    parser.add_argument("--jobs", type=int, default=1, help="the number of mutants that run at the same time")
    arguments = parser.parse_args()
    folder = ROOT / "build/mutants" / arguments.package
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder, arguments.package)
    results = Results()
    names = [name for name in results if arguments.only in name]
    if arguments.sample:
        names = random.Random(arguments.seed).sample(names, min(arguments.sample, len(names)))  # noqa: S311 - the same each time
    setup_source_paths()
    os.chdir("mutants")
    # A failure need not be made small, and the same happens to each mutant.
    hypothesis.settings.register_profile(
        "mutants",
        deadline=None,
        database=None,
        derandomize=True,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    pytest.main(
        [*PYTEST, "--hypothesis-profile=mutants", *PACKAGES[arguments.package][1]],
        [Runner(results, names, arguments.jobs)],
    )
    os.chdir(folder)
    report(arguments.package, results, names)


if __name__ == "__main__":
    main()
