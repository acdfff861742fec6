"""Commands and flags in the documentation can be typed as they are written."""

import argparse
import contextlib
import importlib.util
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from exporter.cli.main import build_parser, with_default_command
from tests.docs.commands import Command, commands, simple_commands
from tests.docs.pages import PAGES, ROOT, none
from tests.support.parser import commands_of, flags_of

TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
PARSER = build_parser()
# Flags of pip, Thanos and helm that stand alone in a sentence.
FOREIGN_FLAGS = {"--force-reinstall", "--query.replica-label", "--set", "--set-file", "--values"}
# Programs that print JSON, and where its shape is promised.
SHAPES = {
    "hpc-exporter once": "config/once.schema.json",
    "hpc-exporter jobs list": "config/jobs-list.schema.json",
    "/api/v1/status": "docs/status.schema.json",
    "/api/v1/jobs": "docs/jobs.schema.json",
}
JQ = {"select", "map", "length", "sort_by", "group_by", "add", "tsv", "csv", "not", "and", "or", "keys", "if", "then"}


def rejection(arguments: Sequence[str]) -> str | None:
    """Return the message of the real parser about arguments that it does not accept."""
    words = io.StringIO()
    with contextlib.redirect_stderr(words), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSER.parse(with_default_command(arguments))
        except SystemExit as end:
            return words.getvalue().strip().rpartition("\n")[2] if end.code else None
    return None


def wrong_with(command: Command) -> str | None:
    """`hpc-exporter` by the real parser, `make` by the Makefile's targets, ``python -m`` by its module."""
    words, arguments = command.words, command.exporter_arguments
    if arguments is not None:
        return rejection(arguments)
    if command.program == "make":
        unknown = {word for word in words[1:] if re.match(r"[a-z][\w-]*$", word)} - TARGETS
        return f"the Makefile has no {', '.join(sorted(unknown))}" if unknown else None
    if command.program.startswith("python") and words[1:2] == ["-m"]:
        package, _, inner = words[2].partition(".")
        found = importlib.util.find_spec(package) and (not inner or importlib.util.find_spec(words[2]))
        return None if found else f"there is no module {words[2]}"
    return None


def wrong_with_term(text: str) -> str | None:
    """Return a flag, a command or a target of make that stands in a sentence and does not exist.

    Parts may be left out.
    """
    words = text.split() or [""]
    if re.match(r"--[a-z]", text):
        flag = re.split(r"[^\w.-]", text)[0]
        return None if flag in flags_of(PARSER) | FOREIGN_FLAGS else f"no command has the flag {flag}"
    if words[0] == "make" and len(words) == 2:
        return None if words[1] in TARGETS else f"the Makefile has no {words[1]}"
    parser: argparse.ArgumentParser = PARSER
    if words[:2] == ["hpc-exporter", "help"]:
        del words[1]
    for word in words[1:] if words[0] == "hpc-exporter" else ():
        below = {command.prog.rpartition(" ")[2]: command for command in commands_of(parser)}
        if word in below:
            parser = below[word]
        elif word.startswith("-") and word.partition("=")[0] not in flags_of(parser) | {"--help", "--version"}:
            return f"{parser.prog} has no flag {word}"
        elif below and not word.startswith("-") and not word.isupper():
            return f"{parser.prog} has no command {word}"
    return None


def fields_of(schema: Any) -> set[str]:
    """Names of properties anywhere in a JSON Schema, and words that may stand as such."""
    if isinstance(schema, list):
        return set().union(*map(fields_of, schema))
    if not isinstance(schema, dict):
        return set()
    own = {*schema.get("properties", ()), *(word for word in schema.get("enum", ()) if isinstance(word, str))}
    return own.union(*map(fields_of, schema.values()))


def unknown_fields(found: Sequence[Command]) -> Iterator[str]:
    """Fields that a filter of jq asks for and that its input does not have."""
    for command, following in pairwise(found):
        shape = next((path for source, path in SHAPES.items() if source in command.written), None)
        if shape and command.piped and following.program == "jq":
            schema = json.loads((ROOT / shape).read_text(encoding="utf-8"))
            asked = set(re.findall(r"[a-z_]+", re.sub(r'"[^"]*"', "", following.words[-1]))) - JQ
            yield from (f"{shape} has no {field}" for field in asked - fields_of(schema))


@pytest.mark.parametrize("name", PAGES)
def test_commands_and_flags_exist(name: str) -> None:
    page = PAGES[name]
    found = list(commands(page))
    for block in page.blocks_of("ini"):
        for start in re.findall(r"^ExecStart=(.*)$", block.text, re.MULTILINE):
            found += simple_commands(start, block.line)
    none(f"{page.at(each.line)}: {each.written}: {wrong}" for each in found if (wrong := wrong_with(each)))
    none(f"{page.at(line)}: `{text}`: {wrong}" for text, line in page.terms if (wrong := wrong_with_term(text)))
    none(unknown_fields(found))
    # Else nothing in it would be read.
    none(page.at(block.line) for block in page.blocks_of("console") if not block.text.startswith(("$ ", "# ")))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hpc-exporter serve --config.flie=a.yml", "there is no flag --config.flie; did you mean --config.file?"),
        ("A=b sudo -u x /opt/bin/hpc-exporter chek | less", "did you mean check?"),
        ("curl -s x && python -m exporter jobs delete 1", "the following arguments are required: --cluster, --user"),
        ("kubectl exec pod -- hpc-exporter --log.level=loud", "there is no log.level 'loud'"),
        (
            "docker run -d --name hpc-exporter -v $PWD/a:/etc/hpc-exporter:ro hpc-exporter:local chek",
            "did you mean check?",
        ),
        ("docker compose run --rm hpc-exporter check --offline", "there is no flag --offline; did you mean --online?"),
        ("make nonsense", "the Makefile has no nonsense"),
        ("python -m bench.nonsense", "there is no module bench.nonsense"),
        ("hpc-exporter discover --user=alice > exporter.yml 2>&1  # made by itself", None),
        ("for id in $(cat ids); do hpc-exporter jobs delete --cluster=c --user=u $id; done", None),
        ("pip install hpc-exporter && make demo", None),
        ("systemctl restart hpc-exporter; docker run --rm hpc-exporter --version", None),
    ],
)
def test_a_command_that_cannot_be_typed_would_be_found(text: str, complaint: str | None) -> None:
    wrong = next((wrong for each in simple_commands(text, 1) if (wrong := wrong_with(each))), None)
    assert (complaint or "") in (wrong or "")
    assert (complaint is None) == (wrong is None)


@pytest.mark.parametrize(
    "text", ["--config.flie=a.yml", "hpc-exporter chek", "hpc-exporter check --lots", "make haste"]
)
def test_a_word_that_is_nothing_would_be_found(text: str) -> None:
    assert wrong_with_term(text)


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_every_command_has_its_row_in_the_readme(name: str) -> None:
    named = [text for text, _ in PAGES[name].terms]
    none(each.prog for each in commands_of(PARSER) if not any(term.startswith(each.prog) for term in named))
