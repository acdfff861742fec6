"""The reference of the command line in Markdown, made of its parser; Chinese texts are in ``cli.zh.yml``."""

# ruff: noqa: SLF001 - argparse has no public names for the flags of a parser

import argparse
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import yaml

from exporter.cli.commands import Parser
from exporter.cli.main import GROUPS, build_parser
from reference.configuration import Language

FOLDER: Final = Path(__file__).parent
# URLs, flags, names of variables, beginnings of metrics, files, paths of addresses.
_CODE: Final = re.compile(
    r"`[^`]*`|https?://[\w.:/-]*\w|--[a-z][\w.-]*\w|\$?\b[A-Z]+_[A-Z_]+\b|\b[a-z]+(?:_[a-z]+)*_\*|\b(?:config|docs)/[\w/.-]*\w|(?<![\w/:.])/[a-z]+\b"
)
_DEFAULT: Final = re.compile(r"(.*) \(default: (.*)\)", re.DOTALL)
# A line of a list in a help text: `  1. text`, or `  term  text`.
_ITEM: Final = re.compile(r"(?P<indent> +)(?:(?P<number>\d+\.) |(?P<term>\S+(?: \S+)*) {2,})(?P<text>.+)")


class Words:
    """The texts of a language; `unused` are translations of which no text was asked for yet."""

    def __init__(self, language: Language) -> None:
        self._in_chinese = language == "zh"
        self._texts: Mapping[str, str] = chinese() if self._in_chinese else {}
        self.unused = set(self._texts)

    def text(self, english: str) -> str:
        """Return a sentence or more. Raises LookupError where the translation is missing."""
        self.unused.discard(english)
        if self._in_chinese and english not in self._texts:
            raise LookupError(f"reference/cli.zh.yml: there is no Chinese text for {english!r}")
        return self._texts.get(english, english)

    def term(self, english: str) -> str:
        """Return a name or a value, which may be the same in all languages."""
        return self.text(english) if english in self._texts else english

    def prose(self, english: str) -> str:
        """Return the text in Markdown."""
        return coded(self.text(" ".join(english.split())))

    def of_flag(self, action: argparse.Action) -> str:
        """Return the help of a flag in Markdown."""
        found = _DEFAULT.fullmatch(action.help or "")
        if found is None:
            return self.prose(action.help or "")
        default = self.term(found[2] % vars(action))
        return self.prose(found[1]) + ("（默认：{}）" if self._in_chinese else " (default: {})").format(coded(default))

    @property
    def colon(self) -> str:
        return "：" if self._in_chinese else ": "


@cache
def chinese() -> Mapping[str, str]:
    """Return the translations: English text -> Chinese."""
    texts: dict[str, str] = yaml.load((FOLDER / "cli.zh.yml").read_text(encoding="utf-8"), yaml.CSafeLoader)
    return texts


def coded(text: str) -> str:
    """Mark the words of a help text that are code, and escape the others for a cell of a table."""
    parts = zip(_CODE.split(text), [*_CODE.findall(text), ""], strict=True)
    return "".join(re.sub(r"[*|<]", r"\\\g<0>", plain) + (code and f"`{code.strip('`')}`") for plain, code in parts)


def document(language: Language) -> str:
    """Return the reference."""
    return "".join(parts(Words(language), language))


def parts(words: Words, language: Language) -> Iterator[str]:
    """Yield the introduction and, for each command, its tables and paragraphs."""
    parser = build_parser()
    helps = {each.dest: each.help or "" for group in parser._action_groups for each in _listed_in(group)}
    introduction = (FOLDER / f"cli.{language}.md.in").read_text(encoding="utf-8")
    rows = [
        f"| [`{name}`](#hpc-exporter-{name}) | {words.prose(helps[name])} |\n"
        for names in GROUPS.values()
        for name in names
    ]
    yield introduction.replace("{{commands}}", "".join(rows).rstrip())
    for command in _below(parser):
        yield f"\n## {command.prog}\n\n{words.prose(command.description or '')}\n"
        for group in command._action_groups:
            yield from _table(group, words)
        yield from _epilog(command.epilog or "", words)


def _below(parser: Parser) -> Iterator[Parser]:
    for command in parser.commands.values():
        yield command
        yield from _below(command)


def _table(group: Any, words: Words) -> Iterator[str]:
    rows = [(_usage(action), words.of_flag(action)) for action in _listed_in(group)]
    if rows:
        yield f"\n{words.prose(group.description)}\n" if group.description else ""
        yield f"\n| {words.text(group.title)} | |\n|---|---|\n"
        yield from (f"| `{usage}` | {text} |\n" for usage, text in rows)


def _listed_in(group: Any) -> Iterator[argparse.Action]:
    """Yield the flags of a group and the commands, without `--help`."""
    for action in group._group_actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action._get_subactions()
        elif not isinstance(action, argparse._HelpAction):
            yield action


def _usage(action: argparse.Action) -> str:
    choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
    value = "" if action.nargs == 0 else str(action.metavar or choices or action.dest.upper())
    return f"{', '.join(action.option_strings)} {value}".strip().replace("|", "\\|")


def _epilog(epilog: str, words: Words) -> Iterator[str]:
    """Yield the paragraphs below the flags: prose, lists, and below `examples:` a block of commands."""
    for paragraph in epilog.strip().split("\n\n"):
        heading, _, rest = paragraph.partition("\n")
        if heading in ("example:", "examples:"):
            yield f"\n```text\n{dedent(rest)}\n```\n"
        elif paragraph.startswith(" "):
            yield "\n" + "".join(_list(paragraph, words))
        elif rest.startswith(" "):
            yield f"\n{words.prose(heading)}\n\n" + "".join(_list(rest, words))
        else:
            yield f"\n{words.prose(paragraph)}\n"


def _list(paragraph: str, words: Words) -> Iterator[str]:
    """Yield its lines as a list of Markdown; lines that begin no item go on with the one before."""
    joined: list[str] = []
    for line in paragraph.splitlines():
        if _ITEM.fullmatch(line):
            joined.append(line)
        else:
            joined[-1] += f" {line.strip()}"
    for line in joined:
        found = _ITEM.fullmatch(line)
        assert found  # noqa: S101 - as above
        text = words.prose(found["text"])
        if found["number"]:
            yield f"{found['number']} {text}\n"
        else:
            indent = "   " if len(found["indent"]) > len("    ") else ""
            yield f"{indent}- *{words.term(found['term'])}*{words.colon}{text}\n"
