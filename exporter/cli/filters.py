"""The flags that choose among the targets of a configuration by their names."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from exporter.cli.commands import Flag, Group
from exporter.cli.options import NAME, UsageError
from exporter.sources.collector import Subject

T = TypeVar("T")

# The values that each filter is compared with.
NAMES: Final[Mapping[str, Callable[[Subject], tuple[str, ...]]]] = {
    "cluster": lambda subject: (subject.source,),
    "group": lambda subject: (subject.group, subject.group_id),
    "user": lambda subject: (subject.user,),
}


FILTERS: Final = (
    Group("filters", "Each can be given several times; different ones must all agree."),
    Flag("--cluster", "only this region or project", NAME, many=True),
    Flag("--group", "only this group: its label or its id", NAME, many=True),
    Flag("--user", "only this user", NAME, many=True),
)


def filters_of(args: argparse.Namespace) -> dict[str, Sequence[str] | None]:
    return {flag: getattr(args, flag) for flag in NAMES}


def chosen(candidates: Iterable[tuple[T, Subject]], filters: Mapping[str, Sequence[str] | None], noun: str) -> list[T]:
    """Return those whose subject passes.

    Raises UsageError for an unknown name, so that no match never looks like no jobs.

    `noun` is what the candidates are, in messages.
    """
    known = list(candidates)
    for flag, names in NAMES.items():
        given = dict.fromkeys(name for _, subject in known for name in names(subject) if name)
        for name in filters[flag] or ():
            if name not in given:
                raise UsageError(f"no {flag} {name!r} has {noun}s; there are: {', '.join(given) or 'none'}")
    found = [each for each, subject in known if passes(subject, filters)]
    if known and not found:
        raise UsageError(f"no {noun} passes all filters together")
    return found


def passes(subject: Subject, filters: Mapping[str, Sequence[str] | None]) -> bool:
    return all(
        wanted is None or any(name in wanted for name in NAMES[flag](subject)) for flag, wanted in filters.items()
    )
