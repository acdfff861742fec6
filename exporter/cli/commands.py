"""Declarations of commands, and the parser made of them.

Its help fits 80 columns, and its errors name the nearest flag or command.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NoReturn

from exporter.cli.output import print_error, print_text
from exporter.redaction import withheld

if TYPE_CHECKING:
    from argparse import _ActionsContainer, _SubParsersAction

    from _typeshed import SupportsWrite

# The message of argparse about a value that is none of the choices; before Python 3.12 the choices are quoted.
_INVALID_CHOICE: Final = re.compile(
    r"(?:argument (?P<of>\S+): )?invalid choice: '(?P<given>.*)' \(choose from (?P<choices>.*)\)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a flag: its name in the help, and how it is read. Without a name the help shows the `choices`."""

    name: str | None = None
    read: Callable[[str], Any] = str
    choices: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag, or a positional argument where the name has no dashes.

    Without a `value` it is a switch. `many`: it can be given several times. The help ends with the default, if there is one.
    Its value is the attribute `dest` of the namespace; by default the name, with underscores.
    """

    names: str
    help: str
    value: Value | None = None
    default: Any = None
    many: bool = False
    required: bool = False
    dest: str = ""
    action: type[argparse.Action] | None = None

    def add_to(self, parser: "_ActionsContainer") -> None:
        first, *others = self.names.split()
        settings: dict[str, Any] = {"help": self.help}
        if self.default not in (None, "", ()):
            settings["help"] += " (default: %(default)s)"
        if first.startswith("-"):
            settings["dest"] = self.dest or re.sub("[.-]", "_", first.lstrip("-"))
        if self.required:
            settings["required"] = True
        if self.action is not None:
            settings |= {"action": self.action, "nargs": 0}
        elif self.value is None:
            settings["action"] = "store_true"
        else:
            value = {"type": self.value.read, "metavar": self.value.name, "choices": self.value.choices}
            settings |= {**value, "default": self.default}
        if self.many:
            settings |= {"action": "append"} if "dest" in settings else {"nargs": "*"}
        action = parser.add_argument(first, *others, **settings)
        if action.metavar == "FILE":
            # Read by shtab; not an attribute of argparse.
            action.complete = "file"  # type: ignore[attr-defined]  # see above


@dataclass(frozen=True, slots=True)
class Group:
    """The title above the flags that follow."""

    title: str
    description: str | None = None


class Command:
    """A command: the line about it, its description, the text below its flags, and what it takes or which commands it has.

    Its module has a function `run`, from the namespace to the exit status.
    """

    def __init__(
        self, summary: str, description: str, epilog: str, *takes: Flag | Group, **commands: "Command"
    ) -> None:
        self._summary = summary
        self._description = description
        self._epilog = epilog
        self._takes = takes
        self._commands = commands

    def add_to(self, subparsers: "_SubParsersAction[Any]", name: str) -> None:
        parser = subparsers.add_parser(name, help=self._summary, description=self._description, epilog=self._epilog)
        group: _ActionsContainer = parser
        for each in self._takes:
            if isinstance(each, Group):
                group = parser.add_argument_group(each.title, each.description)
            else:
                each.add_to(group)
        if self._commands:
            below = parser.add_subparsers(dest=f"{name}_command", metavar="COMMAND", required=True)
            for own, command in self._commands.items():
                command.add_to(below, own)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Fits paragraphs to the terminal, and keeps indented lines as they are: examples and lists."""

    def add_argument(self, action: argparse.Action) -> None:
        """Add the help of an argument, except for commands that the description lists."""
        if not getattr(action, "is_described", False):
            super().add_argument(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        blocks = groupby(text.splitlines(), key=lambda line: "prose" if line[:1].strip() else line.strip() and "as is")
        return "\n".join(
            textwrap.fill(
                " ".join(lines), width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
            )
            if kind == "prose"
            else "\n".join(lines)
            for kind, lines in blocks
        )


class Parser(argparse.ArgumentParser):
    """A parser without abbreviated flags. The namespace's `used` is the parser of the innermost command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=Formatter, allow_abbrev=False, **settings)
        self.set_defaults(used=self)

    @property
    def commands(self) -> Mapping[str, "Parser"]:
        """The commands of this command."""
        return next((each.choices for each in self._actions if isinstance(each, argparse._SubParsersAction)), {})  # noqa: SLF001 - no public name

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; the namespace's `parser` is this one. Exits with 2 and a message on wrong usage."""
        self._reject_unknown_flags(arguments)
        args, rest = self.parse_known_args(arguments, argparse.Namespace(parser=self))
        if rest:
            args.used.error(f"unexpected argument: {' '.join(rest)}")
        return args

    def _reject_unknown_flags(self, arguments: Sequence[str]) -> None:
        """Report an unknown flag, before a required one that it was meant to be is reported as missing."""
        parser = self
        for word in arguments:
            if word == "--":
                return
            flag = word.partition("=")[0]
            if flag.startswith("--") and flag not in parser._option_string_actions:
                parser.error(f"there is no flag {flag}{suggestion(flag, parser._option_string_actions)}")
            parser = parser.commands.get(word, parser)

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        if message and file is sys.stdout:
            print_text(message)
        elif message:
            print_error(message.removesuffix("\n"))

    def error(self, message: str) -> NoReturn:
        """Redact tokens given in a wrong place, and suggest what may have been meant."""
        if found := _INVALID_CHOICE.fullmatch(message):
            choices = [each.strip("'") for each in found["choices"].split(", ")]
            hint = suggestion(found["given"], choices) or f"; there are: {', '.join(choices)}"
            kind = "command" if found["of"] in (None, "COMMAND") else found["of"].removeprefix("--")
            message = f"there is no {kind} {found['given']!r}{hint}"
        elif message.endswith(": COMMAND"):
            message = f"a command is missing; there are: {', '.join(self.commands)}"
        super().error(" ".join(map(withheld, message.split(" "))))


def suggestion(given: str, known: Iterable[str]) -> str:
    """Return a half-sentence with the nearest of the `known` names; empty where none is near."""
    near = get_close_matches(given, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
