"""The reference says what the parser says, and every command explains itself with an example."""

import argparse
import contextlib
import re
from pathlib import Path

import pytest

from exporter.cli.main import build_parser
from tests.support.parser import all_commands, flags_of

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "cli.md"


COMMANDS = {command.prog: command for command in all_commands(build_parser())}


def test_the_document_has_all_commands_in_their_order() -> None:
    assert re.findall("^## (.*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_of_itself(name: str) -> None:
    text = COMMANDS[name].format_help()
    _, marker, examples = text.partition("\nexample")
    assert marker
    assert f"\n  {name}" in examples or f"... {name}" in examples


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_of_an_example_exists(name: str) -> None:
    """As far as an example calls the command itself."""
    flags = flags_of(build_parser())
    for line in (COMMANDS[name].epilog or "").splitlines():
        if line.startswith("  ") and "hpc-exporter" in line:
            words = line.partition("|")[0].split()
            given = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert given <= flags, line


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert [line for line in COMMANDS[name].format_help().splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_value_is_rejected_in_words(name: str) -> None:
    """Not by an error that argparse reports with the name of a function."""
    for action in COMMANDS[name]._actions:
        for text in ("", "x", "-1", "1" * 10_000, "1e999", "\0"):
            if callable(action.type):
                with contextlib.suppress(argparse.ArgumentTypeError):
                    action.type(text)
        assert action.metavar != "SECONDS", "durations have units"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_has_a_help_text(name: str) -> None:
    for action in COMMANDS[name]._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), f"{name} {action.dest}"
