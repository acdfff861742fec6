"""`hpc-exporter check`: names every mistake in the configuration with its place."""

import argparse
import sys
from pathlib import Path

from exporter.app import validate
from exporter.cli import options
from exporter.errors import ConfigurationError

EXAMPLE = """example:
  hpc-exporter check --config.file=exporter.yml
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "check",
        help="check the configuration",
        description="Load the configuration and name every mistake as FILE:LINE:COL: path: what is wrong.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_config_file(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    return check(args.config_file)


def check(path: Path) -> int:
    """Check one file; the exit status."""
    try:
        warnings = validate(path)
    except ConfigurationError as error:
        count = len(error.mistakes)
        print(error)
        print(f"{path}: {count} mistake{'s' if count > 1 else ''}", file=sys.stderr)
        return 1
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{path}: the configuration is fine")
    return 0
