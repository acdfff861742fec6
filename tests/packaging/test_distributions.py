"""The files of `make dist` are whole, name their commit, and work without a checkout."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from exporter import __version__
from tests.e2e.real import real_part
from tests.packaging.locks import ROOT, locked

# Installing takes its time where nothing was downloaded before.
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
UNREACHABLE = ("NewConnectionError", "ConnectTimeoutError", "ProxyError", "Network is unreachable")


@dataclass(frozen=True)
class Made:
    """The files of `make dist`."""

    folder: Path
    # Of an environment with the wheel, and with what that needs.
    installed: Path

    def one(self, pattern: str) -> Path:
        (found,) = self.folder.glob(pattern)
        return found

    @property
    def wheel(self) -> Path:
        return self.one("*.whl")

    @property
    def sdist(self) -> Path:
        return self.one("*.tar.gz")


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Return the standard output of a command that has to work, in an environment of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV", "MAKE"))}
    done = subprocess.run(  # noqa: S603 - our own commands
        [*map(str, command)], cwd=folder, env={**kept, **environment}, check=False, capture_output=True, text=True
    )
    if any(sign in done.stderr for sign in UNREACHABLE) and os.environ.get("HPC_EXPORTER_REQUIRE_REAL_PARTS") != "1":
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """As a release is made, with a commit's name that can be told from others."""
    folder = tmp_path_factory.mktemp("dist")
    made = Made(folder / "dist", folder / "installed")
    run(
        # The environment of the tests is there, whatever its files' dates say.
        *(real_part("make", "make"), "--silent", "--old-file", f"{sys.prefix}/dev.done", "pyz"),
        *(f"VENV={sys.prefix}", f"DIST={made.folder}", f"INSTALLED={made.installed}"),
        folder=ROOT,
        HPC_EXPORTER_REVISION=COMMIT,
    )
    return made


def in_wheel(made: Made) -> set[str]:
    return set(zipfile.ZipFile(made.wheel).namelist())


def in_sdist(sdist: Path) -> dict[str, bytes]:
    """Content by path in the archive's one folder; of links, of what they lead to there."""
    with tarfile.open(sdist) as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()  # type: ignore[union-attr]  # it is a file
            for member in archive
            if member.isfile() or member.issym()
        }


def kept_by_git() -> set[str]:
    """Return the files of the checkout that git knows and that are there."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = run(real_part("git", "git"), "ls-files", "-z", folder=ROOT).split("\0")
    return {name for name in listed if name and (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_the_package(made: Made) -> None:
    """Code, pages, styles, translations, icons and the mark of types."""
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "exporter").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name for name in in_wheel(made) if name.startswith("exporter/")} == package
    assert {"exporter/py.typed", "exporter/web/texts.json", "exporter/web/static/icon.svg"} < package


def test_the_wheel_brings_what_goes_with_it(made: Made) -> None:
    """The example, its schema, the rules and the dashboards, in the environment's share/hpc-exporter."""
    share = made.installed / "share" / "hpc-exporter"
    sources = {
        "exporter.example.yml": ROOT / "config/exporter.example.yml",
        "exporter.schema.json": ROOT / "config/exporter.schema.json",
        **{f"rules/{path.name}": path for path in (ROOT / "config/rules").iterdir()},
        **{
            f"dashboards/{path.relative_to(ROOT / 'grafana/provisioned').as_posix()}": path
            for path in (ROOT / "grafana/provisioned").rglob("*.json")
        },
    }
    brought = {path.relative_to(share).as_posix() for path in share.rglob("*") if path.is_file()}
    assert brought == sources.keys()
    assert all((share / name).read_bytes() == path.read_bytes() for name, path in sources.items())


def test_the_command_in_one_file_works_in_an_empty_environment(made: Made, tmp_path: Path) -> None:
    """As on a login node, where nothing can be installed."""
    empty = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"}
    said = subprocess.run(  # noqa: S603 - our own command
        [made.one("*.pyz"), "help"], cwd=tmp_path, env=empty, check=True, capture_output=True, text=True
    )
    assert said.stdout.startswith("usage: hpc-exporter COMMAND")


def test_the_sdist_has_what_git_has_and_nothing_that_lies_beside_it(made: Made) -> None:
    """A configuration with its token, say."""
    kept = kept_by_git()
    packed = in_sdist(made.sdist).keys() - {"PKG-INFO"}
    assert kept - packed == set(), "name them in pyproject.toml's tool.hatch.build.targets.sdist"
    # There may be files that git does not know yet; those that belong there are in the sdist.
    strays = {name for name in packed - kept if "/" not in name or name.startswith("config/")}
    assert strays <= {"hatch_build.py"}


def test_the_sdist_alone_gives_the_same_wheel_and_itself(made: Made, tmp_path: Path) -> None:
    """Byte by byte, in another folder, at another time and without being told the commit."""
    with tarfile.open(made.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-d", tmp_path / "again", folder=unpacked)
    for first in (made.wheel, made.sdist):
        assert (tmp_path / "again" / first.name).read_bytes() == first.read_bytes(), first.name


def test_a_checkout_s_build_finds_the_commit_itself(tmp_path: Path) -> None:
    """With a mark where files differ from it."""
    kept_by_git()
    command = (sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path)
    run(*command, folder=ROOT)
    told = in_sdist(next(tmp_path.iterdir()))["exporter/revision.txt"].decode().strip()
    assert told.removesuffix("-dirty") == run(real_part("git", "git"), "rev-parse", "HEAD", folder=ROOT).strip()


def test_an_archive_by_git_tells_its_commit(tmp_path: Path) -> None:
    """That is what code hosts offer as the sources of a release."""
    kept_by_git()
    tree = tmp_path / "tree.tar"
    run(real_part("git", "git"), "archive", "--output", tree, "HEAD", "exporter/revision.txt", folder=ROOT)
    with tarfile.open(tree) as archive:
        content = archive.extractfile("exporter/revision.txt").read()  # type: ignore[union-attr]  # it is a file
    assert content.decode().strip() == run(real_part("git", "git"), "rev-parse", "HEAD", folder=ROOT).strip()


def test_the_checksums_are_those_of_all_files(made: Made) -> None:
    lines = made.one("SHA256SUMS").read_text(encoding="utf-8").splitlines()
    expected = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in made.folder.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert len(expected) == 4
    assert {name: digest for digest, name in (line.split() for line in lines)} == expected


def test_the_list_of_ingredients_names_every_one(made: Made) -> None:
    """CycloneDX: each package that runs, in the version of the lock file, with its licence; and nothing else."""
    listed: dict[str, Any] = json.loads(made.one("*.cdx.json").read_text(encoding="utf-8"))
    assert listed["bomFormat"] == "CycloneDX"
    subject = listed["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("hpc-exporter", __version__)
    components = {canonicalize_name(each["name"]): each for each in listed["components"]}
    assert {name: each["version"] for name, each in components.items()} == locked("runtime").versions_here
    assert [name for name, each in components.items() if not each.get("licenses")] == []
    for name, each in components.items():
        assert each["purl"] == f"pkg:pypi/{name}@{each['version']}"
    needs = {each["ref"]: each.get("dependsOn", []) for each in listed["dependencies"]}[subject["bom-ref"]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {canonicalize_name(ref.partition("==")[0]) for ref in needs} == {
        canonicalize_name(need.name)
        for need in map(Requirement, project["dependencies"])
        if need.marker is None or need.marker.evaluate()
    }
    assert str(made.folder.parent) not in json.dumps(listed)


@dataclass(frozen=True)
class Demo:
    """The demo of the installed wheel at work."""

    url: str

    def ask(self, path: str) -> tuple[Mapping[str, str], str]:
        with urllib.request.urlopen(self.url + path, timeout=100) as answer:  # noqa: S310 - on loopback
            return answer.headers, answer.read().decode()


@pytest.fixture(scope="module")
def demo(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("elsewhere")
    command = [str(made.installed / "bin" / "hpc-exporter"), "demo", "--web.listen-address=127.0.0.1:0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield Demo(address_told(process.stdout))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
    assert "Traceback" not in (folder / "log").read_text(encoding="utf-8")


def address_told(output: IO[str] | None) -> str:
    assert output is not None
    return output.readline().split()[-1].rstrip("/")


def test_the_installed_exporter_is_not_the_checkout_s(made: Made, tmp_path: Path) -> None:
    where = run(made.installed / "bin/python", "-c", "import exporter; print(exporter.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(made.installed)


@pytest.mark.parametrize("command", [("hpc-exporter",), ("python", "-m", "exporter")])
def test_the_installed_command_tells_version_and_commit(made: Made, tmp_path: Path, command: tuple[str, ...]) -> None:
    told = run(made.installed / "bin" / command[0], *command[1:], "--version", folder=tmp_path)
    assert told.startswith(f"hpc-exporter, version {__version__} (revision: {COMMIT})\n  python version: 3.")


def test_the_installed_demo_shows_both_vendors(demo: Demo) -> None:
    """And its own commit."""
    up = 'hpc_up{hpc_cluster="kunshan"} 1\n', 'octopus_up{project="driving"} 1\n'
    metrics = until(demo, *up, "hpc_queue_jobs{", "octopus_queue_length{")
    assert f'hpc_exporter_build_info{{version="{__version__}",revision="{COMMIT}",' in metrics


def until(demo: Demo, *lines: str) -> str:
    """Return the metrics, when they have lines that begin so: the targets are polled one after the other."""
    deadline = time.monotonic() + 120
    while True:
        metrics = demo.ask("/metrics")[1]
        if all(f"\n{line}" in metrics for line in lines):
            return metrics
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)


def test_the_installed_demo_has_its_page(demo: Demo) -> None:
    """With every file that the page is made of, in its type."""
    headers, page = demo.ask("/")
    assert headers["Content-Type"].startswith("text/html")
    files = {path.name: path for path in (ROOT / "exporter/web/static").iterdir()}
    assert files
    for name, path in files.items():
        headers, content = demo.ask(f"/static/{name}")
        # The words of the page are served with the collectors' titles.
        assert name.endswith(".json") or content == path.read_text(encoding="utf-8"), name
    assert {"page.css", "page.js"} <= {name for name in files if f"static/{name}" in page}
    assert json.loads(demo.ask("/api/v1/status")[1])["revision"] == COMMIT


def test_the_installed_healthcheck_finds_it_well(made: Made, demo: Demo, tmp_path: Path) -> None:
    address = demo.url.removeprefix("http://")
    python = made.installed / "bin/python"
    told = run(python, "-m", "exporter.healthcheck", f"--web.listen-address={address}", folder=tmp_path)
    assert told == "the exporter answers 200\n"
