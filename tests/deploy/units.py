"""The unit files, read the way that systemd reads them, as far as ours go."""

import shlex
import string
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICE = FOLDER / "hpc-exporter.service"
SHARD = FOLDER / "hpc-exporter@.service"
SOCKET = FOLDER / "hpc-exporter.socket"
INSTALLED = "/opt/hpc-exporter/bin/hpc-exporter"
CONFIGURATION = "/etc/hpc-exporter/exporter.yml"


def settings(unit: Path) -> list[tuple[str, str]]:
    """Every setting, in order: a name can stand there several times."""
    lines = [line for line in unit.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in (line.partition("=") for line in lines)]


def setting(unit: Path, name: str) -> str:
    """Return the last value of a setting, which is the one that counts."""
    return dict(settings(unit))[name]


def command(unit: Path, environment: Mapping[str, str], instance: str = "") -> list[str]:
    """Return the command of ExecStart.

    `$NAME` as a word of its own becomes words, `${NAME}` a part of a word, `%i` the instance.
    """
    words: list[str] = []
    for word in setting(unit, "ExecStart").replace("%i", instance).split():
        if word.startswith("$") and not word.startswith("${"):
            words += shlex.split(environment.get(word[1:], ""))
        else:
            words.append(string.Template(word).substitute(environment))
    return words
