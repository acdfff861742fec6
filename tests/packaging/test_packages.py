"""Packages for deb and rpm: their files fit the unit, and only root reads the keys. `make packages` makes them."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.packaging.locks import ROOT

PACKAGE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/packages/nfpm.yaml").read_text(encoding="utf-8"))
CONTENTS = {each["dst"]: each for each in PACKAGE["contents"]}
SCRIPTS = [ROOT / path for path in PACKAGE["scripts"].values()]


def test_the_unit_starts_the_packaged_command_with_the_packaged_configuration() -> None:
    unit = (ROOT / CONTENTS["/usr/lib/systemd/system/hpc-exporter.service"]["src"]).read_text(encoding="utf-8")
    (start,) = re.findall("^ExecStart=(.*)$", unit, re.MULTILINE)
    command, *arguments = start.split()
    assert CONTENTS[command]["file_info"]["mode"] == 0o755
    assert CONTENTS["/usr/bin/hpc-exporter"]["src"] == command
    (config,) = (each.partition("=")[2] for each in arguments if each.startswith("--config.file="))
    assert CONTENTS[config]["type"] == "config|noreplace"
    (credentials,) = re.findall("^LoadCredential=scnet:(.*)$", unit, re.MULTILINE)
    assert CONTENTS[credentials]["file_info"]["mode"] == 0o700


def test_every_file_of_the_project_in_it_is_there() -> None:
    made = ("build/", "/")
    assert [
        each["src"]
        for each in PACKAGE["contents"]
        if "src" in each and not each["src"].startswith(made) and not (ROOT / each["src"]).exists()
    ] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_work_without_systemd(script: Path, tmp_path: Path) -> None:
    """In a chroot and a container, whatever dpkg and rpm call them with; but for a purge, which would take files."""
    assert os.access(script, os.X_OK)
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    for argument in ("configure", "remove", "upgrade", "0", "1"):
        subprocess.run(["/bin/sh", script, argument], check=True, cwd=tmp_path)  # noqa: S603 - our own script
