"""`hpc-exporter report`: jobs, resource hours, waits and outcomes of a month, from a Prometheus or the regions' histories."""

import argparse
import asyncio
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final, TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from exporter.cli import options
from exporter.cli.commands import Command, Flag, Group, Value
from exporter.cli.http_client import http_config, load_access
from exporter.cli.options import UsageError
from exporter.cli.output import warn, write, write_table
from exporter.cli.report_sources import BY, Period, Report, Sums, from_history, from_prometheus
from exporter.cli.schemas import ReportDocument, ReportRow, encoded
from exporter.cli.terminal import rendered, with_totals
from exporter.clock import SystemClock, timestamp
from exporter.sources.once import Cell, Column, Table, count, number
from exporter.tracking.model import OUTCOMES
from exporter.web.csv import BOM, cell
from exporter.web.texts import Texts

# Outcomes with a column of their own; all are in CSV and JSON.
SHOWN: Final = ("completed", "failed", "timeout", "deleted")
CHINA: Final = timezone(timedelta(hours=8), "Asia/Shanghai")

EXAMPLE = """examples:
  hpc-exporter report --month=2026-11 --prometheus=http://localhost:9090
  hpc-exporter report --from=2026-11-01 --to=2026-11-08 --by=group
  hpc-exporter report --month=2026-11 --format=csv --output=november.csv
  hpc-exporter report --prometheus=https://prometheus.example.com \\
    --http.config.file=prometheus-access.yml

With --prometheus the numbers are increases of the exporter's counters, and standard error says how much of the period they
cover. Without it they come from the job history of the regions, requested for the whole period, without jobs that still run
or ended more than 7 days after it.
Jobs count when they ended, waits when jobs started, hours as far as they lie in the period. "?" is a value that the source
does not have: counters have no queue of a job and no user of a wait.
"""


def _zone(text: str) -> tzinfo:
    """Return a time zone. Raises ValueError."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is not the name of a time zone, like Asia/Shanghai") from None


COMMAND = Command(
    "jobs, core hours and waits of a month",
    "Print jobs, core-, GPU- and DCU-hours, waits and outcomes of a month or another period, by user, group, queue or region.",
    EXAMPLE,
    options.CONFIG_FILE,
    Flag("--by", f"one row for each of these: {', '.join(BY)}", options.names_of(BY), "cluster,group,user"),
    Flag("--prometheus", "Prometheus that scrapes the exporter (default: the regions' job history)", options.URL),
    http_config("Prometheus"),
    options.formats("csv", "json"),
    options.WIDE,
    Flag("--output", "replace this file, mode 0644, instead of printing", options.FILE_OR_STREAM),
    Group("period"),
    Flag("--month", "a calendar month (default: the last whole one)", Value("YYYY-MM")),
    Flag("--from", "begin of the period: a date, or RFC 3339", Value("TIME"), dest="since"),
    Flag("--to", "end of the period, exclusive (default: now)", Value("TIME"), dest="until"),
    Flag("--time-zone", "time zone of months and dates", Value("NAME", options.read_by(_zone)), CHINA),
    *options.logging("warning"),
)


def run(args: argparse.Namespace) -> int:
    if args.http_config_file and not args.prometheus:
        raise UsageError("--http.config.file is for the Prometheus: give --prometheus=URL as well")
    period = period_of(args.month, args.since, args.until, args.time_zone, SystemClock().now())
    if args.prometheus:
        access = load_access(args.http_config_file)
        report = asyncio.run(from_prometheus(args.prometheus, access, period, args.by))
    else:
        report = asyncio.run(from_history(args.config_file, period, args.by))
    begin, end = (
        datetime.fromtimestamp(moment, period.zone).isoformat(timespec="minutes")
        for moment in (period.begin, period.end)
    )
    warn(f"{begin} to {end}", *report.remarks)
    if args.format == "table":
        write_table(lambda stream: table(report, args.by, stream, wide=args.wide), args.output)
    else:
        text = document(report, period, args.by) if args.format == "json" else as_csv(report, args.by)
        write(text, args.output)
    return 0 if report.complete else 1


def period_of(month: str | None, since: str | None, until: str | None, zone: tzinfo, now: float) -> Period:
    """Return the period, up to now at most. Raises UsageError."""
    if month is not None and (since is not None or until is not None):
        raise UsageError("--month does not go with --from and --to")
    if until is not None and since is None:
        raise UsageError("--to needs --from")
    if since is not None:
        begin, end = _moment(since, "--from", zone), now if until is None else _moment(until, "--to", zone)
    else:
        begin, end = _month(month, zone) if month is not None else _last_month(now, zone)
    if not 0 <= begin < min(end, now):
        raise UsageError("the period is empty, begins before 1970, or lies in the future")
    return Period(begin, min(end, now), zone)


def _month(text: str, zone: tzinfo) -> tuple[float, float]:
    try:
        return _of_month(datetime.strptime(text, "%Y-%m").replace(tzinfo=zone))
    except (ValueError, OverflowError):
        raise UsageError(f"--month={text} is not a month like 2026-11") from None


def _last_month(now: float, zone: tzinfo) -> tuple[float, float]:
    """Return begin and end of the last whole month."""
    this = datetime.fromtimestamp(now, zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return _of_month((this - timedelta(days=1)).replace(day=1))


def _of_month(first: datetime) -> tuple[float, float]:
    return first.timestamp(), (first + timedelta(days=32)).replace(day=1).timestamp()


def _moment(text: str, flag: str, zone: tzinfo) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{flag}={text} is neither a date like 2026-11-01 nor a time like 2026-11-01T08:00:00Z"
        ) from None


def in_order(report: Report) -> list[tuple[tuple[str, ...], Sums]]:
    """Return the rows of a report, those with the most core hours first."""
    return sorted(report.sums.items(), key=lambda item: (-(item[1].core_hours or 0), -(item[1].jobs or 0), item[0]))


def table(report: Report, by: Sequence[str], stream: TextIO, *, wide: bool = False) -> str:
    """Return the rows with their sums, as `stream` can show them."""
    if not report.sums:
        return "no jobs are known of this period\n"
    columns = [
        *map(Column, by),
        count("jobs"),
        *(count(outcome, minor=outcome != "failed") for outcome in SHOWN),
        *map(count, ("core h", "GPU h", "DCU h")),
        number("median wait"),
        Column("mean wait", whole=True, right=True, minor=True),
        count("unaccounted h", minor=True),
    ]
    rows = [(*key, *_cells(sums)) for key, sums in in_order(report)]
    if all(sums.unaccounted_hours is None for sums in report.sums.values()):
        # Histories account for all of it.
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    found, footers = with_totals(Table(columns, rows), None, partial=not report.complete)
    return rendered(*found, stream, footers, wide=wide)


def _cells(sums: Sums) -> Sequence[Cell]:
    ends = [None if sums.outcomes is None else sums.outcomes.get(outcome, 0) for outcome in SHOWN]
    hours = map(_whole, (sums.core_hours, sums.gpu_hours, sums.dcu_hours))
    span = Texts("en").span
    waits = (None if each is None else span(each) for each in (sums.median_wait_seconds, sums.mean_wait_seconds))
    return (sums.jobs, *ends, *hours, *waits, _whole(sums.unaccounted_hours))


def _whole(hours: float | None) -> int | None:
    return None if hours is None else round(hours)


def as_csv(report: Report, by: Sequence[str]) -> str:
    """Return all numbers, a line a row, with a mark that lets spreadsheets recognize UTF-8. Unknown is empty."""
    outcomes = outcomes_of(report)
    amounts = [each.name for each in fields(Sums) if each.name != "outcomes"]
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([*by, "jobs", *map(cell, outcomes), *amounts])
    for key, sums in in_order(report):
        ends = ["" if sums.outcomes is None else sums.outcomes.get(outcome, 0) for outcome in outcomes]
        values = [getattr(sums, name) for name in amounts]
        writer.writerow(
            [*map(cell, key), "" if sums.jobs is None else sums.jobs, *ends]
            + ["" if value is None else f"{value:.3f}".rstrip("0").rstrip(".") for value in values]
        )
    return BOM + file.getvalue()


def outcomes_of(report: Report) -> list[str]:
    """Return the outcomes that occur, in the order that people know, others last."""
    met = {outcome for sums in report.sums.values() for outcome in sums.outcomes or ()}
    return [*(outcome for outcome in OUTCOMES if outcome in met), *sorted(met.difference(OUTCOMES))]


def document(report: Report, period: Period, by: Sequence[str]) -> str:
    """Return the report as JSON; its shape is in config/report.schema.json."""
    return encoded(
        ReportDocument(
            source=report.source,
            begin=timestamp(period.begin),
            end=timestamp(period.end),
            covered=report.covered,
            complete=report.complete,
            by=list(by),
            rows=[
                ReportRow(**dict.fromkeys(BY) | dict(zip(by, key, strict=True)), jobs=sums.jobs, **asdict(sums))
                for key, sums in in_order(report)
            ],
        )
    )
