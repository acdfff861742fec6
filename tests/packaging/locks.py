"""The lock files and what they are to satisfy."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Pin:
    """One package of a lock file."""

    requirement: Requirement
    hashes: tuple[str, ...]

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version


@dataclass(frozen=True)
class Lock:
    """One lock file. A package may be in it more than once, for different platforms."""

    pins: tuple[Pin, ...]

    @property
    def versions(self) -> dict[str, set[str]]:
        """Of each package, on any platform."""
        found: dict[str, set[str]] = {}
        for pin in self.pins:
            found.setdefault(canonicalize_name(pin.requirement.name), set()).add(pin.version)
        return found

    @property
    def versions_here(self) -> dict[str, str]:
        """Of what is installed on this platform."""
        return {
            canonicalize_name(pin.requirement.name): pin.version
            for pin in self.pins
            if pin.requirement.marker is None or pin.requirement.marker.evaluate()
        }


@cache
def locked(name: str) -> Lock:
    """Return the lock file requirements/NAME.txt."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    return Lock(tuple(pin_of(line) for line in text.splitlines() if line.strip() and not line.startswith("#")))


def pin_of(line: str) -> Pin:
    requirement, *_ = re.split(r"\s--hash=", line)
    return Pin(Requirement(requirement.strip()), tuple(re.findall(r"--hash=(\S+)", line)))


@cache
def project() -> dict[str, Any]:
    """pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def wanted(name: str) -> list[Requirement]:
    """Return the requirements of pyproject.toml for the lock file of the same name."""
    groups = project()["dependency-groups"]
    runtime = project()["project"]["dependencies"]
    texts = {
        "runtime": runtime,
        "build": groups["build"],
        "dev": [*runtime, *groups["build"], *(each for each in groups["dev"] if isinstance(each, str))],
    }[name]
    return [Requirement(text) for text in texts]
