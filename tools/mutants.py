"""Mutation testing of a package with the tests of its own, by mutmut: ``make mutants PACKAGE=tracking SAMPLE=200``.

Results stay in build/mutants/PACKAGE: a run that was interrupted goes on where it was, and after a change only what it
concerns runs again. Without SAMPLE all mutants run, which takes hours; a sample is the same one each time. mutmut leaves
decorated functions and module level code as they are.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
from math import sqrt
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
MEMORY: Final = "tests/metrics/test_exposition.py::test_memory_does_not_grow_with_the_number_of_polls"
# The source files and the tests of each package, without those that take too long to be repeated.
PACKAGES: Final = {
    "tracking": ("exporter/tracking/*", ["tests/tracking", "--ignore=tests/tracking/test_accuracy.py"]),
    "polling": ("exporter/polling/*", ["tests/polling"]),
    "http": ("exporter/http/*", ["tests/http"]),
    "metrics": ("exporter/metrics/*", ["tests/metrics", f"--deselect={MEMORY}"]),
    "collector": (
        "exporter/sources/collector.py",
        ["tests/sources/test_collector.py", "tests/sources/test_one_file.py"],
    ),
}
COPIED: Final = ("tests", "bench", "config", "deploy", "docs", "grafana", "reference", "tools")
SETTINGS: Final = """
[tool.mutmut]
source_paths = ["exporter"]
only_mutate = [{source}]
also_copy = {copied}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=3000"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
track_dependencies = false
# Tests of one run must not see what those of another left behind.
process_isolation = "forkserver"
# The words of log lines are promised to no one; a cast does nothing.
do_not_mutate_patterns = ['\\blog\\.\\w+', '\\bcast\\(']
"""
SURVIVED, WITHOUT_TESTS = 0, 33


def prepare(folder: Path, package: str) -> None:
    """Copy what mutants and their tests need."""
    source, tests = PACKAGES[package]
    for name in ("exporter", *COPIED):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    settings = SETTINGS.format(source=json.dumps(source), copied=json.dumps(COPIED), tests=json.dumps(tests))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (folder / "pyproject.toml").write_text(project + settings, encoding="utf-8")


def results(folder: Path) -> dict[str, int | None]:
    """Return the exit status of the tests of each mutant, None where they did not run yet."""
    found: dict[str, int | None] = {}
    for path in sorted((folder / "mutants").rglob("*.meta")):
        found |= json.loads(path.read_bytes())["exit_code_by_key"]
    return found


def mutmut(folder: Path, *names: str) -> None:
    command = [sys.executable, "-m", "mutmut", "run", "--max-children=1", *names]
    with (folder / "mutmut.log").open("ab") as log:
        subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False)  # noqa: S603 - mutmut


def bounds(killed: int, tested: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % for a share, in percent."""
    share, z = killed / tested, 1.96
    middle, width = share + z * z / (2 * tested), z * sqrt(share * (1 - share) / tested + z * z / (4 * tested**2))
    return tuple(100 * (middle + sign * width) / (1 + z * z / tested) for sign in (-1, 1))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("--sample", type=int, help="the number of mutants to run; all of them without it")
    arguments = parser.parse_args()
    folder = ROOT / "build/mutants" / arguments.package
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder, arguments.package)
    # Nothing has this name: mutants are made, and it is noted which test calls which function.
    mutmut(folder, "none")
    names = sorted(results(folder))
    if not names:
        sys.exit(f"no mutants were made: see {folder / 'mutmut.log'}")
    if arguments.sample:
        names = random.Random(0).sample(names, min(arguments.sample, len(names)))  # noqa: S311 - the same each time
    # Those that survived run again: there may be new tests.
    again = (None, SURVIVED, WITHOUT_TESTS)
    open_ones = [name for name, status in results(folder).items() if status in again and name in names]
    if open_ones:
        mutmut(folder, *open_ones)
    found = {name: status for name, status in results(folder).items() if name in names and status is not None}
    survivors = [name for name, status in found.items() if status in (SURVIVED, WITHOUT_TESTS)]
    killed = len(found) - len(survivors)
    for name in survivors:
        subprocess.run([sys.executable, "-m", "mutmut", "show", name], cwd=folder, check=False)  # noqa: S603 - mutmut
    if found:
        low, high = bounds(killed, len(found))
        print(
            f"{arguments.package}: {killed} of {len(found)} mutants killed, {100 * killed / len(found):.1f} % "
            f"({low:.1f} to {high:.1f}); there are {len(results(folder))}"
        )


if __name__ == "__main__":
    main()
