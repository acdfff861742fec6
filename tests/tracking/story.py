"""A member who is polled once a minute, told in letters: listings and rows of the history in, waits, runs and counts out."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Self

from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.tracking.history import take_ends
from exporter.tracking.machine import advance
from exporter.tracking.model import Events, MemberState, Spell, Update

START = 1_700_000_000.0
STATES = {
    "Q": JobState.QUEUED,
    "R": JobState.RUNNING,
    "H": JobState.HELD,
    "S": JobState.SUSPENDED,
    "W": JobState.WAITING,
    "E": JobState.EXITING,
    "C": JobState.COMPLETED,
    "D": JobState.DELETED,
    "F": JobState.FAILED,
    "T": JobState.TIMEOUT,
    "N": JobState.NODE_FAILURE,
    "RQ": JobState.REQUEUED,
    "X": JobState.OTHER,
    "?": JobState.UNKNOWN,
}


def listing(step: str, **job: Any) -> JobListing:
    """Return one job, called 1, in the state of that letter; "-" is a complete listing without it, "/" an incomplete one."""
    if step in ("-", "/"):
        return JobListing((), rejected=int(step == "/"))
    return JobListing((Job("1", "a", STATES[step], **{"allocated_cpus": 4, **job}),))


class Story:
    """The news of polls a minute apart, the first of which finds no job at START, unless it is `fresh`.

    `waits` and `runs` are in seconds, with their basis.
    """

    def __init__(self, polls: str = "", *, fresh: bool = False, grace: float | None = None) -> None:
        self.state = MemberState()
        self.grace = grace
        self.at = START - 60
        self.waits: list[tuple[float, str]] = []
        self.runs: list[tuple[float, str]] = []
        self.queues: set[str] = set()
        self.transitions: Counter[tuple[str, str]] = Counter()
        self.finished: Counter[str] = Counter()
        self.censored: Counter[tuple[str, str]] = Counter()
        self.disagreements = 0
        self.unaccounted = 0.0
        self.cpu_seconds = 0.0
        self.poll(polls if fresh else f"- {polls}")

    def poll(self, steps: str, *, at: float | None = None, **job: Any) -> Self:
        """Take in a listing for each of the `steps`; "!" is a poll that fails."""
        for step in steps.split():
            self.at = self.at + 60 if at is None else at
            if step != "!":
                self.take(listing(step, **job))
        return self

    def take(self, jobs: JobListing) -> None:
        self._apply(advance(self.state, jobs, self.at, 60.0, self.grace))

    def poll_jobs(self, *jobs: Job) -> Self:
        """Take in a listing of these jobs a minute later."""
        self.at += 60
        self.take(JobListing(jobs))
        return self

    def rows(self, *rows: EndedJob) -> Self:
        """Read these rows of the history right after the last poll."""
        self._apply(take_ends(self.state, rows, self.at, self.grace or 0.0))
        return self

    @property
    def wait_seconds(self) -> list[float]:
        return [seconds for seconds, _ in self.waits]

    @property
    def run_seconds(self) -> list[float]:
        return [seconds for seconds, _ in self.runs]

    def _apply(self, update: Update) -> None:
        self.state.apply(update)
        events = update.events
        self.waits += [(spell.seconds, spell.basis) for spell in events.waits]
        self.runs += [(spell.seconds, spell.basis) for spell in events.runs]
        self.queues |= {spell.queue for spell in (*events.waits, *events.runs)}
        self.transitions.update(events.transitions)
        self.finished.update(events.finished)
        self.censored.update(events.censored)
        self.disagreements += events.disagreements
        self.unaccounted += events.unaccounted
        self.cpu_seconds += events.resource_seconds[0]


class Told(Story):
    """A story of several jobs that also keeps its events as they are."""

    def __init__(self, grace: float | None) -> None:
        self.events: list[Events] = []
        super().__init__(fresh=True, grace=grace)

    def _apply(self, update: Any) -> None:
        super()._apply(update)
        self.events.append(update.events)

    def spells(self, measure: str) -> list[tuple[Any, ...]]:
        """Return id, start, end, queue and basis of each."""
        found: list[Spell] = [spell for events in self.events for spell in getattr(events, measure)]
        return sorted((spell.job_id, spell.start, spell.end, spell.queue, spell.basis) for spell in found)

    @property
    def amounts(self) -> list[float]:
        return [sum(events.resource_seconds[index] for events in self.events) for index in range(3)]


@dataclass(frozen=True)
class Life:
    """A job of one region, as it was; seconds after START. Lists show it for a while after its end, some with its times."""

    job_id: str
    submitted: int
    waited: int
    ran: int
    shown: int
    cpus: int
    queue: str
    state: JobState

    @property
    def started(self) -> int:
        return self.submitted + self.waited

    @property
    def ended(self) -> int:
        return self.started + self.ran

    def listed(self, now: float, *, times: bool = False) -> tuple[Job, ...]:
        if not self.submitted <= now < self.ended + self.shown:
            return ()
        state = JobState.QUEUED if now < self.started else JobState.RUNNING if now < self.ended else self.state
        job = replace(self._job, state=state)
        return (self._with_times(job, now) if times else job,)

    @property
    def row(self) -> EndedJob:
        return EndedJob("test", "1", START + self.ended, self._with_times(self._job, self.ended))

    @property
    def _job(self) -> Job:
        cpus, gpus, dcus = (self.cpus * of_each for of_each in AMOUNTS)
        amounts = {"allocated_cpus": cpus, "allocated_gpus": gpus, "allocated_dcus": dcus}
        return Job(self.job_id, "", self.state, queue=self.queue, **amounts)  # type: ignore[arg-type]  # by their names

    def _with_times(self, job: Job, now: float) -> Job:
        moments = {"submitted": self.submitted, "started": self.started, "ended": self.ended}
        return replace(job, **{name: START + moment for name, moment in moments.items() if moment <= now})

    @property
    def wait(self) -> tuple[str, float, float, str, str]:
        """Its wait as `Told.spells` has it."""
        return self.job_id, START + self.submitted, START + self.started, self.queue, "reported"

    @property
    def run(self) -> tuple[str, float, float, str, str]:
        return self.job_id, START + self.started, START + self.ended, self.queue, "reported"


SECONDS = st.integers(1, 300)
# GPUs and DCUs of a life's jobs for each of its cores, so that none can be taken for another.
AMOUNTS = (1, 2, 3)
LIVES = st.builds(
    Life,
    st.sampled_from("123"),
    SECONDS,
    SECONDS,
    # Even the row that comes last is read while the start waits for it: two minutes and a poll later, within ten minutes.
    st.integers(1, 420),
    st.sampled_from([0, 200]),
    st.integers(1, 4),
    st.sampled_from(["comp", "gpu"]),
    st.sampled_from([JobState.COMPLETED, JobState.FAILED]),
)
