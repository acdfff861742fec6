"""Packages for deb and rpm: their files fit the unit, and only root reads the keys. `make packages` makes them."""

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.real import real_part
from tests.packaging.locks import ROOT

PACKAGE: dict[str, Any] = yaml.load((ROOT / "deploy/packages/nfpm.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
CONTENTS = {each["dst"]: each for each in PACKAGE["contents"]}
NFPM = Path(sys.executable).parent / "nfpm"
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


def test_deb_and_rpm_hold_the_same_and_rpm_leaves_nothing_behind(tmp_path: Path) -> None:
    """With a stand-in for the libraries. Erased, an untouched installation is gone."""
    for name in ("deploy", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    made = tmp_path / "build/packages"
    (made / "lib").mkdir(parents=True)
    (made / "lib/module.py").touch()
    (made / "hpc-exporter").touch(mode=0o755)
    environment = {"ARCH": "amd64", "VERSION": "1.2.3~dev0", "PYTHON_VERSION": "3.11", "PATH": os.environ["PATH"]}
    for kind in ("deb", "rpm"):
        run(
            NFPM,
            "package",
            "--config=deploy/packages/nfpm.yaml",
            f"--packager={kind}",
            f"--target={tmp_path / 'made'}.{kind}",
            cwd=tmp_path,
            env=environment,
        )
    rpm = real_part("rpm", "rpm")
    packed = [
        line.split() for line in run(real_part("dpkg-deb", "dpkg"), "--contents", "made.deb", cwd=tmp_path).splitlines()
    ]
    in_deb = {fields[5][1:].rstrip("/"): fields[0] for fields in packed}
    query = ("--query", "--package", "--queryformat=[%{FILENAMES} %{FILEMODES:perms}\n]")
    in_rpm = dict(line.split() for line in run(rpm, *query, "made.rpm", cwd=tmp_path).splitlines())
    assert in_rpm.items() <= in_deb.items()
    assert {name for name, mode in in_deb.items() if not mode.startswith("d")} <= in_rpm.keys()
    if os.geteuid() != 0:
        pytest.skip("rpm installs as root only")
    system = tmp_path / "system"
    system.mkdir()
    run(rpm, f"--root={system}", "--nodeps", "--noscripts", "--install", "made.rpm", cwd=tmp_path)
    assert stat.filemode((system / "etc/hpc-exporter/credentials").stat().st_mode) == "drwx------"
    run(rpm, f"--root={system}", "--nodeps", "--noscripts", "--erase", "hpc-exporter", cwd=tmp_path)
    assert list(system.rglob("*hpc-exporter*")) == []


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a program that has to work; its output."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=env)  # noqa: S603 - packagers
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_work_without_systemd(script: Path, tmp_path: Path) -> None:
    """In a chroot and a container, whatever dpkg and rpm call them with; but for a purge, which would take files."""
    assert os.access(script, os.X_OK)
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd runs here")
    for argument in ("configure", "remove", "upgrade", "0", "1"):
        subprocess.run(["/bin/sh", script, argument], check=True, cwd=tmp_path)  # noqa: S603 - our own script
