"""One answer to which exporter this is, wherever it was taken from."""

import re
import subprocess
from pathlib import Path

import pytest

from exporter import __version__
from exporter.version import head_of, revision, told_by_build, version_text
from tests.e2e.real import real_part

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    command = (real_part("git", "git"), *identity, *arguments)
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603 - our own words
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=first")
    return folder


def test_the_text_is_in_the_shape_of_prometheus_programs() -> None:
    first, second = version_text().splitlines()
    assert first == f"hpc-exporter, version {__version__} (revision: {revision()})"
    assert re.fullmatch(r"  python version: 3\.\d+\.\S+", second)


def test_a_build_tells_its_commit(tmp_path: Path) -> None:
    file = tmp_path / "revision.txt"
    file.write_text(f"{COMMIT}-dirty\n", encoding="utf-8")
    assert told_by_build(file) == f"{COMMIT}-dirty"


@pytest.mark.parametrize("content", [b"$Format:%H$\n", b"\n", b"\xff\xfe", None])
def test_what_no_build_wrote_tells_nothing(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "revision.txt"
    if content is not None:
        file.write_bytes(content)
    assert told_by_build(file) is None


@pytest.mark.parametrize("packed", [False, True])
def test_a_checkout_is_at_its_branch_s_commit(checkout: Path, packed: bool) -> None:
    """Also where git keeps all branches in one file."""
    if packed:
        git(checkout, "pack-refs", "--all")
    assert head_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_checkout_may_be_on_no_branch(checkout: Path) -> None:
    git(checkout, "checkout", "--quiet", "--detach")
    assert head_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_checkout_may_be_a_further_worktree(checkout: Path) -> None:
    other = checkout.parent / "other"
    git(checkout, "worktree", "add", "--quiet", str(other))
    git(other, "commit", "--quiet", "--allow-empty", "--message=second")
    assert head_of(other) == git(other, "rev-parse", "HEAD") != head_of(checkout)


def test_without_a_commit_nothing_is_told(tmp_path: Path) -> None:
    assert head_of(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert head_of(tmp_path) is None
