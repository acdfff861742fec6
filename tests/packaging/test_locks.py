"""Every installed package is bounded, explained, and locked by hash."""

import re

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.locks import ROOT, locked, project, wanted

LOCKS = ("runtime", "build", "dev")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_satisfies_pyproject(name: str) -> None:
    versions = locked(name).versions
    for requirement in wanted(name):
        found = versions.get(canonicalize_name(requirement.name))
        assert found, f"run make lock: {requirement.name} is not in requirements/{name}.txt"
        for version in found:
            assert requirement.specifier.contains(version, prereleases=True), f"run make lock: {requirement}"


@pytest.mark.parametrize("name", LOCKS)
def test_everything_locked_has_its_hashes(name: str) -> None:
    for pin in locked(name).pins:
        assert pin.hashes, pin.requirement
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in pin.hashes), pin.requirement


@pytest.mark.parametrize("name", ["runtime", "build"])
def test_what_is_tested_is_what_is_run(name: str) -> None:
    """In the same versions, from the same files."""
    tested = {(str(pin.requirement), pin.hashes) for pin in locked("dev").pins}
    assert {(str(pin.requirement), pin.hashes) for pin in locked(name).pins} <= tested


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_has_bounds(name: str) -> None:
    """A next major version is looked at before it is installed."""
    for requirement in wanted(name):
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, requirement


def test_the_build_asks_for_what_is_locked() -> None:
    (asked,) = map(Requirement, project()["build-system"]["requires"])
    assert str(asked) in map(str, wanted("build"))


def test_every_requirement_has_its_reason() -> None:
    """On its line, or on lines of comment before it."""
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    requirements = [number for number, line in enumerate(lines) if re.match(r' +"[A-Za-z][\w.-]*[<>=]', line)]
    assert len(requirements) == len({str(each) for name in LOCKS for each in wanted(name)})
    for number in requirements:
        explained = re.search(r'",\s+# \S', lines[number]) or lines[number - 1].lstrip().startswith("# ")
        assert explained, lines[number]


def test_every_python_that_is_promised_is_tested() -> None:
    """With the lowest and the highest libraries, too; the oldest is what pyproject.toml asks for and the lock files are made for."""
    classifiers = project()["project"]["classifiers"]
    promised = [each.rpartition(" :: ")[2] for each in classifiers if re.search(r":: 3\.\d+$", each)]
    workflow = yaml.load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    jobs = {name: job["strategy"].get("matrix") for name, job in workflow["jobs"].items() if "strategy" in job}
    libraries = ["lowest", "highest"]
    assert jobs == {"test": {"python": promised}, "versions": {"python": promised, "libraries": libraries}}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    cells = " ".join(f"$(python)-{each}" for each in libraries)
    assert f"MATRIX := $(foreach python,{' '.join(promised)},{cells})\n" in makefile
    assert project()["project"]["requires-python"] == f">={promised[0]}"
    assert f"--python-version {promised[0]} " in makefile
