"""The JSON that commands print. Its shape is a promise: keys are added, never renamed, removed or given another meaning.

``python -m exporter.cli.shapes once`` prints the JSON Schema of `once`; `jobs-list` and `audit` have one as well.
"""

import json
import sys
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from exporter.errors import Reason
from exporter.records import JobState
from exporter.text import escaped

Time = Annotated[str, Meta(description="RFC 3339, in UTC", extra_json_schema={"format": "date-time"})]
Unknown = "null where the API did not say"


class Verdict(StrEnum):
    """What is known of a job that was to be deleted."""

    GONE = "gone"
    STILL_THERE = "still there"
    UNVERIFIED = "unverified"
    NOT_FOUND = "not found"
    NOT_SENT = "not sent"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what is printed."""


class Failure(Shape, frozen=True, kw_only=True):
    """Why something could not be read."""

    reason: Annotated[Reason, Meta(description="as the label `reason` of hpc_exporter_poll_failures_total")]
    message: str


class TargetOutcome(Shape, frozen=True, kw_only=True):
    """How the poll of one target ended. What a target that failed would have told is missing elsewhere."""

    source: Annotated[str, Meta(description="the region's or project's name")]
    endpoint: str
    target: Annotated[str, Meta(description="the user, GROUP/USER, or the queue's type; empty for `cluster`")]
    ok: bool
    seconds: Annotated[float, Meta(description="what the poll took, its retries included")]
    unreadable_records: Annotated[int, Meta(description="records of the answer that were left out")]
    error: Annotated[Failure | None, Meta(description="null where it worked")]


class SchedulerRow(Shape, frozen=True, kw_only=True):
    """A batch system of a region."""

    cluster: str
    id: str
    name: str
    type: str


class QueueRow(Shape, frozen=True, kw_only=True):
    """A user's jobs in one queue."""

    cluster: str
    user: str
    queue: str
    jobs: Annotated[
        dict[JobState, int], Meta(description="number of jobs by state; a state whose number is unknown is left out")
    ]


class Requested(Shape, frozen=True, kw_only=True):
    """What jobs asked for: numbers of nodes, cores and devices; null where unknown."""

    nodes: int | None
    cpus: int | None
    gpus: int | None
    dcus: int | None


class Allocated(Shape, frozen=True, kw_only=True):
    """What jobs use now: numbers of cores and devices; null where unknown."""

    cpus: int | None
    gpus: int | None
    dcus: int | None


class StateRow(Shape, frozen=True, kw_only=True):
    """A member's jobs in one state. A sum is null where one of its summands is unknown."""

    jobs: int
    requested: Requested
    allocated: Allocated


class MemberRow(Shape, frozen=True, kw_only=True):
    """A group member's listed jobs."""

    cluster: str
    group: str
    group_id: Annotated[str, Meta(description="text, because it is above 2^53")]
    user: str
    states: Annotated[
        dict[JobState, StateRow],
        Meta(description="running, queued, held and suspended always; others while a job is in them"),
    ]


class OctopusRow(Shape, frozen=True, kw_only=True):
    """A queue of an Octopus project. Cluster type and id are empty where the configuration leaves them out."""

    project: str
    queue_type: str
    cluster_type: str
    cluster_id: str
    length: Annotated[int | None, Meta(description=Unknown)]
    requested_cpu_cores: Annotated[float | None, Meta(description="null where not all pages could be read")]
    requested_memory_bytes: Annotated[float | None, Meta(description="null where not all pages could be read")]


class ValueRow(Shape, frozen=True, kw_only=True):
    """A value of a collector that has no list of its own above."""

    collector: str
    family: Annotated[str, Meta(description="the name of the metric")]
    labels: dict[str, str]
    value: float


class Once(Shape, frozen=True, kw_only=True):
    """What `hpc-exporter once --format=json` prints."""

    time: Time
    ok: Annotated[bool, Meta(description="whether every target could be polled")]
    targets: list[TargetOutcome]
    schedulers: list[SchedulerRow]
    queues: list[QueueRow]
    members: list[MemberRow]
    octopus_queues: list[OctopusRow]
    values: list[ValueRow]


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
    """What `hpc-exporter jobs list --format=json` prints."""

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


SHAPES: Final[dict[str, type[Shape]]] = {"once": Once, "jobs-list": Jobs, "audit": Audit}


def encoded(value: Shape) -> str:
    """JSON for people and programs: indented, Chinese as it is, characters that are not visible as escapes."""
    return escaped(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), but="\n") + "\n"


def schema(name: str) -> str:
    """The JSON Schema (draft 2020-12) of one of `SHAPES`."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(SHAPES[name])}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema(sys.argv[1]))
