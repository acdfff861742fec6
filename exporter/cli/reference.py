"""The reference of the command line, made of the parser: ``python -m exporter.cli.reference > docs/cli.md``."""

import argparse
import re
import sys
from collections.abc import Iterator

from exporter.cli.main import build_parser

INTRODUCTION = """\
# The command line

<!-- Made by `make docs` from the parser. Do not edit: a test compares the two. -->

    hpc-exporter COMMAND [FLAGS]

Without a command, or with flags only, it serves. Results go to standard output, everything else to standard error;
secrets to neither.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | failed: a mistake in the configuration, a target that could not be polled, a job that is not gone |
| 2 | wrong usage: an unknown flag, a name that the configuration does not have, a job id that is none |
| 130, 143 | ended by Ctrl-C, by SIGTERM |

Tables fit the terminal: names are folded, numbers and ids never are; where a line a row does not fit, a row becomes a
block of lines. Piped, a table is plain and as wide as it needs to be. Colours appear on a terminal only, and not at all
with `NO_COLOR`. `?` stands for what the API did not say. For programs there is `--format=json`, whose shapes are
promises: [`once`](../config/once.schema.json), [`jobs list`](../config/jobs-list.schema.json), and the
[audit lines](../config/audit.schema.json) of `jobs delete`.
"""


def reference() -> str:
    """The whole reference in Markdown."""
    return "\n".join([INTRODUCTION, *sections(build_parser(), level=2)])


def sections(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """A section for each command below `parser`."""
    for command, summary in commands_of(parser):
        yield section(command, summary, level)
        yield from sections(command, level + 1)


def commands_of(parser: argparse.ArgumentParser) -> list[tuple[argparse.ArgumentParser, str]]:
    """The commands of a parser with their summaries, in the order of the help."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - argparse has no public names for them
    return [
        (group.choices[choice.dest], choice.help or "")
        for group in groups
        for choice in group._choices_actions  # noqa: SLF001 - as above
    ]


def section(parser: argparse.ArgumentParser, summary: str, level: int) -> str:
    parts = [f"{'#' * level} {parser.prog}", f"{summary[:1].upper()}{summary[1:]}.", parser.description or ""]
    flags = [flag_row(parser, action) for action in parser._actions if shown(action)]  # noqa: SLF001 - as above
    if flags:
        parts.append("\n".join(["| flag | meaning |", "|---|---|", *flags]))
    parts.append(f"```text\n{(parser.epilog or '').strip()}\n```")
    return "\n\n".join(parts) + "\n"


def shown(action: argparse.Action) -> bool:
    return not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)  # noqa: SLF001 - as above


def flag_row(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    meaning = (action.help or "") % {"prog": parser.prog, **vars(action)}
    needed = "; required" if action.required and action.option_strings else ""
    return f"| {spelled(action)} | {cell(meaning)}{needed} |"


def spelled(action: argparse.Action) -> str:
    """A flag with what it takes, or a positional argument."""
    if not action.option_strings:
        name = (
            action.metavar if isinstance(action.metavar, str) else "|".join(map(str, action.choices or [action.dest]))
        )
        return f"`{cell(name)}`" + (" ..." if action.nargs == "*" else "")
    value = "" if action.nargs == 0 else f"={value_of(action)}"
    return ", ".join(f"`{cell(flag + value)}`" for flag in action.option_strings)


def value_of(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def cell(text: str) -> str:
    """Text that stays within its cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())
