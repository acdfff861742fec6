"""`hpc-exporter once`: polls every target once and prints the results."""

import argparse
import asyncio
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TextIO

from exporter.app import Components, assemble
from exporter.app.poll_once import exposition, poll_once
from exporter.app.target_info import TargetInfo, info_of, target_infos
from exporter.cli import options
from exporter.cli.commands import Command, Flag, Group
from exporter.cli.options import FILTERS, Filters, chosen, filters_of, names_in
from exporter.cli.output import warn_alike, write, write_table
from exporter.cli.schemas import TargetOutcome, ValueRow, encoded, failure, once_shape, own_rows
from exporter.cli.terminal import grouped, progress, rendered, with_totals
from exporter.clock import timestamp
from exporter.errors import ExporterError, NotThereError
from exporter.http.client import NOT_REPEATED
from exporter.metrics.family import NOTHING_RECENT, Family
from exporter.polling import Outcome, Target, TargetKey
from exporter.sources.collector import Collector, Found, Subject, registry
from exporter.sources.once import Column, Once, Shape, Table, rounded
from exporter.text import counted

# Targets of the configuration by key, and rows by kind.
Infos = dict[TargetKey, TargetInfo]
RowsByKind = Mapping[Once, list[Shape]]

GROUPINGS: Final = ("cluster", "group", "user", "queue")
# Stands for a value that a metric need not have, such as a limit.
NONE: Final = "-"
# Units that amounts are shown in, by the last word of their metric, with the size of each in the metric's own unit.
UNITS: Final = {"bytes": ("GB", 10**9), "seconds": ("h", 3600), "cny": ("CNY", 1)}

EXAMPLE = """examples:
  hpc-exporter once
  hpc-exporter once --by=user --top=10
  hpc-exporter once --cluster=kunshan --group=chemistry
  hpc-exporter once --format=json |
    jq '.members[] | {user, running: .states.running.jobs}'
  hpc-exporter once --format=prometheus \\
    --output=/var/lib/node_exporter/textfile/hpc.prom

A target that fails is named on standard error, and the exit status is 1; results of the others are printed all the same.
The table shows amounts in use; "?" is a value that the API did not send, "-" one that need not be there, such as a limit.
The shape of the JSON is in config/once.schema.json.
The Prometheus text holds gauges and the health of the targets, no timestamps and nothing about the process; the file is
replaced atomically. Counters and waits need continuous polling: use `serve`.
"""


COMMAND = Command(
    "poll every target once and print the results",
    "Poll every target of the configuration once and print a table, JSON or the Prometheus text format. Nothing is stored: the "
    "tracker of `serve` and its state file are not touched.",
    EXAMPLE,
    options.CONFIG_FILE,
    options.formats("json", "prometheus"),
    Flag(
        "--output",
        "replace this file, mode 0644, instead of printing; node_exporter reads names that end in .prom. A pipe or device is "
        "written into",
        options.FILE_OR_STREAM,
    ),
    Group("table"),
    Flag("--by", f"one row for each of these, with its sums: {', '.join(GROUPINGS)}", options.names_of(GROUPINGS), ()),
    Flag("--top", "only the N rows with the most jobs, and the sum of the others", options.number(1)),
    options.WIDE,
    *FILTERS,
    *options.logging("warning"),
)


def run(args: argparse.Namespace) -> int:
    components = assemble(args.config_file)
    infos = target_infos(components.config)
    targets = _targets(components, infos, filters_of(args))
    return asyncio.run(_once(components, infos, targets, args))


def _targets(components: Components, infos: Infos, filters: Filters) -> list[Target]:
    """Return the targets to poll. Raises UsageError for filters that match none."""
    targets = components.targets()
    if not targets:
        raise ExporterError(
            "there is nothing to poll: the configuration names no targets; hpc-exporter discover finds those of an account"
        )
    return chosen([(target, names_in(info_of(infos, target.key).subject)) for target in targets], filters, "target")


async def _once(components: Components, infos: Infos, targets: list[Target], args: argparse.Namespace) -> int:
    """Poll the targets and print what was found; the exit status. Raises OutputError."""
    try:
        with progress("polling", len(targets)) as advance:
            outcomes = await poll_once(components, targets, lambda _outcome: advance())
        text = await exposition(components, outcomes) if args.format == "prometheus" else b""
    finally:
        await components.close()
    warn_alike(
        (outcome.key.source, " ".join(filter(None, outcome.key[1:])), complaint)
        for outcome in outcomes
        if (complaint := _complaint(outcome))
    )
    collected = [(info_of(infos, outcome.key), outcome) for outcome in outcomes]
    rows = _rows(collected)
    if args.format == "prometheus":
        write(text.decode(), args.output)
    elif args.format == "json":
        write(encoded(_document(rows, outcomes, components.context.clock.now())), args.output)
    else:
        incomplete = _incomplete(collected)
        write_table(lambda stream: _tables(rows, incomplete, stream, args), args.output)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _complaint(outcome: Outcome) -> str:
    """Return the problem of a target that failed or had unreadable records; empty for all others."""
    if isinstance(outcome.error, NotThereError):
        return f": {outcome.error}; it is optional"
    if outcome.error is not None:
        return f" failed: {str(outcome.error).removesuffix(NOT_REPEATED.en)}"
    if unreadable := outcome.unreadable:
        return f": {counted(unreadable, 'record')} left out as unreadable"
    return ""


def _rows(collected: Iterable[tuple[TargetInfo, Outcome]]) -> RowsByKind:
    """Return the rows of each kind for which at least one poll worked, in the order in which they are printed."""
    kinds = {each: each.once or _values(each) for each in registry().values()}
    rows: defaultdict[Once, list[Shape]] = defaultdict(list)
    for info, outcome in collected:
        if outcome.records is not None:
            rows[kinds[info.collector]] += kinds[info.collector].rows(info.subject, outcome.records)
    in_order = [*own_rows(), *kinds.values()]
    return dict(sorted(rows.items(), key=lambda of_kind: in_order.index(of_kind[0])))


def _incomplete(collected: Iterable[tuple[TargetInfo, Outcome]]) -> set[Once | None]:
    """Return the kinds of rows of which some are missing, because a poll failed or a record could not be read."""
    return {info.collector.once for info, outcome in collected if outcome.unreadable or not outcome.ok}


def _values(collector: Collector) -> Once:
    """Return the rows and the table of a collector that declares none of its own: one row for each value."""
    rows, table = partial(_value_rows, collector), partial(_value_table, collector.families)
    return Once("values", ValueRow, rows, collector.title.en.capitalize(), "", table)


def _value_rows(collector: Collector, _subject: Subject, found: Found) -> Iterator[ValueRow]:
    for family, labels, value in found.samples:
        if value is not None:
            named = dict(zip(family.labels, labels, strict=True))
            yield ValueRow(collector=collector.name, family=family.name, labels=named, value=value)


def _value_table(families: Sequence[Family], values: Sequence[ValueRow]) -> Table:
    """Return a column for each label that all metrics have, and one for each metric and values of its other labels."""
    names = [family.name for family in families]
    heads = _heads(names)
    shared = [label for label in families[0].labels if all(label in family.labels for family in families)]
    # Those that are absent for one reason alone: that nothing is known.
    unknown = {family.name for family in families if family.absent is NOTHING_RECENT}

    def title(row: ValueRow) -> str:
        others = (value.replace("_", " ") for label, value in row.labels.items() if label not in shared)
        return " ".join([heads[row.family], *others])

    titles = dict.fromkeys(map(title, sorted(values, key=lambda row: (len(row.labels), names.index(row.family)))))
    rows: defaultdict[tuple[str, ...], dict[str, str | None]] = defaultdict(dict)
    for row in values:
        _, unit = UNITS.get(row.family.rpartition("_")[2], ("", 1))
        rows[tuple(row.labels[label] for label in shared)][title(row)] = rounded(row.value, unit)
    plain = {title(row) for row in values if len(row.labels) == len(shared)}
    optional = {title(row) for row in values if row.family not in unknown}
    columns = [Column(label.removeprefix("hpc_").replace("_", " ")) for label in shared]
    columns += (Column(name, whole=True, right=True, minor=name not in plain) for name in titles)
    return Table(
        columns,
        [
            (*key, *(cells.get(name, NONE if name in optional else None) for name in titles))
            for key, cells in rows.items()
        ],
    )


def _heads(names: Sequence[str]) -> dict[str, str]:
    """Return the head of the column of each metric: its name without the words that all begin with, and the unit shown."""
    if len(names) == 1:
        return {names[0]: "value"}
    prefix = os.path.commonprefix(names).rpartition("_")[0]  # noqa: RUF071 - names are no paths
    words = {name: name.removeprefix(prefix).strip("_").replace("_", " ") for name in names}
    return {
        name: re.sub(" (bytes|seconds|cny)$", lambda found: f" {UNITS[found[1]][0]}", short)
        for name, short in words.items()
    }


def _document(found: RowsByKind, outcomes: Sequence[Outcome], now: float) -> Shape:
    """Return the JSON, at the Unix time `now`."""
    lists: dict[str, list[Shape]] = {key: [] for key in [*(own.key for own in own_rows()), "values"]}
    for kind, rows in found.items():
        lists[kind.key] += rows
    return once_shape()(
        time=timestamp(now),
        ok=all(outcome.ok for outcome in outcomes),
        targets=list(map(_target_outcome, outcomes)),
        **lists,
    )


def _target_outcome(outcome: Outcome) -> TargetOutcome:
    return TargetOutcome(
        **outcome.key._asdict(),
        ok=outcome.ok,
        seconds=round(outcome.seconds, 3),
        unreadable_records=outcome.unreadable,
        error=failure(outcome.error),
    )


def _tables(found: RowsByKind, incomplete: Collection[Once | None], stream: TextIO, args: argparse.Namespace) -> str:
    """Return the tables of all rows, with their sums."""
    sections = []
    for kind, rows in found.items():
        if kind.table is None or not (rows or kind.nothing):
            continue
        table = kind.table(rows)
        titles = {column.title for column in table.columns}
        if args.by and not (titles.issuperset(args.by) and any(column.summed for column in table.columns)):
            continue
        body = f"{kind.nothing}\n"
        if rows:
            table = grouped(table, args.by) if args.by else table
            table, footers = with_totals(table, args.top, partial=kind in incomplete)
            body = rendered(*table, stream, footers, wide=args.wide)
        sections.append(f"{kind.heading}\n\n{body}")
    return "\n".join(sections) if sections or not args.by else f"nothing has the columns {', '.join(args.by)}\n"
