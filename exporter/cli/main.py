"""The command `hpc-exporter`. Exit status: 0 done, 1 failed, 2 wrong usage."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Final, NoReturn

from exporter import streams
from exporter.cli.commands import Parser
from exporter.cli.options import VERSION
from exporter.cli.output import OutputError, flush_stdout, print_error, warn
from exporter.errors import ConfigurationError, ExporterError
from exporter.log import setup
from exporter.redaction import remember, resembles_secret
from exporter.threads import exit_process

# Modules of this package. Only that of the command to run is loaded: importing all takes longer than many commands run.
GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "Set up and serve": ("discover", "check", "capture", "serve", "relay"),
    "Look": ("once", "top", "jobs", "waits", "report"),
    "Try out": ("demo", "simulate"),
    "Shell": ("completion",),
}
COMMANDS: Final = tuple(chain.from_iterable(GROUPS.values()))


def build_parser(commands: Sequence[str] = COMMANDS) -> Parser:
    """Return the parser with these commands; documentation and completion use all."""
    parser = Parser(
        prog="hpc-exporter",
        usage="%(prog)s COMMAND [FLAGS]",
        epilog="hpc-exporter help COMMAND explains each command. Without a command it serves.",
    )
    VERSION.add_to(parser)
    subparsers = parser.add_subparsers(prog="hpc-exporter", dest="command", metavar="COMMAND", required=True)
    for command in commands:
        import_module(f"exporter.cli.{command}").COMMAND.add_to(subparsers, command)
    helps = {each.dest: each.help for each in subparsers._get_subactions()}  # noqa: SLF001 - no public name
    lines = ["Prometheus exporter for SCNet regions, Huawei Octopus projects and Slurm clusters."]
    for group, names in GROUPS.items():
        if of_group := [f"  {name:<12}{helps[name]}" for name in names if name in helps]:
            lines += ["", f"{group}:", *of_group]
    parser.description = "\n".join(lines)
    subparsers.is_described = True  # type: ignore[attr-defined]  # read by the formatter
    return parser


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse `arguments`, of which the first is a command or a flag for all."""
    first = arguments[0]
    alone = first in COMMANDS and first != "completion"
    return build_parser((first,) if alone else () if first == "--version" else COMMANDS).parse(arguments)


def with_default_command(arguments: Sequence[str]) -> list[str]:
    """Insert `serve` where no command is named, as other exporters do; `help COMMAND` is `COMMAND --help`."""
    if arguments and arguments[0] == "help":
        return [*arguments[1:], "--help"]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        return ["serve", *arguments]
    return list(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        args = parsed(with_default_command(given))
        remember(misplaced_tokens(args))
        if "log_level" in args:
            setup(args.log_level, args.log_format)
        status: int = import_module(f"exporter.cli.{args.command}").run(args)
    except ConfigurationError as error:
        print_error(str(error))
        return 1
    except ExporterError as error:
        warn(str(error))
        return error.exit_status
    except FileNotFoundError as error:
        if error.filename is not None:
            raise
        warn("the working directory is no longer there: change to another one")
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def misplaced_tokens(args: argparse.Namespace) -> Iterator[str]:
    """Names of missing files that may be tokens pasted in a wrong place, to be redacted in messages."""
    for value in vars(args).values():
        # `Path.exists` raises an error for a name as long as a token.
        if isinstance(value, Path) and resembles_secret(str(value)) and not os.access(value, os.F_OK):
            yield str(value)


def run_process() -> NoReturn:
    """Run the command line as a process of its own.

    The exit status is not 0 where the results could not be written.
    """
    streams.prepare()
    try:
        status = main()
    except SystemExit as end:
        # argparse, after printing help, the version or a usage error.
        status = end.code if isinstance(end.code, int) else 0
    try:
        flush_stdout()
    except OutputError as error:
        warn(str(error))
        status = status or 1
    except SystemExit:
        status = status or 1
    streams.drain_stderr()
    exit_process(status)
