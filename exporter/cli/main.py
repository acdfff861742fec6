"""The command `hpc-exporter`. Exit status: 0 done, 1 failed, 2 wrong usage."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from exporter import streams
from exporter.cli.output import OutputError, flush_stdout, print_error, print_text, warn
from exporter.errors import ConfigurationError, ExporterError
from exporter.redaction import remember, resembles_secret, withheld
from exporter.threads import exit_process
from exporter.version import version_text

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

# Modules of this package. Only that of the command to run is loaded: importing all takes longer than many commands run.
COMMANDS = ("serve", "check", "once", "jobs", "discover", "simulate", "demo", "completion")


class Parser(argparse.ArgumentParser):
    """A parser without abbreviated flags that reports errors of printing help or the version."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        if message and file is sys.stdout:
            print_text(message)
        else:
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Redact tokens given in a wrong place."""
        super().error(" ".join(map(withheld, message.split(" "))))


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser with these commands; documentation and completion use all."""
    parser = Parser(
        prog="hpc-exporter",
        description="Prometheus exporter for SCNet supercomputing regions. Without a command it serves.",
        epilog="hpc-exporter COMMAND --help explains each command.",
    )
    parser.add_argument("--version", action="version", version=version_text())
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands:
        import_module(f"exporter.cli.{command}").add_parser(subparsers)
    return parser


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse `arguments`, of which the first is a command or a flag for all."""
    first = arguments[0]
    alone = first in COMMANDS and first != "completion"
    parser = build_parser((first,) if alone else () if first == "--version" else COMMANDS)
    return parser.parse_args(arguments, argparse.Namespace(parser=parser))


def with_default_command(arguments: Sequence[str]) -> list[str]:
    """Insert `serve` where no command is named, as other exporters do."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        return ["serve", *arguments]
    return list(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        args = parsed(with_default_command(given))
        remember(misplaced_tokens(args))
        status: int = args.run(args)
    except ConfigurationError as error:
        print_error(str(error))
        return 1
    except ExporterError as error:
        warn(str(error))
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    return status


def misplaced_tokens(args: argparse.Namespace) -> Iterator[str]:
    """Names of missing files that may be tokens pasted in a wrong place, to be redacted in messages."""
    for value in vars(args).values():
        if isinstance(value, Path) and resembles_secret(str(value)) and not value.exists():
            yield str(value)


def entry_point() -> NoReturn:
    """Run the command line as a process of its own; the entry point of the installed command."""
    streams.prepare()
    status = status_of(main)
    streams.drain_stderr()
    exit_process(status)


def status_of(command: Callable[[], int]) -> int:
    """Return the exit status of `command`: not 0 where its results could not be written."""
    try:
        status = command()
    except SystemExit as end:
        # argparse, after printing help, the version or a usage error.
        status = end.code if isinstance(end.code, int) else 0
    try:
        flush_stdout()
    except OutputError as error:
        warn(str(error))
        return status or 1
    except SystemExit:
        return status or 1
    return status
