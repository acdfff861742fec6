"""The reference of the command line, made of what --help prints: ``python -m exporter.cli.reference > docs/cli.md``."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress

from exporter.cli.main import COMMANDS, build_parser

INTRODUCTION = """\
# The command line

<!-- Made by `make docs` of what --help prints. Do not edit: a test compares the two. -->

    hpc-exporter COMMAND [FLAGS]

Without a command, or with flags only, it serves. Results go to standard output, everything else to standard error;
secrets to neither.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | failed: a mistake in the configuration, a target that could not be polled, a job that is not gone |
| 2 | wrong usage: an unknown flag, a name that the configuration does not have, a job id that is none |
| 130, 143 | ended by Ctrl-C, by SIGTERM |

Tables fit the terminal. Where there is no room, columns that say the same of every row are left out and named below, then
long names lose their middle; numbers and ids are never cut, and `--wide` shows everything. Where a line a row still does not
fit, a row becomes a block of lines. Sums stand below; a sum is `?` where a part of it is unknown, and `partial` where a target
failed. Piped, a table is plain and as wide as it needs to be. Colours appear on a terminal only, and not at all
with `NO_COLOR`. `?` stands for what the API did not say. For programs there is `--format=json`, whose shapes are
promises: [`once`](../config/once.schema.json), [`jobs list`](../config/jobs-list.schema.json), and the
[audit lines](../config/audit.schema.json) of `jobs delete`.
"""

# Commands of commands.
SUBCOMMANDS = {"jobs": ("list", "delete")}


def reference() -> str:
    """Return the whole reference in Markdown."""
    parser = build_parser()
    parts = [INTRODUCTION]
    for words in _command_lines():
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        with _width(100), redirect_stdout(printed), suppress(SystemExit):
            parser.parse_args([*words, "--help"])
        # Without the usage, which Python's versions fold differently.
        _, _, text = printed.buffer.getvalue().decode().partition("\n\n")
        parts.append(f"## hpc-exporter {' '.join(words)}\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(parts)


def _command_lines() -> Iterator[list[str]]:
    for command in COMMANDS:
        yield [command]
        yield from ([command, each] for each in SUBCOMMANDS.get(command, ()))


@contextmanager
def _width(columns: int) -> Iterator[None]:
    """Let help texts be so wide, whatever the terminal."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(columns)
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


if __name__ == "__main__":
    sys.stdout.write(reference())
