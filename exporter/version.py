"""Which exporter this is: what `--version`, `hpc_exporter_build_info`, the log and the status page tell."""

import platform
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from exporter import __version__

UNKNOWN: Final = "unknown"
# What revision.txt holds until a build, or `git archive`, puts the commit there.
PLACEHOLDER: Final = "$Format:"


def version_text() -> str:
    """The answer to --version, in the shape of Prometheus' own programs."""
    return (
        f"hpc-exporter, version {__version__} (revision: {revision()})\n  python version: {platform.python_version()}"
    )


@cache
def revision() -> str:
    """The commit that this program was built from; in a checkout the one that it is at; "unknown" where nothing tells."""
    package = resources.files("exporter")
    return told_by_build(package.joinpath("revision.txt")) or head_of(Path(str(package)).parent) or UNKNOWN


def told_by_build(file: Traversable) -> str | None:
    """What a build wrote."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        return None
    return None if text.startswith(PLACEHOLDER) else text or None


def head_of(checkout: Path) -> str | None:
    """The commit that a checkout is at, from git's files: `--version` should not need git, nor wait for it."""
    try:
        git = checkout / ".git"
        if git.is_file():
            git = checkout / first_line(git).removeprefix("gitdir: ")
        head = first_line(git / "HEAD")
        return commit_of(git, head.removeprefix("ref: ")) if head.startswith("ref: ") else head
    except (OSError, UnicodeError):
        return None


def commit_of(git: Path, reference: str) -> str | None:
    """The commit of a branch, which git keeps in a file of its own or in one for all. Raises OSError."""
    shared = git / "commondir"
    common = git / first_line(shared) if shared.exists() else git
    if (common / reference).exists():
        return first_line(common / reference)
    for line in (common / "packed-refs").read_text(encoding="utf-8").splitlines():
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit
    return None


def first_line(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("\n")[0].strip()
