"""Job records: produced by the collectors of all vendors, consumed by the tracker.

A count that the upstream did not send is None: unknown, which is never zero. msgspec structs instead of dataclasses,
because a region can list a hundred thousand jobs in every poll: they are built several times faster and take less memory.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Literal, Self, get_args

import msgspec


class JobState(StrEnum):
    """The states of a job that this exporter tells apart; the label `state` of its metrics."""

    RUNNING = "running"
    QUEUED = "queued"
    HELD = "held"
    SUSPENDED = "suspended"
    WAITING = "waiting"
    EXITING = "exiting"
    COMPLETED = "completed"
    DELETED = "deleted"
    FAILED = "failed"
    TIMEOUT = "timeout"
    NODE_FAILURE = "node_failure"
    REQUEUED = "requeued"
    OTHER = "other"
    UNKNOWN = "unknown"


ENDED: Final = frozenset(
    {JobState.COMPLETED, JobState.DELETED, JobState.FAILED, JobState.TIMEOUT, JobState.NODE_FAILURE}
)
# In any other state, a reported start is an expected one.
HAS_STARTED: Final = ENDED | {JobState.RUNNING, JobState.SUSPENDED, JobState.EXITING}
# Ended jobs may stay listed with their amounts; a job in an unknown state may have ended as well.
HOLDS_NOTHING: Final = ENDED | {JobState.UNKNOWN}


# Why a job waits, mapped from the schedulers' own words; the values of the label `reason`.
PendingReason = Literal[
    "priority", "resources", "limit", "dependency", "held", "begin_time", "nodes_unavailable", "other"
]
PENDING_REASONS: Final[tuple[PendingReason, ...]] = get_args(PendingReason)


# States in which a job waits to run, for a reason.
WAITS: Final = frozenset({JobState.QUEUED, JobState.HELD, JobState.WAITING, JobState.REQUEUED})


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of all records. ``gc=False`` is right: they hold only numbers, text and other records, never a cycle.

    Each repeats the options, because type checkers do not inherit them.
    """


class Answer(Record, frozen=True, gc=False, kw_only=True):
    """The records of an answer, and counts of its unusable parts.

    `rejected` counts rows left out, `rejected_values` single values, `unknown_states` unknown states. Equal
    fingerprints mean equal answers of the upstream; None: do not compare.
    """

    rejected: int = 0
    rejected_values: int = 0
    unknown_states: int = 0
    fingerprint: int | None = None

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The unknown states as the upstream spells them; one sent without text is the empty string."""
        return ()

    def fingerprinted(self, body: bytes) -> Self:
        """Return it with the fingerprint of `body`, unless it has flaws, which every poll has to count."""
        if self.rejected or self.rejected_values or self.unknown_states:
            return self
        return msgspec.structs.replace(self, fingerprint=hash(body))


class Job(Record, frozen=True, gc=False):
    """A listed job. Requested and allocated (in use now) amounts are counts of nodes, cores or devices.

    `raw_state` is the spelling of an unknown state by the upstream; empty for all others. `queue` is empty where the
    list does not tell it, `reason` None where it tells none or the job does not wait. `submitted`, `started` and
    `ended` are the scheduler's own times in seconds since the epoch, None where they are not known; an expected start
    is not a start. `scheduler` is the id of the job's scheduler, empty where the list does not tell it.
    """

    id: str
    name: str
    state: JobState
    requested_nodes: int | None = None
    requested_cpus: int | None = None
    requested_gpus: int | None = None
    requested_dcus: int | None = None
    allocated_cpus: int | None = None
    allocated_gpus: int | None = None
    allocated_dcus: int | None = None
    raw_state: str = ""
    queue: str = ""
    reason: PendingReason | None = None
    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    scheduler: str = ""


class JobListing(Answer, frozen=True, gc=False):
    """The jobs of one member that have a usable id; `rejected` counts the rows without one."""

    jobs: tuple[Job, ...]

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """As in `Answer`."""
        return tuple(sorted({job.raw_state for job in self.jobs if job.state is JobState.UNKNOWN}))

    @property
    def complete(self) -> bool:
        """Whether a job missing from the listing is really no longer listed."""
        return self.rejected == 0


def by_id(jobs: Sequence[Job]) -> dict[str, Job]:
    """Return jobs by id. Of several with the same id: the first that has not ended, else the first."""
    found = {job.id: job for job in jobs}
    if len(found) < len(jobs):
        found = {}
        for job in jobs:
            first = found.setdefault(job.id, job)
            if first.state in ENDED and job.state not in ENDED:
                found[job.id] = job
    return found


def distinct(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Return the jobs without exact duplicates.

    Different jobs with the same id are all kept: two schedulers of a region can use the same id.
    """
    if len({job.id for job in jobs}) == len(jobs):
        return tuple(jobs)
    return tuple(dict.fromkeys(jobs))


class EndedJob(Record, frozen=True, gc=False):
    """A row of a scheduler's history: a job, or one run of a job, that ended at `ended`, in seconds since the epoch.

    The `allocated_...` amounts of `job` are those that it held while it ran; `scheduler` is the scheduler's id.
    """

    user: str
    scheduler: str
    ended: float
    job: Job


def qualified_id(job_id: str, scheduler: str) -> str:
    """Return the id of a job where another scheduler of the region has one of the same id for the same user."""
    return f"{job_id}@{scheduler}"


def known_sum(amounts: Iterable[int | None]) -> int | None:
    """Return the sum, None where one of the amounts is unknown."""
    listed = list(amounts)
    return None if None in listed else sum(listed)  # type: ignore[arg-type]  # none of them is None
