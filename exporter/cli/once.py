"""`hpc-exporter once`: polls every target once and prints what it found."""

import argparse
import asyncio
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from exporter.app import Assembly, assemble
from exporter.app.survey import Outcome, all_targets, exposition, survey
from exporter.cli import options, shapes, summary
from exporter.cli.output import complain, show, write
from exporter.cli.progress import progress
from exporter.cli.table import Cell, Column, number, rendered
from exporter.errors import ExporterError, NotThereError
from exporter.records import HOLDS_NOTHING, JobListing, JobState, QueueStatistics
from exporter.sources.collector import Collector, Found, registry
from exporter.sources.octopus.records import QueueListing

EXAMPLE = """examples:
  hpc-exporter once
  hpc-exporter once --format=json | jq '.members[] | {user, running: .states.running.jobs}'
  hpc-exporter once --format=prometheus --output=/var/lib/node_exporter/textfile/hpc.prom

A target that fails is named on standard error, and the exit status is 1; what the others said is printed all the same.
The table shows amounts in use; "?" is what the API did not say. The shape of the JSON is in config/once.schema.json.
The Prometheus text holds gauges and the health of the targets, no timestamps and nothing about the process; the file is
replaced as a whole. Counters and waits need a process that keeps watching: that is `serve`.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "once",
        help="poll every target once and print what it says",
        description="Poll every target of the configuration once and print a table, JSON or the Prometheus text format. "
        "Nothing is kept: the tracker of `serve` and its state file are not touched.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_config_file(parser)
    parser.add_argument(
        "--format",
        choices=("table", "json", "prometheus"),
        default="table",
        help="what to print (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="replace this file, mode 0644, instead of printing; node_exporter reads names that end in .prom. A pipe or device is "
        "written into",
    )
    options.add_logging(parser, default="warning")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options.setup_logging(args)
    assembly = assemble(args.config_file)
    output = None if args.output == Path("-") else args.output
    return asyncio.run(once(assembly, args.format, output))


async def once(assembly: Assembly, fmt: str, output: Path | None) -> int:
    """Poll everything and print it; the exit status. Raises OutputError."""
    try:
        outcomes = await poll_all(assembly)
        text = await exposition(assembly, outcomes) if fmt == "prometheus" else b""
    finally:
        await assembly.close()
    complain(*filter(None, map(complaint, outcomes)))
    if fmt == "prometheus":
        write(text.decode(), output)
    else:
        found = summary.once(assembly.config, outcomes, assembly.services.clock.now())
        hand_over(found, {type(outcome.records) for outcome in outcomes}, fmt, output)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


async def poll_all(assembly: Assembly) -> list[Outcome]:
    targets = all_targets(assembly)
    if not targets:
        raise ExporterError(
            "there is nothing to poll: the configuration names accounts, but no clusters and no octopus"
        )
    with progress("polling", len(targets)) as advance:
        return await survey(assembly, targets, lambda _outcome: advance())


def complaint(outcome: Outcome) -> str:
    """What to say about a target that failed, or whose answer could not be read completely; empty for all others."""
    if isinstance(outcome.error, NotThereError):
        return f"{name_of(outcome)}: {outcome.error}; it is optional"
    if outcome.error is not None:
        return f"{name_of(outcome)} failed: {outcome.error}"
    if unreadable := summary.unreadable(outcome):
        return f"{name_of(outcome)}: {unreadable} record{'s' * (unreadable > 1)} left out as unreadable"
    return ""


def name_of(outcome: Outcome) -> str:
    return " ".join(filter(None, outcome.key))


def hand_over(found: shapes.Once, answered: set[type], fmt: str, output: Path | None) -> None:
    if fmt == "json":
        write(shapes.encoded(found), output)
    elif output is not None:
        # For a file: plain, and as wide as it needs to be.
        write(tables(found, answered, io.StringIO()), output)
    else:
        show(tables(found, answered, sys.stdout))


def tables(found: shapes.Once, answered: set[type], stream: TextIO) -> str:
    """All that was found, for a person; `answered` are the types of records that polls yielded."""
    sections = [
        ("Jobs by queue", QueueStatistics, *queue_table(found.queues), "no queue has a job"),
        ("Members' jobs, and the cores, GPUs and DCUs in use", JobListing, *member_table(found.members), "no members"),
        ("Octopus queues", QueueListing, *octopus_table(found.octopus_queues), "no queues"),
        *(
            (collector.title.en.capitalize(), Found, *value_table(collector, rows), "nothing")
            for collector in registry().values()
            if (rows := [row for row in found.values if row.collector == collector.name])
        ),
    ]
    return "\n".join(
        f"{title}\n\n" + (rendered(columns, rows, stream) if rows else f"{nothing}\n")
        for title, kind, columns, rows, nothing in sections
        if kind in answered
    )


Rows = list[Sequence[Cell]]


def queue_table(queues: list[shapes.QueueRow]) -> tuple[list[Column], Rows]:
    states = states_to_show(JobState.OTHER, *(state for row in queues for state, jobs in row.jobs.items() if jobs))
    columns = [Column("cluster"), Column("user"), Column("queue"), *map(number, states)]
    return columns, [
        (row.cluster, row.user, row.queue, *(row.jobs.get(state, absent(state)) for state in states)) for row in queues
    ]


def absent(state: JobState) -> int | None:
    """What it means that a queue has no number for a state: unknown, or no such job where the state is seldom met."""
    return 0 if state is JobState.UNKNOWN else None


def states_to_show(*met: JobState) -> list[JobState]:
    """The usual states and those that were met, in the order that people know."""
    wanted = {*summary.USUAL_STATES, *met}
    return [state for state in JobState if state in wanted]


def member_table(members: list[shapes.MemberRow]) -> tuple[list[Column], Rows]:
    states = states_to_show(*(state for row in members for state, found in row.states.items() if found.jobs))
    titles = [*states, "cores", "GPUs", "DCUs"]
    columns = [Column("cluster"), Column("group"), Column("user"), *map(number, titles)]
    return columns, [
        (
            *(row.cluster, row.group, row.user),
            *(row.states[state].jobs if state in row.states else 0 for state in states),
            *(in_use(row, amount) for amount in ("cpus", "gpus", "dcus")),
        )
        for row in members
    ]


def in_use(row: shapes.MemberRow, amount: str) -> int | None:
    """The sum over all states in which jobs hold something, None where that of one is unknown."""
    amounts: list[int | None] = [
        getattr(found.allocated, amount) for state, found in row.states.items() if state not in HOLDS_NOTHING
    ]
    known = [each for each in amounts if each is not None]
    return sum(known) if len(known) == len(amounts) else None


def octopus_table(queues: list[shapes.OctopusRow]) -> tuple[list[Column], Rows]:
    columns = [
        *(Column("project"), Column("queue type"), Column("cluster type"), Column("cluster id")),
        *(number("length"), number("cores wanted"), number("GiB wanted")),
    ]
    return columns, [
        (
            *(row.project, row.queue_type, row.cluster_type, row.cluster_id, row.length),
            *(rounded(row.requested_cpu_cores), rounded(row.requested_memory_bytes, 2**30)),
        )
        for row in queues
    ]


def value_table(collector: Collector, values: list[shapes.ValueRow]) -> tuple[list[Column], Rows]:
    """The values of a collector's families: a column for each label, and one for the value."""
    labels = list(dict.fromkeys(label for family in collector.families for label in family.labels))
    several = len(collector.families) > 1
    columns = [*([Column("metric")] if several else []), *map(Column, labels), number("value")]
    return columns, [
        (
            *([row.family] if several else []),
            *(row.labels.get(label, "") for label in labels),
            rounded(row.value),
        )
        for row in values
    ]


def rounded(value: float | None, unit: int = 1) -> str | None:
    return None if value is None else f"{value / unit:.10g}"
