"""``python -m tools.newest FOLDER``: the newest Prometheus, Alertmanager and VictoriaMetrics of Debian, for tests.

Unpacked into a folder, once, and not installed. Needs apt and the network that it uses; prints the versions.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

# In Go, and linked statically or against little: they run on an older Debian as well.
PACKAGES: Final = ("prometheus", "promtool", "prometheus-alertmanager", "victoria-metrics")
SOURCE: Final = "deb http://deb.debian.org/debian sid main\n"


def unpack(folder: Path) -> None:
    """Fill `folder`. Raises CalledProcessError, of apt-get or dpkg."""
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-newest-") as name:
        apt = Path(name)
        for part in ("lists/partial", "archives/partial", "debs"):
            (apt / part).mkdir(parents=True)
        (apt / "sources.list").write_text(SOURCE, encoding="ascii")
        options = {
            "Dir::Etc::sourcelist": apt / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": apt / "lists",
            "Dir::Cache": apt,
            # A mirror may be some weeks old.
            "Acquire::Check-Valid-Until": "false",
            "APT::Sandbox::User": "root",
        }
        command = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
        for action in (["update"], ["download", *PACKAGES]):
            subprocess.run([*command, *action], check=True, cwd=apt / "debs")  # noqa: S603 - names of ours
        for package in sorted((apt / "debs").iterdir()):
            subprocess.run(["dpkg", "-x", package, folder], check=True)  # noqa: S603, S607 - as apt checked it
            print(package.name)


def main(arguments: list[str]) -> int:
    folder = Path(*arguments)
    if not (folder / "usr/bin/victoria-metrics").exists():
        try:
            unpack(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"the newest servers cannot be had: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
