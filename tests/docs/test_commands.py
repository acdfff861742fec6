"""Commands in the documentation can be typed as they are written."""

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

from exporter.cli.main import COMMANDS, build_parser, with_default_command
from exporter.cli.reference import commands_of
from tests.docs.pages import PAGES, ROOT, Block, Page, none, taken_apart
from tests.docs.shell import Command, commands, of_line

SHELL = ("console", "sh", "bash")
TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
PARSER = build_parser()
# Of the exporter and of `serve`, which runs without being named.
FLAG = re.compile(r"--[a-z][\w.-]*")
# Flags that stand alone in a sentence, each with whose they are.
FOREIGN_FLAGS = {
    "--force-reinstall": "pip",
    "--query.replica-label": "Thanos",
    "--set": "helm",
    "--set-file": "helm",
    "--values": "helm",
}


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    own = {flag for action in parser._actions for flag in action.option_strings}
    return own.union(*(flags_of(command) for command, _ in commands_of(parser)))


ALL_FLAGS = flags_of(PARSER)


def refusal(arguments: Sequence[str]) -> str | None:
    """What the real parser says against arguments."""
    words = io.StringIO()
    with contextlib.redirect_stderr(words), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSER.parse_args(with_default_command(arguments))
        except SystemExit as end:
            return words.getvalue().strip().rpartition("\n")[2] if end.code else None
    return None


def examples(page: Page) -> Iterator[tuple[Block, Command]]:
    for block in page.blocks_of(*SHELL):
        for command in commands(block):
            yield block, command


def problems_of(page: Page) -> Iterator[str]:
    """What is wrong with the commands of a page."""
    try:
        found = [command for _, command in examples(page)]
    except ValueError as error:
        yield f"{page.name}:{error}"
        return
    for command in found:
        wrong = wrong_with(command)
        if wrong:
            yield f"{page.at(command.line)}: {command.written}: {wrong}"


def wrong_with(command: Command) -> str | None:
    """What is wrong with one command, as far as it is ours."""
    arguments = command.exporter_arguments
    if arguments is not None:
        return refusal(arguments)
    if command.program == "make":
        unknown = {word for word in command.words[1:] if re.match(r"[a-z][\w-]*$", word)} - TARGETS
        return f"the Makefile has no {', '.join(sorted(unknown))}" if unknown else None
    if command.module and importlib.util.find_spec(command.module.partition(".")[0]) is None:
        return f"there is no module {command.module}"
    if command.module and not is_runnable(command.module):
        return f"{command.module} cannot be run"
    return None


def is_runnable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_an_example_can_be_typed(name: str) -> None:
    """`hpc-exporter` by the real parser, `make` by the Makefile's targets, ``python -m`` by its module."""
    none(problems_of(PAGES[name]))


@pytest.mark.parametrize("name", PAGES)
def test_every_console_begins_with_a_prompt(name: str) -> None:
    page = PAGES[name]
    none(
        f"{page.at(block.line)}: begin with a command behind '$ ', or '# ' where only root can: else call the block text"
        for block in page.blocks_of("console")
        if not block.text.startswith(("$ ", "# "))
    )


@pytest.mark.parametrize("name", PAGES)
def test_units_start_the_exporter_with_flags_that_it_has(name: str) -> None:
    """``ExecStart=`` of systemd."""
    page = PAGES[name]
    lines = [(line, text) for block in page.blocks_of("ini") for line, text in block.numbered()]
    starts = [(line, text.partition("=")[2]) for line, text in lines if text.startswith("ExecStart=")]
    found = [(line, text, of_line(text)[0].exporter_arguments) for line, text in starts]
    none(
        f"{page.at(line)}: {text}: {refusal(arguments)}"
        for line, text, arguments in found
        if arguments and refusal(arguments)
    )


def wrong_with_term(text: str) -> str | None:
    """What is wrong with a `term`, if it is a flag, a command of ours or a target of make. Parts may be left out."""
    flag = FLAG.match(text)
    if flag:
        known = flag[0] in ALL_FLAGS | FOREIGN_FLAGS.keys()
        return None if known else f"no command has the flag {flag[0]}: correct it, or say whose it is in FOREIGN_FLAGS"
    words = text.split()
    if words[0] == "make" and len(words) == 2:
        return None if words[1] in TARGETS else f"the Makefile has no {words[1]}"
    return wrong_with_command(words[1:]) if words[0] == "hpc-exporter" else None


def wrong_with_command(words: list[str]) -> str | None:
    """Whether a command with some of its flags exists: what it needs besides may be left out in a sentence."""
    parser = PARSER
    for word in words:
        choices = {command.prog.rpartition(" ")[2]: command for command, _ in commands_of(parser)}
        if word in choices:
            parser = choices[word]
        elif choices and not word.startswith("-") and not word.isupper():
            return f"{parser.prog} has no command {word}"
        elif word.startswith("-"):
            flag = word.partition("=")[0]
            known = flags_of(parser) if words[0] not in ("--help", "--version") else {flag}
            if flag not in known:
                return f"{parser.prog} has no flag {flag}"
    return None


@pytest.mark.parametrize("name", PAGES)
def test_every_flag_and_command_that_is_named_exists(name: str) -> None:
    page = PAGES[name]
    found = ((term, wrong_with_term(term.text)) for term in page.terms if term.text)
    none(f"{page.at(term.line)}: `{term.text}`: {wrong}" for term, wrong in found if wrong)


# What programs are told to print, and where its shape is promised.
SHAPES = {
    "hpc-exporter once": "config/once.schema.json",
    "hpc-exporter jobs list": "config/jobs-list.schema.json",
    "/api/v1/status": "docs/status.schema.json",
}
JQ = {"select", "map", "length", "sort_by", "group_by", "add", "tsv", "csv", "not", "and", "or", "keys", "if", "then"}


def unknown_fields(page: Page) -> Iterator[str]:
    """Fields that a filter of jq asks for and that the shape of its input does not have."""
    for command, following in pairwise(command for _, command in examples(page)):
        shape = next((path for source, path in SHAPES.items() if source in command.written), None)
        if shape and command.piped and following.program == "jq":
            schema = json.loads((ROOT / shape).read_text(encoding="utf-8"))
            asked = set(re.findall(r"[a-z_]+", re.sub(r'"[^"]*"', "", following.words[-1]))) - JQ
            for field in sorted(asked - fields_of(schema)):
                yield f"{page.at(command.line)}: {shape} has no {field}: {following.words[-1]}"


def fields_of(schema: Any) -> set[str]:
    """Names of properties anywhere in a JSON Schema, and words that may stand as such."""
    if isinstance(schema, list):
        return set().union(*map(fields_of, schema))
    if not isinstance(schema, dict):
        return set()
    own = {*schema.get("properties", ()), *(word for word in schema.get("enum", ()) if isinstance(word, str))}
    return own.union(*map(fields_of, schema.values()))


@pytest.mark.parametrize("name", PAGES)
def test_filters_ask_for_fields_that_are_there(name: str) -> None:
    none(unknown_fields(PAGES[name]))


def test_a_filter_for_a_field_that_is_not_there_would_be_found() -> None:
    text = "```console\n$ curl -s http://localhost:9851/api/v1/status | jq '.targets[] | {source, sate}'\n```\n"
    assert "has no sate" in "".join(unknown_fields(taken_apart(text)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hpc-exporter serve --config.flie=a.yml", "unrecognized arguments: --config.flie"),
        ("A=b sudo -u x /opt/bin/hpc-exporter chek | less", "invalid choice"),
        ("curl -s x && python -m exporter jobs delete 1", "the following arguments are required: --cluster, --user"),
        ("kubectl exec pod -- hpc-exporter --log.level=loud", "invalid choice: 'loud'"),
        (
            "docker run -d --name hpc-exporter -v $PWD/a:/etc/hpc-exporter:ro -p 1:1 hpc-exporter:local chek",
            "invalid choice: 'chek'",
        ),
        ("docker compose run --rm hpc-exporter check --offline", "unrecognized arguments: --offline"),
        ("make nonsense", "the Makefile has no nonsense"),
        ("python -m bench.nonsense", "bench.nonsense cannot be run"),
        ("echo 'a", "the shell cannot read this"),
    ],
)
def test_a_command_that_cannot_be_typed_would_be_found(text: str, complaint: str) -> None:
    page = taken_apart(f"```console\n$ {text}\nthis is no command\n```\n")
    assert complaint in "".join(problems_of(page))


@pytest.mark.parametrize(
    "text",
    [
        "hpc-exporter discover --user=alice > exporter.yml 2>&1  # made by itself",
        "for id in $(cat ids); do hpc-exporter jobs delete --cluster=c --user=u $id; done",
        "pip install hpc-exporter && make demo",
        "hpc-exporter jobs delete \\\n  --cluster=c --user=u 1",
        "cat > x <<'END'\nhpc-exporter nonsense\nEND",
        "systemctl restart hpc-exporter",
        "docker run --rm hpc-exporter --version",
    ],
)
def test_a_command_that_can_be_typed_is_not_found_wrong(text: str) -> None:
    assert not list(problems_of(taken_apart(f"```sh\n{text}\n```\n")))


@pytest.mark.parametrize(
    "text", ["--config.flie=a.yml", "hpc-exporter chek", "hpc-exporter check --lots", "make haste"]
)
def test_a_word_that_is_nothing_would_be_found(text: str) -> None:
    assert wrong_with_term(text)


def test_every_command_has_its_row_in_both_readmes() -> None:
    """One that is not named there is not found."""
    for name in ("README.md", "README.zh-CN.md"):
        named = {term.text for term in PAGES[name].terms}
        missing = [
            parser.prog for parser, _ in commands_of(PARSER) if not any(term.startswith(parser.prog) for term in named)
        ]
        assert not missing, f"{name} does not name {', '.join(missing)}"
    assert len(commands_of(PARSER)) == len(COMMANDS)
