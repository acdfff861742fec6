"""Version and revision, for `--version`, `hpc_exporter_build_info`, the log and the status page."""

import platform
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from exporter import __version__

UNKNOWN: Final = "unknown"
# Content of revision.txt until a build, or `git archive`, puts the commit there.
PLACEHOLDER: Final = "$Format:"


def version_text() -> str:
    """Return the answer to --version, in the shape of Prometheus' own programs."""
    return (
        f"hpc-exporter, version {__version__} (revision: {revision()})\n  python version: {platform.python_version()}"
    )


@cache
def revision() -> str:
    """Return the commit that this program was built from.

    "unknown" in a checkout, whose files may differ from any commit.
    """
    return read_revision(resources.files("exporter").joinpath("revision.txt")) or UNKNOWN


def read_revision(file: Traversable) -> str | None:
    """Return the revision that a build wrote; None without one."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError):
        return None
    return None if text.startswith(PLACEHOLDER) else text or None
