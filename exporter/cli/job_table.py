"""Jobs as commands show them: rows of JSON, and their table."""

import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from exporter.cli.schemas import JobRow
from exporter.cli.terminal import rendered
from exporter.clock import timestamp_or_none
from exporter.records import Job
from exporter.sources.collector import Subject
from exporter.sources.jobs import allocated, requested
from exporter.sources.once import Cell, Column, number

# Characters shown of an unknown state: enough for the longest state names of Slurm.
LONGEST_WORD: Final = 20


def job_row(member: Subject, job: Job) -> JobRow:
    return JobRow(
        cluster=member.source,
        group=member.group,
        group_id=member.group_id,
        user=member.user,
        id=job.id,
        name=job.name,
        state=job.state,
        raw_state=job.raw_state or None,
        queue=job.queue or None,
        reason=job.reason,
        submitted=timestamp_or_none(job.submitted),
        started=timestamp_or_none(job.started),
        ended=timestamp_or_none(job.ended),
        requested=requested([job]),
        allocated=allocated([job]),
    )


def job_table(rows: Sequence[JobRow], *, wide: bool = False) -> str:
    """Return the jobs, for a person, with amounts as in use/requested."""
    shown = [(column, told) for column, told in _COLUMNS if column.title not in _FURTHER or any(map(told, rows))]
    columns, cells = zip(*shown, strict=True)
    return rendered(columns, [[told(row) for told in cells] for row in rows], sys.stdout, wide=wide)


def _local(time: str | None) -> str | None:
    return None if time is None else datetime.fromisoformat(time).astimezone().strftime("%m-%d %H:%M")


def _state(row: JobRow) -> str:
    # An unknown state is shown with its spelling, cut to leave room for the other columns.
    return f"{row.state} ({row.raw_state[:LONGEST_WORD]})" if row.raw_state else row.state


def _share(used: int | None, wanted: int | None) -> str:
    if used == wanted == 0:
        return "0"
    return "/".join("?" if amount is None else str(amount) for amount in (used, wanted))


# Columns that are shown where at least one job has something in them. Times are local ones.
_FURTHER: Final = frozenset({"queue", "reason", "submitted", "started", "ended"})
_COLUMNS: Final[Sequence[tuple[Column, Callable[[JobRow], Cell]]]] = (
    (Column("cluster"), lambda row: row.cluster),
    (Column("group"), lambda row: row.group),
    (Column("user"), lambda row: row.user),
    (Column("id", whole=True), lambda row: row.id),
    (Column("state", whole=True, styled=True), _state),
    (Column("queue"), lambda row: row.queue),
    (Column("reason"), lambda row: row.reason),
    (Column("submitted"), lambda row: _local(row.submitted)),
    (Column("started"), lambda row: _local(row.started)),
    (Column("ended"), lambda row: _local(row.ended)),
    (number("nodes"), lambda row: row.requested.nodes),
    (number("cores"), lambda row: _share(row.allocated.cpus, row.requested.cpus)),
    (number("GPUs"), lambda row: _share(row.allocated.gpus, row.requested.gpus)),
    (number("DCUs"), lambda row: _share(row.allocated.dcus, row.requested.dcus)),
    # Last: its length is not bounded.
    (Column("name"), lambda row: row.name),
)
