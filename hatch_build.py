"""Writes the commit into wheel and sdist, where `exporter/version.py` reads it."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "exporter/revision.txt"


class RevisionHook(BuildHookInterface[BuilderConfig]):
    """Leaves the tree as it is: the file is made elsewhere and takes the place of the one in the package."""

    PLUGIN_NAME = "custom"
    _made: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An editable installation is the checkout itself.
        if version == "editable":
            return
        root = Path(self.root)
        revision = os.environ.get("HPC_EXPORTER_REVISION", "").strip() or described(root)
        self._made = tempfile.TemporaryDirectory(prefix="hpc-exporter-build-")
        made = Path(self._made.name, "revision.txt")
        # Without git it stays what it is: in an unpacked sdist or an export, the commit.
        made.write_text(f"{revision}\n" if revision else (root / FILE).read_text(encoding="utf-8"), encoding="utf-8")
        build_data["force_include"][str(made)] = FILE

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - what every hook is given
        if self._made is not None:
            self._made.cleanup()


def described(root: Path) -> str:
    """Return the commit of a checkout, with "-dirty" where files differ from it; nothing outside of a checkout or without git."""
    if not (root / ".git").exists():
        return ""
    command = ("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - a fixed command
    except (OSError, subprocess.CalledProcessError):
        return ""
