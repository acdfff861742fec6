"""Flags that several commands share, spelled as in Prometheus' own programs."""

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from exporter.cli.output import print_text
from exporter.config.units import parse_duration
from exporter.errors import ExporterError
from exporter.log import LEVELS
from exporter.redaction import withheld
from exporter.version import version_text
from exporter.web.listen import parse_listen_address

DEFAULT_CONFIG = Path("exporter.yml")
DEFAULT_LISTEN = ":9851"
# Digits; Python raises an error of its own for thousands.
LONGEST_NUMBER = 20


class UsageError(ExporterError):
    """Wrong usage that only shows after parsing, such as a name that the configuration does not have."""

    exit_status = 2


class Flags(Protocol):
    """A parser, or a group of its flags."""

    def add_argument(self, *name_or_flags: str, **settings: Any) -> argparse.Action:
        """Add a flag."""
        ...


class Subparsers(Protocol):
    """The commands of a parser, for whose type argparse has no public name."""

    def add_parser(self, name: str, *, help: str, description: str, epilog: str) -> argparse.ArgumentParser:  # noqa: A002 - as argparse names it
        """Add a command; its parser."""
        ...


def add_path(parser: Flags, flag: str, *, type: Callable[[str], Any] = Path, **settings: Any) -> None:  # noqa: A002 - as argparse names it
    """Add a flag that takes the name of a file, which shells complete."""
    action = parser.add_argument(flag, type=type, metavar="FILE", **settings)
    # Read by shtab; not an attribute of argparse.
    action.complete = "file"  # type: ignore[attr-defined]  # see above


class ShowVersion(argparse.Action):
    """Prints the version as it is; argparse's own action would fold its lines."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print_text(f"{version_text()}\n")
        parser.exit()


def add_version(parser: Flags) -> None:
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show version, revision and Python's version")


def add_output(parser: argparse.ArgumentParser, flag: str, text: str) -> None:
    """Add a flag for a file that results go to instead of a standard stream.

    "-" is that stream: None in the namespace.
    """
    add_path(parser, flag, type=lambda name: None if name == "-" else Path(name), help=text)


def add_config_file(parser: Flags) -> None:
    text = "the configuration (default: %(default)s)"
    add_path(parser, "--config.file", dest="config_file", default=DEFAULT_CONFIG, help=text)


def add_logging(parser: argparse.ArgumentParser, default: str = "info") -> None:
    group = parser.add_argument_group("logging")
    group.add_argument(
        "--log.level",
        dest="log_level",
        default=default,
        type=lambda text: {"warn": "warning"}.get(text, text),
        choices=LEVELS,
        help="minimum severity to log (default: %(default)s)",
    )
    group.add_argument(
        "--log.format",
        dest="log_format",
        default="logfmt",
        choices=("logfmt", "json"),
        help="format of the log lines on standard error (default: %(default)s)",
    )


def add_wide(parser: Flags) -> None:
    parser.add_argument("--wide", action="store_true", help="all columns and whole names, however wide the terminal")


T = TypeVar("T")


def argument_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return an argparse type whose usage errors are the messages of the ValueErrors that `parse` raises."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def names_of(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Return an argparse type: some of the `known` names, separated by commas."""

    def names(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        for name in given:
            if name not in known:
                raise ValueError(f"there is no {name!r}; there are: {', '.join(known)}")
        return given

    return argument_type(names)


duration = argument_type(parse_duration)
listen_address = argument_type(parse_listen_address)


def add_web(parser: argparse.ArgumentParser, default_listen: str) -> None:
    group = parser.add_argument_group("web server")
    group.add_argument(
        "--web.listen-address",
        dest="listen_addresses",
        action="append",
        type=listen_address,
        metavar="HOST:PORT",
        help=f"address to serve on; can be given several times, port 0 picks a free one (default: {default_listen})",
    )
    parser.set_defaults(default_listen=parse_listen_address(default_listen))
    group.add_argument(
        "--web.systemd-socket",
        dest="systemd_socket",
        action="store_true",
        help="listen on the sockets that systemd passes, not on --web.listen-address",
    )
    add_path(
        group,
        "--web.config.file",
        dest="web_config_file",
        help="TLS, client certificates, passwords and limits of the server, in the format of Prometheus' "
        "exporter-toolkit; read again when it changes",
    )
    group.add_argument(
        "--web.external-url",
        dest="external_url",
        type=external_url,
        metavar="URL",
        help="URL of the exporter behind a reverse proxy; its path is served as well",
    )
    group.add_argument(
        "--web.telemetry-path",
        dest="telemetry_path",
        type=telemetry_path,
        default="/metrics",
        metavar="PATH",
        help="path of the metrics (default: %(default)s)",
    )
    group.add_argument(
        "--web.disable-exporter-metrics",
        dest="disable_exporter_metrics",
        action="store_true",
        help="leave out the exporter's own metrics (hpc_exporter_*, process_*)",
    )
    group.add_argument(
        "--web.max-requests",
        dest="max_requests",
        type=non_negative,
        default=40,
        metavar="N",
        help="maximum number of parallel scrapes, further ones get 503; 0 is no limit (default: %(default)s)",
    )


TAKEN_PATHS = frozenset({"/", "/-/healthy", "/-/ready", "/-/reload", "/api/v1/status", "/api/v1/jobs", "/config"})
TAKEN_PREFIXES = ("/static/", "/api/")


def telemetry_path(text: str) -> str:
    """Return an argparse type."""
    if (
        not text.startswith("/")
        or text in TAKEN_PATHS
        or text.startswith(TAKEN_PREFIXES)
        or any(char in text for char in "{}?# ")
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path that is free, like /metrics")
    return text


def external_url(text: str) -> str:
    """Return an argparse type: the URL without the slash at its end."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if valid and "@" in parts.netloc:
        # Not repeated: a password may be in it.
        raise argparse.ArgumentTypeError("a user and a password in it would be seen by all users of this machine")
    if not valid or parts.query or parts.fragment or any(char in parts.path for char in "{} %"):
        raise argparse.ArgumentTypeError(f"{withheld(text)!r} is not a URL like https://hpc.example.com/exporter/")
    return text.rstrip("/")


def whole_number(text: str) -> int:
    """Return an argparse type."""
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) <= LONGEST_NUMBER):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def non_negative(text: str) -> int:
    """Return an argparse type."""
    return _number(text, 0)


def positive(text: str) -> int:
    """Return an argparse type."""
    return _number(text, 1)


def _number(text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {least} or more")
    return int(text)


def positive_duration(text: str) -> float:
    """Return an argparse type: seconds, more than 0."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return seconds
