"""`hpc-exporter waits`: within which time the first job submitted now starts, and how often that was right."""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypedDict

import msgspec

from exporter.app.status import wait_facts
from exporter.cli import options
from exporter.cli.commands import Command, Flag
from exporter.cli.http_client import EXPORTER, Server, load_access, status_of, unanswered
from exporter.cli.options import chosen
from exporter.cli.output import print_text, warn
from exporter.cli.terminal import rendered
from exporter.clock import SystemClock
from exporter.config import Config, load
from exporter.errors import ConfigurationError, DecodeError, ExporterError, PollError, UpstreamConnectionError
from exporter.sources.collector import subjects_of
from exporter.sources.once import Cell, Column
from exporter.tracking import Tracker
from exporter.tracking.store import read
from exporter.web.texts import Texts


class WireBound(TypedDict):
    """A bound in a status."""

    quantile: float
    seconds: float | None
    withheld: bool
    recent_held: int
    recent_checked: int


class WireWaits(TypedDict):
    """The bounds of a queue, or of a group, in a status."""

    source: str
    queue: str
    group: str
    accelerated: bool
    bounds: list[WireBound]


SHARES: Final = {0.5: "1 in 2", 0.9: "9 in 10", 0.95: "19 in 20"}

EXAMPLE = """examples:
  hpc-exporter waits
  hpc-exporter waits --cluster=kunshan --queue=normal
  hpc-exporter waits --url=https://hpc.example.com/exporter/

A row reads: 9 in 10 first jobs start within 2 h 10 min; this held for 96 of the last 100. "?" means too few waits: a bound
needs 5, 29 or 59 waits of first jobs. A bound is withheld while fewer of the last 100 held than chance explains. The group
stands in for the queue where the region does not report it. Bounds are for the first job of those that a user submits
together, if it is neither held nor waits for another one; nothing is promised to the others. See docs/accuracy.md.
"""


COMMAND = Command(
    "when the first job submitted now starts",
    "Print for each queue the time within which the first job that a user submits now starts, and how often such bounds held. "
    "Queries the running exporter; if none answers, reads the state file of the configuration.",
    EXAMPLE,
    options.CONFIG_FILE,
    *EXPORTER,
    Flag("--cluster", "only this region; can be given several times", options.NAME, many=True),
    Flag("--queue", "only this queue; can be given several times", options.NAME, many=True),
    options.WIDE,
    *options.logging("warning"),
)


def run(args: argparse.Namespace) -> int:
    try:
        found = asyncio.run(from_exporter(Server(args.url, load_access(args.http_config_file))))
    except UpstreamConnectionError as error:
        why = unanswered(args.url, error)
        try:
            config = load(args.config_file)
        except ConfigurationError:
            raise why from None
        found = from_state_file(config, why)
    except PollError as error:
        raise unanswered(args.url, error) from None
    named = [(waits, {"cluster": (waits["source"],), "queue": (waits["queue"],)}) for waits in found]
    shown = chosen(named, {"cluster": args.cluster, "queue": args.queue}, "wait")
    print_text(table(shown, wide=args.wide) if shown else "no first job of a burst was seen to wait yet\n")
    return 0


async def from_exporter(exporter: Server) -> list[Mapping[str, Any]]:
    """Return the part `waits` of the status. Raises PollError."""
    try:
        status = await status_of(exporter)
    finally:
        await exporter.close()
    try:
        return list(msgspec.convert(status.get("waits"), list[WireWaits]))
    except msgspec.ValidationError:
        raise DecodeError("its version does not tell bounds of waits as this one does") from None


def from_state_file(config: Config, why: ExporterError) -> list[Mapping[str, Any]]:
    """Return the same from the file of a process that ended. Raises ExporterError."""
    file = config.tracking.state_file
    if not config.tracking.enabled or file is None:
        raise ExporterError(f"{why}; and the configuration has no tracking.state_file to look into")
    state, now = read(file), SystemClock().now()
    warn(f"{why}; this is from the state file {file}")
    labels = {
        (cluster.name, subject.group_id): subject.group
        for cluster in config.clusters
        for _, subject in subjects_of("clusters", cluster)
    }
    tracker = Tracker(state)
    views = [view for source in sorted(tracker.sources_with_waits()) for view in tracker.waits(source, now)]
    return [wait_facts(labels.get(view.key[:2], view.key.group_id), view) for view in views]


def table(found: Sequence[Mapping[str, Any]], *, wide: bool) -> str:
    columns = [
        *(Column("cluster"), Column("queue"), Column("group"), Column("jobs", minor=True)),
        *(Column("first jobs", whole=True), Column("start within", whole=True, right=True)),
        Column("right in", whole=True, right=True),
    ]
    return rendered(columns, [row for waits in found for row in rows(waits)], sys.stdout, wide=wide)


def rows(waits: Mapping[str, Any]) -> Iterator[Sequence[Cell]]:
    kind = "GPU/DCU" if waits["accelerated"] else "CPU"
    span = Texts("en").span
    for bound in waits["bounds"]:
        seconds = bound["seconds"]
        yield (
            *(waits["source"], waits["queue"], waits["group"], kind, SHARES.get(bound["quantile"], "?")),
            "withheld" if bound["withheld"] else None if seconds is None else span(seconds),
            f"{bound['recent_held']} of {bound['recent_checked']}" if bound["recent_checked"] else None,
        )
