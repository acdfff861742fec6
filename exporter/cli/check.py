"""`hpc-exporter check`: names every mistake in the configuration with its place."""

import argparse
from pathlib import Path

from exporter.app import validate
from exporter.cli import online, options
from exporter.cli.output import print_text, say
from exporter.errors import ConfigurationError

EXAMPLE = """examples:
  hpc-exporter check --config.file=exporter.yml
  hpc-exporter check --online

Exit status: 0 if all is well, 1 for any mistake and, with --online, any target that fails.

With --online there is one line for each target: which of these steps went well, which one failed and why, and the first
thing to do about it.
  address      the host's name resolves
  connection   the host takes connections
  TLS          its certificate is accepted
  login        the token is accepted; where an account gives it, the login works
  permission   the token's owner may ask this, about a user or group that exists
  answer       it comes in time, and all of it can be read
  clock        this machine's clock and the host's differ by less than a minute
Every target is asked once, without retries.
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
    parser.add_argument("--online", action="store_true", help="also try every target once")
    parser.add_argument(
        "--timeout",
        type=options.duration,
        default="5m",
        metavar="DURATION",
        help="of all trials together, with --online (default: %(default)s)",
    )
    options.add_logging(parser, default="warning")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options.setup_logging(args)
    status = check(args.config_file)
    return online.run(args.config_file, args.timeout) if args.online and status == 0 else status


def check(path: Path) -> int:
    """Check one file; the exit status."""
    try:
        warnings = validate(path)
    except ConfigurationError as error:
        count = len(error.mistakes)
        print_text(str(error))
        say(f"{path}: {count} mistake{'s' if count > 1 else ''}")
        return 1
    say(*(f"warning: {warning}" for warning in warnings))
    print_text(f"{path}: the configuration is fine")
    return 0
