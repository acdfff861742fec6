"""The JSON that commands print.

Its shape is a promise: keys are added, never renamed, removed or given another meaning.

``python -m exporter.cli.schemas once`` prints the JSON Schema of `once`; `jobs-list`, `audit` and `report` have one as well.
"""

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from types import GenericAlias
from typing import Annotated, Final, Literal, cast

import msgspec
from msgspec import Meta

from exporter.errors import PollError, Reason
from exporter.records import JobState, PendingReason
from exporter.sources.collector import registry
from exporter.sources.jobs import Allocated, Requested
from exporter.sources.once import Once, Shape
from exporter.text import escaped

Time = Annotated[str, Meta(description="RFC 3339, in UTC", extra_json_schema={"format": "date-time"})]


class Verdict(StrEnum):
    """Outcome of the deletion of a job."""

    GONE = "gone"
    STILL_THERE = "still there"
    UNVERIFIED = "unverified"
    NOT_FOUND = "not found"
    NOT_SENT = "not sent"


class Failure(Shape, frozen=True, kw_only=True):
    """Why something could not be read."""

    reason: Annotated[Reason, Meta(description="as the label `reason` of hpc_exporter_poll_failures_total")]
    message: str


def failure(error: PollError | None) -> Failure | None:
    return None if error is None else Failure(reason=error.reason, message=str(error))


class TargetOutcome(Shape, frozen=True, kw_only=True):
    """Result of the poll of one target. The rows of a failed target are missing from the other lists."""

    source: Annotated[str, Meta(description="the region's or project's name")]
    collector: str
    target: Annotated[str, Meta(description="the user, GROUP/USER, or the queue's type; empty for `schedulers`")]
    ok: bool
    seconds: Annotated[float, Meta(description="what the poll took, its retries included")]
    unreadable_records: Annotated[int, Meta(description="records of the answer that were left out")]
    error: Annotated[Failure | None, Meta(description="null where it worked")]


class ValueRow(Shape, frozen=True, kw_only=True):
    """A value of a collector without a list of its own above."""

    collector: str
    family: Annotated[str, Meta(description="the name of the metric")]
    labels: dict[str, str]
    value: float


def own_rows() -> list[Once]:
    """Return the rows of the collectors that have some of their own, in the order in which `once` prints them."""
    declared = sorted(registry().values(), key=lambda each: each.per.section)
    return list(dict.fromkeys(each.once for each in declared if each.once is not None))


@lru_cache(maxsize=1)
def once_shape() -> type[Shape]:
    """Return the shape of `once --format=json`, derived from the declarations of the collectors."""
    shape = msgspec.defstruct(
        "Once",
        [
            ("time", Time),
            ("ok", Annotated[bool, Meta(description="whether every target could be polled")]),
            ("targets", list[TargetOutcome]),
            *((own.key, GenericAlias(list, own.shape)) for own in own_rows()),
            ("values", list[ValueRow]),
        ],
        bases=(Shape,),
        namespace={"__doc__": "What `hpc-exporter once --format=json` prints."},
        frozen=True,
        kw_only=True,
    )
    return cast("type[Shape]", shape)


class JobRow(Shape, frozen=True, kw_only=True):
    """A listed job."""

    cluster: str
    group: str
    group_id: Annotated[str, Meta(description="text, because it is above 2^53")]
    user: str
    id: str
    name: str
    state: JobState
    raw_state: Annotated[
        str | None, Meta(description="a state that is unknown as the API spells it; null where it is known or not sent")
    ]
    queue: Annotated[str | None, Meta(description="null where the list does not tell it")]
    reason: Annotated[
        PendingReason | None, Meta(description="why it waits; null where it does not, or the list does not tell it")
    ]
    submitted: Annotated[Time | None, Meta(description="by the scheduler; null where it is not known")]
    started: Annotated[
        Time | None, Meta(description="by the scheduler; null where it is not known, or has not started")
    ]
    ended: Annotated[Time | None, Meta(description="by the scheduler; null where it is not known, or has not ended")]
    requested: Requested
    allocated: Allocated


class UnreadMember(Shape, frozen=True, kw_only=True):
    """A member whose jobs are missing from the list, or who has rows that could not be read."""

    cluster: str
    group: str
    user: str
    unreadable_records: Annotated[int | None, Meta(description="null where nothing could be read")]
    error: Annotated[Failure | None, Meta(description="null where only some rows are missing")]


class Jobs(Shape, frozen=True, kw_only=True):
    """The output of `hpc-exporter jobs list --format=json`."""

    time: Time
    ok: Annotated[bool, Meta(description="whether every member's jobs could be read completely")]
    jobs: list[JobRow]
    unread_members: list[UnreadMember]


class Audit(Shape, frozen=True, kw_only=True):
    """One line of `hpc-exporter jobs delete --audit-file`: what was done about one job, and what came of it."""

    time: Time
    action: Literal["delete_job"] = "delete_job"
    operator: Annotated[str, Meta(description="who ran the command, as the operating system knows them")]
    cluster: str
    cluster_id: str
    scheduler_id: str
    user: str
    job_id: str
    job_name: Annotated[str, Meta(description="empty where the job was never listed")]
    state_before: Annotated[JobState | None, Meta(description="null where it was not listed before")]
    state_after: Annotated[JobState | None, Meta(description="null where the last look did not show it")]
    sent: Annotated[bool, Meta(description="whether a DELETE that names this job was sent")]
    answer: Annotated[
        str,
        Meta(
            description="what the region said about the whole DELETE, or what came instead; empty for a job that it did not name"
        ),
    ]
    outcome: Verdict


class ReportRow(Shape, frozen=True, kw_only=True):
    """Sums of a period. null is unknown: the source does not tell it, or the report is not by this name."""

    cluster: str | None
    group: str | None
    user: str | None
    queue: str | None
    jobs: Annotated[int | None, Meta(description="jobs that ended")]
    outcomes: Annotated[dict[str, int] | None, Meta(description="the same by outcome")]
    core_hours: float | None
    gpu_hours: float | None
    dcu_hours: float | None
    median_wait_seconds: float | None
    mean_wait_seconds: float | None
    unaccounted_hours: Annotated[
        float | None, Meta(description="gaps between polls, for which resources are not counted")
    ]


class ReportDocument(Shape, frozen=True, kw_only=True):
    """The output of `hpc-exporter report --format=json`."""

    source: Literal["prometheus", "history"]
    begin: Time
    end: Time
    covered: Annotated[
        float | None, Meta(description="share of the period for which the source has data; null where unknown")
    ]
    complete: Annotated[
        bool, Meta(description="false where a region could not be read, or Prometheus warns that data is missing")
    ]
    by: list[str]
    rows: list[ReportRow]


SCHEMAS: Final[dict[str, Callable[[], type[Shape]]]] = {
    "once": once_shape,
    "jobs-list": lambda: Jobs,
    "audit": lambda: Audit,
    "report": lambda: ReportDocument,
}


def encoded(value: Shape) -> str:
    """JSON for people and programs: indented, Chinese as it is, characters that are not visible as escapes."""
    return escaped(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), but="\n") + "\n"


def schema(name: str) -> str:
    """Return the JSON Schema (draft 2020-12) of one of `SCHEMAS`."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(SCHEMAS[name]())}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema(sys.argv[1]))
