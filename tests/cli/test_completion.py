"""Completion scripts, run by the shell that they are for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.cli.completion import script
from exporter.cli.main import build_parser, main

# Completion in bash: it takes the line apart, also at "=", and asks the function.
TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p hpc-exporter | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
$function hpc-exporter "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "hpc-exporter"
    file.write_text(script(build_parser(), "bash"))
    return file


def completed(file: Path, folder: Path, *words: str) -> set[str]:
    """Return the completions of bash for the last word."""
    tab = subprocess.run(  # noqa: S603 - our own script
        ["bash", "-c", TAB, "bash", str(file), *words],  # noqa: S607 - the shell that people have
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
        env={"PATH": os.environ["PATH"]},
    )
    return set(tab.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["hpc-exporter", "jo"], {"jobs"}),
        (["hpc-exporter", "jobs", ""], {"list", "delete"}),
        (["hpc-exporter", "jobs", "delete", "--par"], {"--parameters-in"}),
        (["hpc-exporter", "jobs", "delete", "--cluster", "=", "kunshan", "--e"], {"--expect-count"}),
        (["hpc-exporter", "once", "--format", "j"], {"json"}),
        (["hpc-exporter", "once", "--format", "=", "j"], {"json"}),
        (["hpc-exporter", "once", "--format", "="], {"table", "json", "prometheus"}),
        (["hpc-exporter", "check", "--config.file", "=", "exp"], {"exporter.yml"}),
        (["hpc-exporter", "completion", "z"], {"zsh"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bash_offers(bash_script: Path, tmp_path: Path, words: list[str], offered: set[str]) -> None:
    (tmp_path / "exporter.yml").touch()
    assert completed(bash_script, tmp_path, *words) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_with_all_commands(shell: str) -> None:
    text = script(build_parser(), shell)
    for word in ("jobs", "delete", "parameters-in", "once"):
        assert word in text


def test_the_command_prints_the_script_of_the_whole_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == script(build_parser(), "zsh")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    file = tmp_path / "script"
    file.write_text(script(build_parser(), shell))
    subprocess.run([shell, "-n", str(file)], check=True, timeout=100)  # noqa: S603 - a shell that was looked for
