"""The command `hpc-exporter`. Exit status: 0 done, 1 failed, 2 wrong usage."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from exporter.cli import check, completion, demo, discover, jobs, once, options, serve, simulate
from exporter.errors import ConfigurationError, ExporterError
from exporter.version import version_text

COMMANDS = (serve, check, once, jobs, discover, simulate, demo, completion)


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; documentation and completion are made from it."""
    parser = argparse.ArgumentParser(
        prog="hpc-exporter",
        description="Prometheus exporter for SCNet supercomputing regions. Without a command it serves.",
        epilog="hpc-exporter COMMAND --help explains each command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version_text())
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def with_default_command(arguments: Sequence[str]) -> list[str]:
    """`serve` is what runs where no command is named, as with every exporter."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        return ["serve", *arguments]
    return list(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    args = build_parser().parse_args(with_default_command(given))
    try:
        status: int = args.run(args)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    except options.UsageError as error:
        print(f"hpc-exporter: {error}", file=sys.stderr)
        return 2
    except ExporterError as error:
        print(f"hpc-exporter: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def entry_point() -> NoReturn:
    """What the installed command calls."""
    sys.exit(main())
