"""The tracker's state of a member and its jobs, and the changes of one more listing."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeVar, get_args

import msgspec

from exporter.records import ENDED, EndedJob, JobState

# The most poll intervals between two listings for which anything is concluded about the time between them.
MAX_GAP_INTERVALS: Final = 3
# Long gaps between polls that are remembered for each member.
MOST_GAPS: Final = 50
# For how long an ended job's id, and a member that is no longer configured, are remembered.
REMEMBERED_SECONDS: Final = 7 * 86400.0

NEVER: Final = float("-inf")
# Seconds on the tracker's time line or NEVER, and a number of cores, GPUs or DCUs, as they are in the state file: anything else
# there is damage.
Time = Annotated[float, msgspec.Meta(lt=2**53)]
# The same without NEVER.
Moment = Annotated[float, msgspec.Meta(ge=0, lt=2**53)]
Amount = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
# `MemberState.covered` while it is unknown.
NOT_COVERED: Final = (float("inf"), float("inf"))

# Seconds by which the clocks of a scheduler and of this machine may differ, and a list may lag behind.
TOLERANCE: Final = 60.0

Value = TypeVar("Value")

Measure = Literal["wait", "run"]
Basis = Literal["reported", "polls"]
CensorReason = Literal["left_truncated", "gap", "vanished"]
Outcome = Literal[
    "completed", "deleted", "failed", "timeout", "node_failure", "vanished_running", "vanished_queued", "unknown"
]

MEASURES: Final[tuple[Measure, ...]] = get_args(Measure)
BASES: Final[tuple[Basis, ...]] = get_args(Basis)
CENSOR_REASONS: Final[tuple[CensorReason, ...]] = get_args(CensorReason)
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class MemberKey(NamedTuple):
    """The owner of jobs: `source` is the region's name in the configuration, `group_id` the group's number as text."""

    source: str
    group_id: str
    user: str


class Phase(StrEnum):
    """The phase of a job's life, as far as its states show."""

    UNCLEAR = "unclear"  # listed, but never yet in a state that says more
    WAIT = "wait"
    RUN = "run"
    LEFT = "left"  # exiting: no longer running, not yet ended
    ENDED = "ended"


# A suspended job stays in its phase; other and unknown say nothing about it.
PHASE_OF: Final[dict[JobState, Phase]] = {
    JobState.QUEUED: Phase.WAIT,
    JobState.HELD: Phase.WAIT,
    JobState.WAITING: Phase.WAIT,
    JobState.REQUEUED: Phase.WAIT,
    JobState.RUNNING: Phase.RUN,
    JobState.EXITING: Phase.LEFT,
    **dict.fromkeys(ENDED, Phase.ENDED),
}


class TrackedJob(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    """The remembered state of a listed job. Times are seconds on the tracker's time line.

    Times of the usual case are None, so that a poll in which nothing happened changes nothing, here or on disk.
    """

    state: JobState  # as last listed
    phase: Phase
    since: Moment | None  # when the phase began: as reported, or the middle of the gap; None: it cannot be measured
    seen: Moment  # when the phase was first seen; of a wait, when the job was submitted, where that is reported
    known: Time | None = None  # when the phase was last certain; None: at the member's last listing
    listed: Moment | None = None  # when it was last listed; None: at the member's last listing
    missing: Moment | None = None  # the first complete listing without it since it was last listed
    cpus: Amount | None = 0  # in use at that time: 0 for a waiting or ended job, None where it is unknown
    gpus: Amount | None = 0
    dcus: Amount | None = 0
    queue: str = ""
    submitted: Moment | None = None  # as reported, while the job waits
    reported: bool = False  # whether `since` is the scheduler's own time
    scheduler: str = ""  # its id, where the list tells it

    @property
    def amounts(self) -> "Amounts":
        return self.cpus, self.gpus, self.dcus

    @property
    def measured(self) -> bool:
        """Whether it is known when the phase began."""
        return self.since is not None or self.submitted is not None


class Spell(msgspec.Struct, frozen=True, gc=False):
    """A wait or a run that was measured.

    Each end is the scheduler's own time, or the middle of a gap between two polls. The `basis` is `reported` where both
    ends are the scheduler's.
    """

    job_id: str
    start: Moment
    end: Moment
    queue: str = ""
    basis: Basis = "polls"

    @property
    def seconds(self) -> float:
        return self.end - self.start


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A job that began to wait at `at` and is free to start: the head of a burst, see `bounds`.

    `accelerated` says that it requests GPUs or DCUs, `reported` that the time is the scheduler's own.
    """

    at: float
    job_id: str
    queue: str
    accelerated: bool
    reported: bool


class Dequeued(msgspec.Struct, frozen=True, gc=False):
    """A job that waits no longer: `started` at `at`, or was seen waiting until then and may not start or is gone."""

    at: float
    job_id: str
    started: bool


# Numbers of cores, GPUs and DCUs; None where one is unknown.
Amounts = tuple[Amount | None, Amount | None, Amount | None]


class KnownEnd(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A counted end of a job, between two times; `scheduler` is that of its row, None if it was counted from polls."""

    low: Moment
    high: Moment
    scheduler: str | None = None


class Gap(msgspec.Struct, frozen=True, gc=False):
    """A time between two polls that is so long that only the first `accounted` seconds of it count."""

    start: Moment
    end: Moment
    accounted: Moment

    def __post_init__(self) -> None:
        """Raise ValueError for a part that is longer than the whole, as after a file was damaged."""
        if self.accounted > self.end - self.start:
            raise ValueError("more of a gap counts than it has")


class Pending(msgspec.Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A start or an end of a job that has waited for its row in the history since `noted`.

    Polls saw it in the gap from `low` to `high`, for `edge` seconds of which the amounts of `job` count: those before an
    end, or after a start. If no row comes, it is counted as a `measure`, with the `spell` or as `censored` if that is None,
    and with its `outcome`, if it has one.
    """

    what: Literal["start", "end"]
    job_id: str
    job: TrackedJob  # its phase and times are those before the change, also of a start
    low: Moment
    high: Moment
    measure: Measure | None = None
    spell: Spell | None = None
    censored: CensorReason = "gap"
    outcome: Outcome | None = None
    listed: Moment  # when it held these amounts
    edge: Moment = 0.0
    noted: Moment

    def __post_init__(self) -> None:
        """Raise ValueError for a spell that ends before it starts, as after a file was damaged."""
        if self.spell is not None and self.spell.end < self.spell.start:
            raise ValueError("a spell ends before it starts")

    def fits(self, time: float) -> bool:
        """Whether a reported time fits what the polls saw."""
        return self.low - TOLERANCE <= time <= self.high + TOLERANCE


class Events(msgspec.Struct, kw_only=True):
    """The news of one listing.

    `resource_seconds` and `unaccounted` are in (core, GPU, DCU) seconds and seconds; an entry of `amounts_known` tells
    whether the listing gave any amount of that resource. `queues` are those of jobs that are new; `disagreements`
    counts reported times that do not fit what polls saw. `queued` are heads of bursts, `dequeued` jobs of which some
    may be heads.
    """

    transitions: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    finished: dict[Outcome, int] = msgspec.field(default_factory=dict)
    waits: list[Spell] = msgspec.field(default_factory=list)
    runs: list[Spell] = msgspec.field(default_factory=list)
    censored: dict[tuple[Measure, CensorReason], int] = msgspec.field(default_factory=dict)
    resource_seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    amounts_known: tuple[bool, bool, bool] = (False, False, False)
    unaccounted: float = 0.0
    queues: set[str] = msgspec.field(default_factory=set)
    disagreements: int = 0
    queued: list[Queued] = msgspec.field(default_factory=list)
    dequeued: list[Dequeued] = msgspec.field(default_factory=list)

    def hold(self, amounts: Amounts, seconds: float) -> None:
        """Count amounts that are held for some seconds."""
        held = (0.0 if amount is None else amount * seconds for amount in amounts)
        cpus, gpus, dcus = (before + more for before, more in zip(self.resource_seconds, held, strict=True))
        self.resource_seconds = (cpus, gpus, dcus)
        known = (is_known or bool(amount) for is_known, amount in zip(self.amounts_known, amounts, strict=True))
        self.amounts_known = (next(known), next(known), next(known))

    def transition(self, before: str, after: str) -> None:
        self.transitions[before, after] = self.transitions.get((before, after), 0) + 1

    def finish(self, outcome: Outcome) -> None:
        self.finished[outcome] = self.finished.get(outcome, 0) + 1

    def censor(self, measure: Measure, reason: CensorReason) -> None:
        self.censored[measure, reason] = self.censored.get((measure, reason), 0) + 1


# The fields of `MemberState` and `Update` with entries that are written one by one.
PARTS: Final = ("jobs", "finished", "pending", "ends")
Parts = dict[str, dict[str, Any]]


class Update(msgspec.Struct, kw_only=True):
    """The step from one view of a member to the next; nothing has changed until `MemberState.apply`.

    Of the mappings, see `MemberState`, it has the entries that are new or different, and None for those to be removed;
    `gaps` are those to be added.
    """

    at: float
    complete: float
    events: Events = msgspec.field(default_factory=Events)
    oldest_waiting: float | None = None
    jobs: dict[str, TrackedJob | None] = msgspec.field(default_factory=dict)
    finished: dict[str, float | None] = msgspec.field(default_factory=dict)
    names: dict[str, str | None] = msgspec.field(default_factory=dict)
    pending: dict[str, Pending | None] = msgspec.field(default_factory=dict)
    ends: dict[str, tuple[KnownEnd, ...] | None] = msgspec.field(default_factory=dict)
    early: dict[str, tuple[EndedJob, float] | None] = msgspec.field(default_factory=dict)
    gaps: list[Gap] = msgspec.field(default_factory=list)
    growth: int = 0  # of the number of jobs followed; known once it is applied
    covered: tuple[float, float] = NOT_COVERED

    def parts(self) -> Parts:
        """Return the changed entries of what has a row for each."""
        return {part: getattr(self, part) for part in PARTS}


class MemberState(msgspec.Struct, omit_defaults=True):
    """One member's jobs after its last listing.

    `last` is the time of the last listing, `complete` that of the last complete one, NEVER before the first.
    `finished` holds the ids of jobs that are over and no longer listed, with the time, oldest first.
    `oldest_waiting` is when the longest-waiting job was first seen waiting; None where none waits. `names` are those of
    waiting jobs; they are not written to disk, and None until the first listing.

    The rest is for members whose scheduler's history is read: the `pending` starts and ends, the known `ends` of the last
    two days by job id, and the last long `gaps` between polls. `early` are the rows that came before a poll saw the same,
    with the time; they are read again after a restart. `covered`: since the first time, each stretch of as many seconds as
    the second number has had a complete listing.
    """

    jobs: dict[str, TrackedJob] = msgspec.field(default_factory=dict)
    finished: dict[str, float] = msgspec.field(default_factory=dict)
    last: Time = NEVER
    complete: Time = NEVER
    oldest_waiting: Moment | None = None
    pending: dict[str, Pending] = msgspec.field(default_factory=dict)
    ends: dict[str, tuple[KnownEnd, ...]] = msgspec.field(default_factory=dict)
    gaps: list[Gap] = msgspec.field(default_factory=list)
    early: dict[str, tuple[EndedJob, float]] = msgspec.field(default_factory=dict)
    names: dict[str, str] | None = None
    covered: tuple[float, float] = NOT_COVERED

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        """Whether the same is remembered; `early`, `names` and `covered` are only for as long as the process runs."""
        if not isinstance(other, MemberState):
            return NotImplemented
        return msgspec.structs.astuple(self)[:-3] == msgspec.structs.astuple(other)[:-3]

    def apply(self, update: Update) -> None:
        before = len(self.jobs)
        self.names = {} if self.names is None else self.names
        for part in (*PARTS, "early", "names"):
            _merge(getattr(self, part), getattr(update, part))
        self.gaps = [*self.gaps, *update.gaps][-MOST_GAPS:]
        update.growth = len(self.jobs) - before
        self.covered = update.covered
        self.last, self.complete, self.oldest_waiting = update.at, update.complete, update.oldest_waiting

    def parts(self) -> Parts:
        """Return copies of what has a row for each entry."""
        return {part: dict(getattr(self, part)) for part in PARTS}


def _merge(known: dict[str, Value], changes: Mapping[str, Value | None]) -> None:
    for key, value in changes.items():
        known.pop(key, None)
        if value is not None:
            known[key] = value  # behind all others: the oldest come first
