"""Flags that several commands share, spelled as in Prometheus' own programs, and the values that flags take."""

import argparse
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from exporter.cli.commands import Flag, Group, Value
from exporter.cli.output import print_text
from exporter.config.units import parse_duration
from exporter.errors import ExporterError
from exporter.log import LEVELS
from exporter.redaction import withheld
from exporter.version import version_text
from exporter.web.listen import parse_listen_address

if TYPE_CHECKING:
    from exporter.sources.collector import Subject

# Digits; Python raises an error of its own for thousands.
LONGEST_NUMBER: Final = 20


class UsageError(ExporterError):
    """Wrong usage that only shows after parsing, such as a name that the configuration does not have."""

    exit_status = 2


T = TypeVar("T")


def read_by(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a reader of values whose usage errors are the messages of the ValueErrors that `parse` raises."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def one_of(*choices: str) -> Value:
    return Value(choices=choices)


def names_of(known: Collection[str]) -> Value:
    """Return the value of some of the `known` names, separated by commas."""

    def names(text: str) -> tuple[str, ...]:
        given = tuple(dict.fromkeys(text.split(",")))
        for name in given:
            if name not in known:
                raise ValueError(f"there is no {name!r}; there are: {', '.join(known)}")
        return given

    return Value("NAME,...", read_by(names))


def number(least: int | None = None) -> Value:
    """Return the value of a whole number, of `least` or more."""

    def whole(text: str) -> int:
        digits = text if least is not None else text.removeprefix("-")
        plain = digits.isascii() and digits.isdigit() and len(text) <= LONGEST_NUMBER
        if not plain or (least is not None and int(text) < least):
            raise ValueError(f"{text!r} is not a {'whole number' if least is None else f'number of {least} or more'}")
        return int(text)

    return Value("N", read_by(whole))


def _some_time(text: str) -> float:
    """Return seconds, more than 0."""
    if (seconds := parse_duration(text)) <= 0:
        raise ValueError("must be more than 0")
    return seconds


def _external_url(text: str) -> str:
    """Return the URL without the slash at its end."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if valid and "@" in parts.netloc:
        # Not repeated: a password may be in it.
        raise ValueError("a user and a password in it would be seen by all users of this machine")
    if not valid or parts.query or parts.fragment or any(char in parts.path for char in "{} %"):
        raise ValueError(f"{withheld(text)!r} is not a URL like https://hpc.example.com/exporter/")
    return text.rstrip("/")


NAME: Final = Value("NAME")
FILE: Final = Value("FILE", Path)
# "-" is the standard stream: None in the namespace.
FILE_OR_STREAM: Final = Value("FILE", lambda name: None if name == "-" else Path(name))
DURATION: Final = Value("DURATION", read_by(parse_duration))
SOME_TIME: Final = Value("DURATION", read_by(_some_time))
ADDRESS: Final = Value("HOST:PORT", read_by(parse_listen_address))
URL: Final = Value("URL", read_by(_external_url))


class ShowVersion(argparse.Action):
    """Prints the version as it is; argparse's own action would fold its lines."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print_text(f"{version_text()}\n")
        parser.exit()


VERSION: Final = Flag("--version", "show version, revision and Python's version", action=ShowVersion)
CONFIG_FILE: Final = Flag("--config.file", "the configuration", FILE, Path("exporter.yml"))
WIDE: Final = Flag("--wide", "all columns and whole names, however wide the terminal")


def formats(*others: str) -> Flag:
    return Flag("--format", "what to print", one_of("table", *others), "table")


def logging(default: str = "info") -> tuple[Group | Flag, ...]:
    levels = Value(read=lambda text: {"warn": "warning"}.get(text, text), choices=LEVELS)
    return (
        Group("logging"),
        Flag("--log.level", "minimum severity to log", levels, default),
        Flag("--log.format", "format of the log lines on standard error", one_of("logfmt", "json"), "logfmt"),
    )


FILTERS: Final = (
    Group("filters", "Each can be given several times; different ones must all agree."),
    Flag("--cluster", "only this region or project", NAME, many=True),
    Flag("--group", "only this group: its label or its id", NAME, many=True),
    Flag("--user", "only this user", NAME, many=True),
)


# The names that filters are compared with, by the flag.
Names = Mapping[str, tuple[str, ...]]
Filters = Mapping[str, Sequence[str] | None]


def filters_of(args: argparse.Namespace) -> Filters:
    return {"cluster": args.cluster, "group": args.group, "user": args.user}


def names_in(subject: "Subject") -> Names:
    return {"cluster": (subject.source,), "group": (subject.group, subject.group_id), "user": (subject.user,)}


def chosen(candidates: Iterable[tuple[T, Names]], filters: Filters, noun: str) -> list[T]:
    """Return those whose names pass.

    Raises UsageError for an unknown name, so that no match never looks like no jobs.

    `noun` is what the candidates are, in messages.
    """
    known = list(candidates)
    for flag, wanted in filters.items():
        given = dict.fromkeys(name for _, names in known for name in names[flag] if name)
        for name in wanted or ():
            if name not in given:
                raise UsageError(f"no {flag} {name!r} has {noun}s; there are: {', '.join(given) or 'none'}")
    found = [each for each, names in known if passes(names, filters)]
    if known and not found:
        raise UsageError(f"no {noun} passes all filters together")
    return found


def passes(names: Names, filters: Filters) -> bool:
    return all(wanted is None or any(name in wanted for name in names[flag]) for flag, wanted in filters.items())
