"""What a poll yields: frozen values in the exporter's own words, the same for every vendor.

A count that the upstream did not send is None: unknown, which is never zero.
msgspec structs instead of dataclasses because a region can list a hundred thousand jobs in every poll:
they are built several times faster and take less memory.
"""

from enum import StrEnum
from typing import Final

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
# Ended jobs stay listed with what they had; one in a state that nobody knows may be over as well.
HOLDS_NOTHING: Final = ENDED | {JobState.UNKNOWN}


class Record(msgspec.Struct, frozen=True, gc=False):
    """Base of all records. ``gc=False`` is right: they hold only numbers, text and other records, never a cycle.

    Each repeats the options, because type checkers do not inherit them.
    """


class QueueCounts(Record, frozen=True, gc=False):
    """Jobs of one user in one queue, by state. A state that is not in `counts` is unknown."""

    queue: str
    counts: dict[JobState, int]


class QueueStatistics(Record, frozen=True, gc=False):
    """One user's queues. `rejected` counts rows left out, `rejected_values` single values that could not be used.

    `unknown_states` counts values of states that nobody knows, `unknown_words` are their names as the upstream spells
    them. Equal fingerprints mean equal answers of the upstream; None: do not compare.
    """

    user: str
    queues: tuple[QueueCounts, ...]
    rejected: int = 0
    unknown_states: int = 0
    fingerprint: int | None = None
    rejected_values: int = 0
    unknown_words: tuple[str, ...] = ()


class Scheduler(Record, frozen=True, gc=False):
    """A batch system inside a region."""

    id: str
    name: str
    type: str


class Schedulers(Record, frozen=True, gc=False):
    schedulers: tuple[Scheduler, ...]
    rejected: int = 0


class Job(Record, frozen=True, gc=False):
    """A listed job. Requested and allocated (in use now) amounts are counts of nodes, cores or devices.

    `raw_state` is how the upstream spells a state that nobody knows; empty for all others.
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


class JobListing(Record, frozen=True, gc=False):
    """All jobs of one member that have a usable id; with `rejected` above 0 there are others.

    `rejected_values` and `fingerprint` are as with `QueueStatistics`.
    """

    jobs: tuple[Job, ...]
    rejected: int = 0
    unknown_states: int = 0
    fingerprint: int | None = None
    rejected_values: int = 0

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """The states that nobody knows, as the upstream spells them; empty where a job comes without a state."""
        if not self.unknown_states:
            return ()
        return tuple(sorted({job.raw_state for job in self.jobs if job.state is JobState.UNKNOWN}))

    @property
    def complete(self) -> bool:
        """Whether a job missing from the listing is really no longer listed."""
        return self.rejected == 0
