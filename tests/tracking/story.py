"""A member who is polled once a minute, told in letters: listings and rows of the history in, waits, runs and counts out."""

from collections import Counter
from typing import Any, Self

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.tracking.history import take_ends
from exporter.tracking.machine import advance
from exporter.tracking.model import MemberState, Update

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
