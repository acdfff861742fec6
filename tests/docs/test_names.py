"""The interface in docs/names.md: each name in it is there, with exactly the labels, flags and defaults of its row."""

import argparse
import re
from collections.abc import Iterator

from exporter.cli.main import build_parser
from exporter.sources.collector import catalogue, registry
from tests.docs.pages import ROOT
from tests.docs.test_words import ADDRESSES, is_key

PAGE = (ROOT / "docs" / "names.md").read_text(encoding="utf-8").partition("## Names that stay")[2]
CODE = re.compile(r"`([^`]+)`")


def rows(head: str) -> list[list[str]]:
    """Return the cells of the table with this first cell in its head."""
    table = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table, f"there is a table of each {head}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1].splitlines()]


def flags_of(words: list[str]) -> set[str]:
    """Return the flags of a command. Raises KeyError where there is no such command."""
    parser: argparse.ArgumentParser = build_parser()
    for word in words:
        (commands,) = (action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        parser = commands[word]
    return {flag for action in parser._actions for flag in action.option_strings}


def names() -> Iterator[tuple[str, object, object]]:
    """Yield each promised name with what is promised of it and what is there; None where it is missing."""
    for command, flags in rows("command"):
        words = CODE.findall(command)[0].split()[1:]
        promised = set(CODE.findall(flags))
        yield command, promised, promised & flags_of(words)
    for section, keys in rows("section"):
        promised = set(CODE.findall(keys))
        yield section, promised, {key for key in promised if is_key(key)}
    for name, section, default in rows("collector"):
        found = registry().get(name.strip("`"))
        yield name, (section.strip("`"), default == "yes"), (found.per.section, found.default) if found else None
    for name, kind, labels in rows("metric"):
        family = catalogue().get(name.strip("`"))
        yield name, (kind, CODE.findall(labels)), (family.type, list(family.labels)) if family else None
    for path, _ in rows("path"):
        yield path, True, path.strip("`") in ADDRESSES


def test_every_promised_name_is_there() -> None:
    missing = [(name, promised, found) for name, promised, found in names() if found != promised]
    assert missing == [], "these are promised in docs/names.md"


def test_nothing_was_taken_from_the_promise() -> None:
    """A name leaves this page with a major version only; these are the least numbers of rows."""
    heads = ("command", "section", "collector", "metric", "path")
    assert [len(rows(head)) >= least for head, least in zip(heads, (10, 6, 10, 80, 7), strict=True)] == [True] * 5
