"""The state machine: derives waits, runs and ends from one more listing of a member's jobs.

Where a listing has no times, a change is only known to lie in the gap between two polls. A job's wait begins in the gap
before it was first listed waiting and ends in the gap before it was first listed running; each is taken to be the
middle of its gap, so a wait is wrong by at most one gap. A gap is counted from when the job's phase (not listed,
waiting, running) was last certain: listings that do not complete, leave the job out, or give a state that says nothing
make it wider. Where it is wider than three poll intervals nothing is claimed: the spell counts as censored.

A time that the scheduler reports is better than a middle, provided that it fits what the polls saw: a change of phase
that is reported outside its gap by more than `TOLERANCE` is not believed, and counts as a disagreement.
"""

from itertools import takewhile
from math import inf
from operator import attrgetter
from typing import Final, cast

import msgspec
from msgspec.structs import replace

from exporter.records import Job, JobListing, JobState, by_id
from exporter.tracking.arrays import Arrays, array_of_row, array_of_task, row_id
from exporter.tracking.bounds import BURST_SECONDS
from exporter.tracking.history import note_end, pending_of, settle
from exporter.tracking.model import (
    MAX_GAP_INTERVALS,
    NEVER,
    PHASE_OF,
    REMEMBERED_SECONDS,
    TOLERANCE,
    Amounts,
    Basis,
    CensorReason,
    Dequeued,
    Gap,
    Measure,
    MemberState,
    Outcome,
    Pending,
    Phase,
    Queued,
    Spell,
    TrackedJob,
    Update,
)

# As TOLERANCE, for the time of submission: lists that are copies of another system's lag. Less than a time zone.
SUBMISSION_TOLERANCE: Final = 900.0

_SAYS_NOTHING: Final = frozenset({JobState.OTHER, JobState.UNKNOWN})
# States and reasons of a waiting job that is not free to start: however empty the queue is, it waits.
_NOT_FREE: Final = frozenset({JobState.HELD, JobState.WAITING, JobState.SUSPENDED})
_NOT_FREE_REASONS: Final = frozenset({"dependency", "held", "begin_time"})

_OUTCOME_OF_VANISHED: Final[dict[Phase, Outcome]] = {
    Phase.WAIT: "vanished_queued",
    Phase.RUN: "vanished_running",
    Phase.LEFT: "vanished_running",
}
# Phases in which a job has not been seen to wait or run: what follows is its first spell.
_BEFORE_FIRST_SPELL: Final = frozenset({Phase.UNCLEAR, Phase.ENDED})
# Phases whose length is measured.
_MEASURED: Final = frozenset({Phase.WAIT, Phase.RUN})
# A waiting job holds nothing and neither does an ended one, whatever the listing still says about it. A job in an unknown
# state may be over for good: it holds nothing either, and does not count as waiting.
_HOLDS_NOTHING: Final = frozenset({Phase.WAIT, Phase.ENDED})


def advance(before: MemberState, listing: JobListing, at: float, interval: float, grace: float | None = None) -> Update:
    """Return the state after `listing`, taken at `at`; `before` stays as it is.

    `interval` is the time between two polls as configured, in seconds, and `grace` for how long a start or an end waits for
    its row in the scheduler's history; None where that is not read. A time before the last listing's means that the
    clock was set back between polls: a gap of unknown length.
    """
    return _Advance(before, listing, at, interval, grace).run()


class Change(msgspec.Struct, frozen=True, gc=False):
    """A change of a job's phase, in a gap between two polls.

    `middle` is the midpoint of the gap, None if that is too wide; `reported` is the scheduler's time, None if it has none
    or it `disagrees` with the polls. The old phase was `certain` until the beginning of the gap. `result` is the spell that
    ended, by measure, or why it was not measured; `outcome` that of a job that ended. With `held_back` the change, and the
    resources of its gap, are counted when the row of the history comes.
    """

    middle: float | None
    reported: float | None = None
    disagrees: bool = False
    certain: float = NEVER
    result: tuple[Measure, Spell | CensorReason] | None = None
    outcome: Outcome | None = None
    held_back: bool = False

    @property
    def time(self) -> float | None:
        return self.middle if self.reported is None else self.reported


class _Advance:
    """One call of `advance`."""

    def __init__(
        self, before: MemberState, listing: JobListing, at: float, interval: float, grace: float | None
    ) -> None:
        self.before = before
        self.listing = listing
        self.at = at
        self.limit = MAX_GAP_INTERVALS * interval
        self.grace = grace
        self.jobs = before.jobs
        self.last = before.last
        self.complete = before.complete
        self.update = Update(at=at, complete=at if listing.complete else before.complete)
        self.events = self.update.events
        # Twice the amounts held all through the time since the last poll, as whole numbers, and the products of
        # amount and time of all other cases; each for cores, GPUs, DCUs.
        self.doubled = [0, 0, 0]
        self.seconds = [0.0, 0.0, 0.0]
        self.known = [False, False, False]
        self.oldest = inf

    def run(self) -> Update:
        if self.at < self.last:
            self._forget_times()
        self.arrays = Arrays(self.jobs, self.before, self.update)
        listed = by_id(self.listing.jobs)
        followed = self._see_all(listed)
        if followed < len(self.jobs):
            self._miss_all(listed)
        if self.before.names is None:
            self._name_all(listed)
        self._forget_finished()
        if self.events.queued:
            self.events.queued = self._heads(listed)
        self._sum_up()
        self._cover()
        settle(self.before, self.update, self.at, self.grace or 0.0)
        return self.update

    def _see_all(self, listed: dict[str, Job]) -> int:
        """Process the listed jobs; return how many of them were followed already."""
        jobs, followed = self.jobs, 0
        rows: list[str] = []
        for job_id, job in listed.items():
            old = jobs.get(job_id)
            if old is not None:
                followed += 1
                if not self._unchanged(old, job):
                    self._see(job, old)
            elif array_of_row(job_id) is not None:
                rows.append(job_id)
            else:
                self._see(job, None)
        return followed + self._see_rows(rows, listed)

    def _see_rows(self, rows: list[str], listed: dict[str, Job]) -> int:
        """As `_see_all`, for the rows of arrays: a row stays the same job while its tasks start."""
        followed = 0
        for spelled in rows:
            job = listed.pop(spelled)
            job_id = row_id(array_of_row(spelled) or "")
            if job_id in listed:
                continue
            job = listed[job_id] = replace(job, id=job_id)
            old = self.jobs.get(job_id)
            followed += old is not None
            if old is None or not self._unchanged(old, job):
                self._see(job, old)
        return followed

    def _unchanged(self, old: TrackedJob, job: Job) -> bool:
        """Process the usual case fast, as a region lists 100,000 such jobs: same state, same amounts, nothing open.

        Return False for any other job.
        """
        if old.state is not job.state or old.known is not None or old.listed is not None or old.queue != job.queue:
            return False
        if old.phase is Phase.WAIT:
            if old.seen < self.oldest:  # noqa: PLR1730 - a call of min takes longer than all the rest here
                self.oldest = old.seen
            return True
        if old.phase is Phase.ENDED:
            return True
        cpus, gpus, dcus = old.cpus, old.gpus, old.dcus
        if cpus != job.allocated_cpus or gpus != job.allocated_gpus or dcus != job.allocated_dcus:
            return False
        self._hold(cpus, gpus, dcus)
        return True

    def _hold(self, cpus: int | None, gpus: int | None, dcus: int | None) -> None:
        # Written out: a loop over the three would take a quarter of the time of a poll without changes.
        # That these amounts are known was noted when they were first seen.
        doubled = self.doubled
        if cpus is not None:
            doubled[0] += 2 * cpus
        if gpus is not None:
            doubled[1] += 2 * gpus
        if dcus is not None:
            doubled[2] += 2 * dcus

    def _see(self, job: Job, old: TrackedJob | None) -> None:
        if self._ran_unseen(job, old):
            ran = self._see_state(replace(job, state=JobState.RUNNING, ended=None), old, unseen=True)
            old = replace(ran, listed=self.at if ran.since is None else ran.since)
        self._see_state(job, old)

    def _ran_unseen(self, job: Job, old: TrackedJob | None) -> bool:
        """Whether the list has the start of a job that is over or exiting now, and that no poll saw running.

        False where the history is read, whose row has the resources as well.
        """
        if self.grace is not None or job.started is None or PHASE_OF.get(job.state) not in (Phase.LEFT, Phase.ENDED):
            return False
        if old is None:
            return self.complete != NEVER and job.id not in self.before.finished
        return old.phase in (Phase.WAIT, Phase.UNCLEAR)

    def _see_state(self, job: Job, old: TrackedJob | None, *, unseen: bool = False) -> TrackedJob:
        """Process the state of a job, as it is now, or as it was right after an `unseen` start; return the tracked job."""
        before = old or self._newcomer(job)
        if old is None or old.state is not job.state:
            self.events.transition("none" if old is None else old.state, job.state)
        certain_until = self._certain_until(before)
        phase = self._next_phase(before.phase, job)
        since, seen, submitted, reported = before.since, before.seen, before.submitted, before.reported
        change = Change(None)
        if phase is not before.phase:
            change = self._count_or_hold_back(job, before, phase, certain_until)
            submitted = self._submitted(job, before, certain_until) if phase is Phase.WAIT else None
            seen = self.at if submitted is None else min(submitted, self.at)
            since, reported = (change.time, change.reported is not None) if phase in _MEASURED else (None, False)
            self._open(before.phase, phase, submitted, change)
            if phase is Phase.WAIT and before.phase in _BEFORE_FIRST_SPELL:
                self._queue(job, submitted, change)
        elif phase is Phase.WAIT and job.state in _NOT_FREE and before.state not in _NOT_FREE:
            self.events.dequeued.append(Dequeued(certain_until, job.id, started=False))
        cpus, gpus, dcus = self._amounts(job, before, phase)
        new = TrackedJob(
            state=job.state,
            phase=phase,
            since=since,
            seen=seen,
            known=certain_until if job.state in _SAYS_NOTHING else None,
            cpus=cpus,
            gpus=gpus,
            dcus=dcus,
            queue=job.queue,
            submitted=submitted,
            reported=reported,
            scheduler=job.scheduler,
        )
        self._integrate(before, new, change.time if unseen and change.time is not None else self.at, change)
        if phase is Phase.WAIT and job.state is not JobState.UNKNOWN:
            self.oldest = min(self.oldest, seen)
        if phase is Phase.WAIT or before.phase is Phase.WAIT:
            self.update.names[job.id] = job.name if phase is Phase.WAIT else None
        if new != old:
            self.update.jobs[job.id] = new
        return new

    def _count_or_hold_back(self, job: Job, before: TrackedJob, phase: Phase, certain_until: float) -> Change:
        """Return the change of a job's phase, counted now or held back until its row of the history comes."""
        change = self._change_phase(job, before, phase, certain_until)
        if self._waits_for_row(before.phase, phase, change):
            self._hold_back(job, before, phase, certain_until, change)
            return replace(change, held_back=True)
        self._count(change)
        if change.outcome is not None and self.grace is not None:
            note_end(self.before, self.update, job.id, certain_until, self.at)
        return change

    def _amounts(self, job: Job, before: TrackedJob, phase: Phase) -> Amounts:
        """Return the amounts that a job holds. One that is exiting may be listed with nothing, but holds it until the end in the history."""
        if phase in _HOLDS_NOTHING or job.state is JobState.UNKNOWN:
            return 0, 0, 0
        if job.state is JobState.EXITING and phase is Phase.RUN:
            return before.amounts if before.phase is Phase.RUN else (None, None, None)
        return job.allocated_cpus, job.allocated_gpus, job.allocated_dcus

    def _newcomer(self, job: Job) -> TrackedJob:
        """Return a job that was not listed before, as it was at the last complete listing: holding nothing.

        An id that is remembered as over stays over, unless its state says that it is a new job.
        """
        over = job.id in self.before.finished
        if over:
            self.update.finished[job.id] = None
        elif (row := self.arrays.row_of(job.id)) is not None:
            return self._task(job, row)
        self.arrays.newcomers.append(job)
        self.events.queues.add(job.queue)
        return TrackedJob(
            state=job.state,
            phase=Phase.ENDED if over else Phase.UNCLEAR,
            since=None,
            seen=self.at,
            known=self.complete,
            listed=self.complete,
        )

    def _task(self, job: Job, row: TrackedJob) -> TrackedJob:
        """Return a task as it was in the row: all tasks of an array are submitted together."""
        if not row.measured and self.grace is None:
            self.events.censor("wait", "left_truncated")
        return replace(row, state=job.state, missing=None)

    def _name_all(self, listed: dict[str, Job]) -> None:
        """Note the names of all waiting jobs, at the first listing since the start."""
        for job_id, job in listed.items():
            tracked = self.update.jobs.get(job_id) or self.jobs.get(job_id)
            if tracked is not None and tracked.phase is Phase.WAIT:
                self.update.names[job_id] = job.name

    def _next_phase(self, phase: Phase, job: Job) -> Phase:
        """Return the phase of a job that was in `phase` and is now listed.

        A suspended job has begun to run if the list has its start. Where the history is read, an exiting job runs until
        the end in its row.
        """
        if job.state is JobState.SUSPENDED:
            waits = job.started is None and phase in _BEFORE_FIRST_SPELL
            return Phase.WAIT if waits else phase if job.started is None else Phase.RUN
        if job.state is JobState.EXITING and phase is not Phase.ENDED:
            return Phase.LEFT if self.grace is None else Phase.RUN
        # A job that is over does not come back to life by exiting.
        return phase if job.state is JobState.EXITING else PHASE_OF.get(job.state, phase)

    def _change_phase(self, job: Job, old: TrackedJob, phase: Phase, certain_until: float) -> Change:
        """Return the change between two phases, with the spell that it ends."""
        if phase is Phase.RUN:
            reported = job.started
        else:
            reported = self._resubmitted(job, old, certain_until) if phase is Phase.WAIT else job.ended
        change = self._change(reported, certain_until, self.at)
        result: tuple[Measure, Spell | CensorReason] | None
        if phase is Phase.RUN and old.phase in _BEFORE_FIRST_SPELL:
            result = "wait", self._first_seen_running(job, change)
        else:
            result = self._closed(job.id, job.queue, old, phase, change)
        outcome = cast("Outcome", job.state.value) if phase is Phase.ENDED else None
        return replace(change, result=result, outcome=outcome)

    def _count(self, change: Change) -> None:
        if change.result is not None:
            self._observe(*change.result)
        if change.outcome is not None:
            self.events.finish(change.outcome)

    def _waits_for_row(self, before: Phase, phase: Phase, change: Change) -> bool:
        """Whether to count a change when its row of the history comes, which has the exact time."""
        if self.grace is None or change.reported is not None or (before is Phase.UNCLEAR and self.complete == NEVER):
            return False
        if phase is Phase.RUN:
            return before in (Phase.WAIT, Phase.UNCLEAR)
        return change.outcome is not None or before is Phase.RUN

    def _hold_back(self, job: Job, old: TrackedJob, phase: Phase, certain_until: float, change: Change) -> None:
        """Keep a start or an end pending until its row comes."""
        starts = phase is Phase.RUN
        cpus, gpus, dcus = self._amounts(job, old, phase) if starts else old.amounts
        listed = self._last_listed(old)
        pending = Pending(
            what="start" if starts else "end",
            job_id=job.id,
            job=replace(old, queue=job.queue, scheduler=job.scheduler, cpus=cpus, gpus=gpus, dcus=dcus),
            low=max(0.0, certain_until),
            high=self.at,
            outcome=change.outcome,
            listed=self.at if starts else listed,
            edge=self._edge(self.at - listed),
            noted=self.at,
        )
        self._note_pending(pending, change)

    def _note_pending(self, pending: Pending, change: Change) -> None:
        if change.result is not None:
            measure, result = change.result
            if isinstance(result, Spell):
                pending = replace(pending, measure=measure, spell=result)
            else:
                pending = replace(pending, measure=measure, censored=result)
        self.update.pending[f"{pending.what} {pending.high:.3f} {pending.job_id}"] = pending

    def _edge(self, span: float) -> float:
        """Return for how many seconds of a gap the amounts at one of its ends count. A damaged file can make it negative."""
        return 0.0 if span == inf else max(0.0, min(span, self.limit)) / 2

    def _change(self, reported: float | None, start: float, end: float) -> Change:
        """Return a change of phase in the gap from `start` to `end`."""
        middle = None if end - start > self.limit else (start + end) / 2
        if reported is None:
            return Change(middle, certain=start)
        if start - TOLERANCE <= reported <= end + TOLERANCE:
            return Change(middle, reported, certain=start)
        self.events.disagreements += 1
        return Change(middle, disagrees=True, certain=start)

    def _submitted(self, job: Job, old: TrackedJob, certain_until: float) -> float | None:
        """Return the reported time of submission of a job that begins to wait, if it fits what the polls saw."""
        if job.submitted is None or old.phase not in _BEFORE_FIRST_SPELL:
            return self._resubmitted(job, old, certain_until)
        earliest = NEVER if array_of_task(job.id) else certain_until - SUBMISSION_TOLERANCE
        if earliest <= job.submitted <= self.at + TOLERANCE:
            return job.submitted
        self.events.disagreements += 1
        return None

    def _resubmitted(self, job: Job, old: TrackedJob, certain_until: float) -> float | None:
        """Return when a job that waits again was requeued, where the scheduler reports that as a new submission."""
        if job.submitted is None or job.submitted > self.at + TOLERANCE:
            return None
        earliest = inf
        if old.phase is Phase.LEFT:
            # It was exiting meanwhile: requeued in the gap before that was seen.
            earliest = old.seen - self.limit / MAX_GAP_INTERVALS
        elif old.reported and old.since is not None and job.submitted > old.since:
            earliest = certain_until - TOLERANCE
        return job.submitted if job.submitted >= earliest else None

    def _closed(
        self, job_id: str, queue: str, old: TrackedJob, phase: Phase, change: Change
    ) -> tuple[Measure, Spell | CensorReason] | None:
        """Return the spell that ends with a phase, or why it cannot be measured."""
        if not old.measured and (self.grace is None or old.phase not in _MEASURED):
            return None
        if old.phase is Phase.RUN:
            start = Change(old.since, old.since if old.reported else None)
            missing: CensorReason = "left_truncated" if old.since is None else "gap"
            return "run", _spell(job_id, queue, start, change) or missing
        wait = self._wait(job_id, queue, old, change) if phase is Phase.RUN else "vanished"
        self._dequeue(job_id, wait, change.certain)
        return "wait", wait

    def _wait(self, job_id: str, queue: str, old: TrackedJob, change: Change) -> Spell | CensorReason:
        start = Change(old.since, old.submitted)
        if change.disagrees:  # then nothing that is reported of the job is believed
            start = Change(old.since)
        elif start.reported is not None and change.reported is not None and change.reported < start.reported:
            self.events.disagreements += 1
            start, change = Change(old.since), Change(change.middle)
        if start.time is None:
            return "left_truncated"
        return _spell(job_id, queue, start, change) or "gap"

    def _dequeue(self, job_id: str, wait: Spell | CensorReason, certain: float) -> None:
        started = isinstance(wait, Spell)
        at = wait.end if isinstance(wait, Spell) else certain
        self.events.dequeued.append(Dequeued(at, job_id, started))
        if (array := array_of_task(job_id)) is not None:
            # The row of an array starts with the first of its tasks.
            self.events.dequeued += (Dequeued(at, row, started) for row in (row_id(array), array))

    def _queue(self, job: Job, submitted: float | None, change: Change) -> None:
        """Note a job that begins to wait, unless the gap is too wide: short waits that began in it are over already."""
        if change.middle is None or job.state in _NOT_FREE or job.reason in _NOT_FREE_REASONS:
            return
        at = change.middle if submitted is None else submitted
        self.events.queued.append(Queued(at, job.id, job.queue, _accelerated(job), reported=submitted is not None))

    def _heads(self, listed: dict[str, Job]) -> list[Queued]:
        """Return the first jobs of their bursts: no other waiting job of the user came shortly before."""
        latest: dict[tuple[str, bool], float] = {}
        for job_id, old in self.before.jobs.items():
            if old.phase is Phase.WAIT and (since := old.since if old.submitted is None else old.submitted) is not None:
                job = listed.get(job_id)
                for accelerated in (False, True) if job is None else (_accelerated(job),):
                    kind = old.queue, accelerated
                    latest[kind] = max(latest.get(kind, NEVER), since)
        heads = []
        for queued in sorted(self.events.queued, key=attrgetter("at", "job_id")):
            kind = queued.queue, queued.accelerated
            if queued.at - latest.get(kind, NEVER) > BURST_SECONDS:
                heads.append(queued)
            latest[kind] = max(latest.get(kind, NEVER), queued.at)
        return heads

    def _first_seen_running(self, job: Job, change: Change) -> Spell | CensorReason:
        """Return the wait of a job that no poll saw waiting."""
        if change.certain == NEVER:
            return "left_truncated"
        start = end = Change(change.middle)
        if change.reported is not None and job.submitted is not None:
            of_array = array_of_task(job.id) is not None or self.arrays.may_be_task(job)
            earliest = NEVER if of_array else change.certain - SUBMISSION_TOLERANCE
            if not earliest <= job.submitted <= change.reported:
                self.events.disagreements += 1
            else:
                start, end = Change(change.middle, job.submitted), change
        elif self.arrays.may_be_task(job):
            return "left_truncated"
        # Else submitted and started in one gap, and both are its middle: a wait of 0. A wait of w has a chance of w/gap
        # to be seen by a poll, and then counts as a whole gap; half a gap for all others would be too much.
        wait = _spell(job.id, job.queue, start, end)
        if wait is not None:
            self._queue(job, start.reported, start)
            self.events.dequeued.append(Dequeued(wait.end, job.id, started=True))
        return wait or "left_truncated"

    def _open(self, before: Phase, phase: Phase, submitted: float | None, change: Change) -> None:
        """Count a spell whose start is not known."""
        if self.grace is not None:
            return  # the history may tell it: it counts when the spell ends
        if phase in _MEASURED and change.time is None and submitted is None:
            reason: CensorReason = "left_truncated" if before in _BEFORE_FIRST_SPELL else "gap"
            self.events.censor("run" if phase is Phase.RUN else "wait", reason)

    def _observe(self, measure: Measure, result: Spell | CensorReason) -> None:
        if not isinstance(result, Spell):
            self.events.censor(measure, result)
        elif measure == "wait":
            self.events.waits.append(result)
        else:
            self.events.runs.append(result)

    def _integrate(self, old: TrackedJob, new: TrackedJob | None, until: float, change: Change) -> None:
        """Integrate the amounts of a job between two listings (trapezoid rule), unless one is unknown at either end.

        If the time of a `change` of its phase is reported, the old amounts count until then and the new ones from then on.
        """
        listed = self._last_listed(old)
        span = until - listed
        before = after = self._edge(span)
        if change.held_back:
            # At a start, that is what it holds after it; at an end, what it held before, and nothing is held after it.
            before, after = (before, 0.0) if new and new.phase is Phase.RUN else (0.0, 0.0)
        elif change.reported is not None and span < inf:
            changed = change.reported
            before, after = (max(0.0, min(seconds, span)) for seconds in (changed - listed, until - changed))
        for index, (start, end) in enumerate(zip(old.amounts, new.amounts if new else (0, 0, 0), strict=True)):
            if start is not None and end is not None:
                self.seconds[index] += start * before + end * after
            if end is not None and new and new.phase not in _HOLDS_NOTHING and new.state is not JobState.UNKNOWN:
                self.known[index] = True

    def _miss_all(self, listed: dict[str, Job]) -> None:
        miss = self._miss_certainly if self.listing.complete else self._miss_perhaps
        for job_id, old in self.jobs.items():
            if job_id not in listed:
                miss(job_id, old)

    def _miss_certainly(self, job_id: str, old: TrackedJob) -> None:
        """Note that a complete listing lacks the job: after the second one it is gone, since the first."""
        if old.missing is None:
            known, listed = self._certain_until(old), self._last_listed(old)
            if old.phase is Phase.WAIT and self.arrays.started_under_new_ids(job_id):
                old = replace(old, phase=Phase.UNCLEAR, since=None, submitted=None)
                self.events.dequeued.append(Dequeued(known, job_id, started=False))
            self.update.jobs[job_id] = replace(old, known=known, listed=listed, missing=self.at)
            return
        self.update.names[job_id] = None
        self.events.transition(old.state, "gone")
        if old.phase is Phase.WAIT and self.arrays.has_tasks(job_id):
            self.events.dequeued.append(Dequeued(self.last, job_id, started=False))
            self.update.jobs[job_id] = None
            return
        known = NEVER if old.known is None else old.known
        change = self._change(None, known, old.missing)
        change = replace(
            change, result=self._closed(job_id, old.queue, old, Phase.ENDED, change), outcome=_outcome_of_vanished(old)
        )
        if old.phase is not Phase.UNCLEAR or change.outcome is not None:
            self.update.finished[job_id] = self.at
        if self.grace is not None and change.outcome is not None:
            listed = NEVER if old.listed is None else old.listed
            pending = replace(pending_of(job_id, old, self.at, listed), low=max(0.0, known), high=old.missing)
            pending = replace(pending, outcome=change.outcome, edge=self._edge(old.missing - listed))
            self._note_pending(pending, change)
            change = replace(change, held_back=True)
        else:
            self._count(change)
        self._integrate(old, None, old.missing, change)
        self.update.jobs[job_id] = None

    def _miss_perhaps(self, job_id: str, old: TrackedJob) -> None:
        """Note an incomplete listing: the job may be among the unreadable records."""
        known, listed = self._certain_until(old), self._last_listed(old)
        if self.at - listed > REMEMBERED_SECONDS:
            # Records of this member have been unreadable for a week: it must not be followed indefinitely.
            if old.measured:
                self.events.censor("run" if old.phase is Phase.RUN else "wait", "gap")
            self.events.dequeued.append(Dequeued(known, job_id, started=False))
            self.update.jobs[job_id] = None
            return
        if old.phase is Phase.WAIT and old.missing is None and old.state is not JobState.UNKNOWN:
            self.oldest = min(self.oldest, old.seen)
        if old.listed is None:
            self.update.jobs[job_id] = replace(old, known=known, listed=listed)

    def _certain_until(self, old: TrackedJob) -> float:
        """Return when the phase of a job was last certain."""
        return self.last if old.known is None else old.known

    def _last_listed(self, old: TrackedJob) -> float:
        return self.last if old.listed is None else old.listed

    def _forget_times(self) -> None:
        """Discard all times of a job after the clock was set back: nothing that began before can be measured."""
        for job_id, old in self.jobs.items():
            if old.measured:
                self.events.censor("run" if old.phase is Phase.RUN else "wait", "gap")
                self.events.dequeued.append(Dequeued(self._certain_until(old), job_id, started=False))
        self.jobs = {job_id: self._timeless(old) for job_id, old in self.jobs.items()}
        self.update.jobs.update(self.jobs)
        self.update.finished.update(
            {job_id: self.at for job_id, time in self.before.finished.items() if time > self.at}
        )
        self.last = self.complete = NEVER
        if not self.listing.complete:
            self.update.complete = NEVER

    def _timeless(self, old: TrackedJob) -> TrackedJob:
        return replace(
            old,
            since=None,
            seen=min(old.seen, self.at),
            known=NEVER,
            listed=self.at,
            missing=None,
            submitted=None,
            reported=False,
            cpus=None,
            gpus=None,
            dcus=None,
        )

    def _forget_finished(self) -> None:
        horizon = self.at - REMEMBERED_SECONDS
        finished = self.before.finished
        for job_id in takewhile(lambda job_id: finished[job_id] <= horizon, finished):
            self.update.finished.setdefault(job_id, None)

    def _wait_on(self) -> None:
        """Restart the grace time of pending starts and ends after a time without polls: probably no history was read either."""
        for key, pending in self.before.pending.items():
            if self.update.pending.get(key, pending) is not None:
                self.update.pending[key] = replace(pending, noted=self.at)

    def _sum_up(self) -> None:
        span = self.at - self.last
        if span < inf:
            accounted = min(span, self.limit)
            self.events.unaccounted = span - accounted
            if self.grace is not None and span > accounted:
                self.update.gaps.append(Gap(self.last, self.at, accounted))
                self._wait_on()
            for index, doubled in enumerate(self.doubled):
                self.seconds[index] += doubled * accounted / 2
        self.events.resource_seconds = (self.seconds[0], self.seconds[1], self.seconds[2])
        self.events.amounts_known = (self.known[0], self.known[1], self.known[2])
        self.update.oldest_waiting = None if self.oldest == inf else self.oldest

    def _cover(self) -> None:
        """Note since when polls cannot have overlooked a listed job."""
        since, _ = self.before.covered
        if self.listing.complete and (since == inf or self.at - self.complete > self.limit):
            since = self.at
        self.update.covered = since, self.limit


def _accelerated(job: Job) -> bool:
    return bool(job.requested_gpus or job.requested_dcus)


def _spell(job_id: str, queue: str, start: Change, end: Change) -> Spell | None:
    """Return the spell between two changes; None where one of them is not known."""
    if start.time is None or end.time is None:
        return None
    basis: Basis = "polls" if start.reported is None or end.reported is None else "reported"
    return Spell(job_id, start.time, max(start.time, end.time), queue, basis)


def _outcome_of_vanished(job: TrackedJob) -> Outcome | None:
    """Return the outcome of a job that is no longer listed.

    None if it was counted, or was only ever in state `other`.
    """
    if job.state is JobState.UNKNOWN and job.phase is not Phase.ENDED:
        return "unknown"
    return _OUTCOME_OF_VANISHED.get(job.phase)
