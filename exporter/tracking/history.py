"""Matches the starts and ends of jobs that polls saw with the rows of the scheduler's history.

A row has the exact times, of which polls only know the gap between two of them. So a start or an end that a poll saw is
pending for as long as its row may still come. It is counted with the times of the row, or with those of the polls if no
row comes. A row of a job that no poll saw is counted as well. Each end is counted once, whichever way it became known.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import takewhile
from math import inf
from typing import Final, cast

from msgspec.structs import replace

from exporter.records import ENDED, EndedJob, JobState, qualified_id
from exporter.tracking.arrays import array_of_task
from exporter.tracking.model import (
    TOLERANCE,
    Basis,
    Dequeued,
    KnownEnd,
    MemberState,
    Outcome,
    Pending,
    Phase,
    Spell,
    TrackedJob,
    Update,
)

# Seconds by which a list may show jobs after their end.
LIST_LAG: Final = 900.0
# Seconds for which known ends are remembered: longer than the window in which the history is requested.
REMEMBERED: Final = 2 * 86400.0


def pending_of(job_id: str, old: TrackedJob, at: float, listed: float) -> Pending:
    """Return the pending end of a job that was listed last at `listed`, and that no later poll will list."""
    outcome: Outcome = "vanished_queued" if old.phase is Phase.WAIT else "vanished_running"
    return Pending(what="end", job_id=job_id, job=old, low=listed, high=at, outcome=outcome, listed=listed, noted=at)


def take_ends(before: MemberState, rows: Iterable[EndedJob], now: float, grace: float) -> Update:
    """Return the state after more rows of the history, read at `now`; `before` stays as it is.

    `grace` is for how many seconds a start or an end waits for its row.
    """
    update = Update(
        at=before.last, complete=before.complete, oldest_waiting=before.oldest_waiting, covered=before.covered
    )
    names = _Names(before, rows := tuple(rows))
    for row in rows:
        key = f"{row.scheduler}/{row.job.id}/{row.ended}"
        known = KnownEnd(row.ended, row.ended, row.scheduler)
        own = qualified_id(row.job.id, row.scheduler)
        if key not in before.early and not any(known in before.ends.get(name, ()) for name in (row.job.id, own)):
            name = own if names.is_others(row, own) else row.job.id
            update.early[key] = (row if name == row.job.id else replace(row, job=replace(row.job, id=name)), now)
    settle(before, update, now, grace)
    return update


class _Names:
    """The ids under which jobs are followed: of two jobs with the same id, one has its scheduler's id appended."""

    def __init__(self, before: MemberState, rows: tuple[EndedJob, ...]) -> None:
        self._before = before
        self._rows = rows
        self._pending = {pending.job_id: pending.job.scheduler for pending in before.pending.values()}

    def is_others(self, row: EndedJob, own: str) -> bool:
        """Whether the job that is followed under the row's plain id is another scheduler's."""
        before = self._before
        if own in before.jobs or own in self._pending or own in before.finished:
            return True
        job = before.jobs.get(row.job.id)
        scheduler = self._pending.get(row.job.id, "") if job is None else job.scheduler
        return scheduler not in ("", row.scheduler) and scheduler in self._of_rows

    @cached_property
    def _of_rows(self) -> set[str | None]:
        """The schedulers as rows name them. If lists of jobs use other names, these cannot tell jobs apart."""
        known = (end.scheduler for ends in self._before.ends.values() for end in ends)
        return {*known, *(row.scheduler for row in self._rows)}


def settle(before: MemberState, update: Update, now: float, grace: float) -> None:
    """Match pending starts and ends with the rows that have come, and add the results to `update`."""
    if before.pending or update.pending or before.early or update.early:
        _Settlement(before, update, now, grace).run()
    horizon = now - REMEMBERED
    for job_id in takewhile(lambda job_id: before.ends[job_id][-1].high < horizon, before.ends):
        update.ends.setdefault(job_id, None)


def note_end(before: MemberState, update: Update, job_id: str, low: float, high: float) -> None:
    """Note that the end of a job in the gap from `low` to `high` was counted from polls."""
    known = ends_of(before, update, job_id)
    update.ends[job_id] = (*known, KnownEnd(max(0.0, low - TOLERANCE), high + TOLERANCE))


def ends_of(before: MemberState, update: Update, job_id: str) -> tuple[KnownEnd, ...]:
    """Return the known ends of a job, in the order in which they became known."""
    return update.ends.get(job_id) or before.ends.get(job_id, ())


class _Settlement:
    """One call of `settle`."""

    def __init__(self, before: MemberState, update: Update, now: float, grace: float) -> None:
        self.before = before
        self.update = update
        self.events = update.events
        self.now = now
        self.grace = grace
        early = {**before.early, **update.early}
        self.early = {key: known for key, known in early.items() if known is not None}
        self._keys: dict[str, list[str]] = {}
        for key, (row, _) in self._rows():
            self._keys.setdefault(row.job.id, []).append(key)
        self.pending: dict[str, list[tuple[str, Pending]]] = {}
        for key, pending in {**before.pending, **update.pending}.items():
            if pending is not None and update.pending.get(key, pending) is not None:
                self.pending.setdefault(pending.job_id, []).append((key, pending))

    def run(self) -> None:
        for key, (row, _) in self._rows():
            # The row of a run that was requeued is not that of the job's end.
            final = _outcome(row) is not None
            fitting = (end for end in self._ends(row.job.id) if end[1].fits(row.ended))
            match = next((end for end in fitting if final or end[1].outcome is None), None)
            if match is not None and key in self.early:
                self._settle(key, row, *match)
        for of_job in list(self.pending.values()):
            for key, pending in list(of_job):
                if self.now - pending.noted >= self.grace and not self._only_rows_tell(pending):
                    self._give_up(key, pending)
        for key, (row, came) in self._rows():
            if key in self.early and self._count_alone(row, came):
                self._know(key, row)

    def _rows(self) -> list[tuple[str, tuple[EndedJob, float]]]:
        """Return the rows that are not used yet, in the order of their ends."""
        return sorted(self.early.items(), key=lambda item: item[1][0].ended)

    def _rows_of(self, job_id: str) -> list[tuple[str, EndedJob]]:
        """As `_rows`, of one job."""
        return [(key, self.early[key][0]) for key in self._keys.get(job_id, ()) if key in self.early]

    def _only_rows_tell(self, pending: Pending) -> bool:
        """Whether a pending start must wait for a row: one has come already, or polls do not know its time."""
        if pending.what == "end" or not self.grace:
            return False
        if pending.spell is not None:
            return bool(self._rows_of(pending.job_id))
        return self._followed(pending.job_id) is not None or bool(self._ends(pending.job_id))

    def _settle(self, key: str, row: EndedJob, of_pending: str, pending: Pending) -> None:
        self._earlier_runs(row, pending)
        self._starts(row)
        self._settle_end(of_pending, pending, row)
        self._know(key, row)

    def _give_up(self, key: str, pending: Pending) -> None:
        """Count a pending start or end from polls; an end from a row that comes before its gap, if a list may lag so far."""
        earliest = pending.low - LIST_LAG
        for of_row, row in self._rows_of(pending.job_id) if pending.what == "end" else []:
            if earliest <= row.ended <= pending.low:
                self._settle(of_row, row, key, pending)
                return
        self._drop(key, pending)
        self._by_polls(pending)
        if pending.what == "end":
            note_end(self.before, self.update, pending.job_id, pending.low, pending.high)

    def _count_alone(self, row: EndedJob, came: float) -> bool:
        """Count a row whose end no poll has seen. Return False if a poll may still see it."""
        followed = self._followed(row.job.id)
        if followed is not None and followed.phase is Phase.ENDED:
            followed = None
        if self._ends(row.job.id) or (followed is not None and self.now - came < self.grace):
            return False
        if followed is not None and row.ended >= self._listed(followed) - TOLERANCE:
            self._end_followed(row.job.id, followed, row)
        elif not self._counted(row):
            if followed is not None and followed.phase is Phase.RUN and followed.seen <= row.ended + TOLERANCE:
                self._run_between_polls(row)
            else:
                self._unseen(row)
        return True

    def _know(self, key: str, row: EndedJob) -> None:
        """Remember that a row was used."""
        known = ends_of(self.before, self.update, row.job.id)
        self.update.ends[row.job.id] = (*known, KnownEnd(row.ended, row.ended, row.scheduler))
        del self.early[key]
        self.update.early[key] = None

    def _ends(self, job_id: str) -> list[tuple[str, Pending]]:
        return [each for each in self.pending.get(job_id, ()) if each[1].what == "end"]

    def _followed(self, job_id: str) -> TrackedJob | None:
        changed = self.update.jobs
        return changed[job_id] if job_id in changed else self.before.jobs.get(job_id)

    def _listed(self, job: TrackedJob) -> float:
        return self.update.at if job.listed is None else job.listed

    def _counted(self, row: EndedJob) -> bool:
        """Whether the end was counted already, or is one that cannot be: earlier than what polls saw, or in the future."""
        known = ends_of(self.before, self.update, row.job.id)
        by_polls = [end for end in known if end.scheduler is None]
        if by_polls and not self._ran_again(row, by_polls[-1].high):
            self.events.disagreements += not any(end.low <= row.ended <= end.high for end in by_polls)
            return True
        over = self.before.finished.get(row.job.id)
        return not known and over is not None and row.ended <= over + TOLERANCE

    def _ran_again(self, row: EndedJob, high: float) -> bool:
        """Whether a row is that of a later run than the one whose end polls saw before `high`."""
        started = row.job.started
        return started is not None and high < started <= row.ended <= self.now + TOLERANCE

    def _earlier_runs(self, row: EndedJob, pending: Pending) -> None:
        """Count the runs of a job that ended between two polls which saw it running, before its run of `row` began."""
        started = row.job.started
        if pending.job.phase is not Phase.RUN or started is None:
            return
        latest = min(started, row.ended - 1)
        for key, earlier in self._rows_of(row.job.id):
            if pending.job.seen - TOLERANCE <= earlier.ended <= latest:
                self._starts(earlier)
                self._run_between_polls(earlier)
                self._know(key, earlier)

    def _run_between_polls(self, row: EndedJob) -> None:
        """Count a run that polls took for a part of a longer one, with which its resources were counted."""
        started = row.job.started
        if started is not None and started <= row.ended:
            self.events.runs.append(Spell(row.job.id, started, row.ended, row.job.queue, "reported"))

    def _starts(self, row: EndedJob) -> None:
        """Settle a start that is pending for the row's job."""
        for key, pending in [each for each in self.pending.get(row.job.id, ()) if each[1].what == "start"]:
            self._drop(key, pending)
            started = row.job.started
            if started is None or not pending.fits(started):
                self.events.disagreements += started is not None
                self._by_polls(pending)
                continue
            self._observe_wait(row, pending, started)
            self.events.hold(pending.job.amounts, max(0.0, pending.listed - started))

    def _settle_end(self, key: str, pending: Pending, row: EndedJob) -> None:
        self._drop(key, pending)
        outcome = _outcome(row) or pending.outcome
        if pending.outcome is not None and outcome is not None:
            self.events.finish(outcome)
        if pending.job.phase is Phase.RUN:
            self._end_run(pending, row)
        elif pending.job.phase in (Phase.WAIT, Phase.UNCLEAR):
            self._whole(row, pending)

    def _end_run(self, pending: Pending, row: EndedJob) -> None:
        started, reported = row.job.started, True
        requeued = self._restarted(row, pending.job.seen)
        if requeued is not None and started is not None and started <= row.ended:
            self.events.waits.append(Spell(pending.job_id, requeued, started, row.job.queue, "reported"))
        elif started is None or not _earliest(pending) <= started <= min(row.ended, pending.job.seen + TOLERANCE):
            self.events.disagreements += started is not None
            started, reported = pending.job.since, pending.job.reported
        if started is None:
            self.events.censor("run", "left_truncated")
        else:
            basis: Basis = "reported" if reported else "polls"
            end = max(started, row.ended)
            self.events.runs.append(Spell(pending.job_id, started, end, pending.job.queue or row.job.queue, basis))
        self.events.hold(pending.job.amounts, max(0.0, row.ended - pending.listed) + self._bridged(pending))
        if started is not None:
            # Amounts that no list gave count as a whole.
            amounts = zip(_amounts(row), pending.job.amounts, strict=True)
            cpus, gpus, dcus = (amount if listed is None else None for amount, listed in amounts)
            self.events.hold((cpus, gpus, dcus), max(0.0, row.ended - started))

    def _restarted(self, row: EndedJob, seen: float) -> float | None:
        """Return the end of an earlier run, between two polls that saw the job running before and after it; else None."""
        started = row.job.started or 0.0
        known = ends_of(self.before, self.update, row.job.id)
        ends = (end.low for end in known if end.scheduler is not None and seen - TOLERANCE <= end.low <= started)
        return max(ends, default=None)

    def _bridged(self, pending: Pending) -> float:
        """Return the seconds of long gaps between polls, during which the job ran, that were not counted."""
        return sum(
            gap.end - gap.start - gap.accounted
            for gap in (*self.before.gaps, *self.update.gaps)
            if pending.job.seen <= gap.start and gap.end <= pending.listed
        )

    def _whole(self, row: EndedJob, pending: Pending | None = None) -> None:
        """Count the wait and the run of a job that no poll saw running."""
        started = row.job.started
        if started is not None:
            earliest = pending.low - TOLERANCE if pending is not None and pending.job.phase is Phase.WAIT else 0.0
            if started > row.ended or started < earliest:
                self.events.disagreements += 1
                started = None
            elif started == row.ended and row.job.state is JobState.DELETED:
                started = None  # deleted while it waited
        if started is None:
            self.events.censor("wait", "vanished")
            return
        self._observe_wait(row, pending, started)
        self.events.runs.append(Spell(row.job.id, started, row.ended, row.job.queue, "reported"))
        self.events.hold(_amounts(row), row.ended - started)

    def _observe_wait(self, row: EndedJob, pending: Pending | None, started: float) -> None:
        submitted, since = (None, None) if pending is None else (pending.job.submitted, pending.job.since)
        reported = row.job.submitted if row.job.submitted is not None else submitted
        if reported is not None and not _earliest(pending) <= reported <= started:
            self.events.disagreements += 1
            reported = submitted
        # A job that runs again has waited since its last run, not since it was submitted.
        before = [end for end in ends_of(self.before, self.update, row.job.id) if end.low <= started]
        if reported is not None and before and reported < before[-1].low:
            reported = before[-1].low if before[-1].scheduler is not None else None
        begun = since if reported is None else reported
        if begun is None:
            self.events.censor("wait", "left_truncated")
            return
        basis: Basis = "polls" if reported is None else "reported"
        self.events.waits.append(Spell(row.job.id, begun, max(begun, started), row.job.queue, basis))

    def _unseen(self, row: EndedJob) -> None:
        """Count the end of a job, or of one of its runs, that no poll saw."""
        outcome = _outcome(row)
        if outcome is not None:
            self.events.finish(outcome)
        self.events.queues.add(row.job.queue)
        if self._followed(row.job.id) is None:
            self.update.finished[row.job.id] = self.now
        if row.ended > self.now + TOLERANCE or self._overlooked(row):
            self.events.disagreements += 1
            self.events.censor("wait", "gap")
            return
        self._whole(row)

    def _overlooked(self, row: EndedJob) -> bool:
        """Whether polls would have seen a run as long as the row's. Tasks of an array may be listed as one row."""
        if array_of_task(row.job.id) is not None:
            return False
        since, stretch = self.update.covered
        begun = row.ended if row.job.started is None else row.job.started
        return min(row.ended, self.update.complete) - max(begun, since) > stretch + LIST_LAG

    def _end_followed(self, job_id: str, job: TrackedJob, row: EndedJob) -> None:
        """End a job that is still followed, by its row."""
        self._starts(row)
        pending = pending_of(job_id, job, self.now, self._listed(job))
        if job.phase is Phase.WAIT:
            at = _ran_from(row)
            self.events.dequeued.append(Dequeued(pending.low if at is None else at, job_id, started=at is not None))
        self._settle_end("", pending, row)
        self.update.jobs[job_id] = None
        self.update.names[job_id] = None
        self.update.finished[job_id] = self.now

    def _by_polls(self, pending: Pending) -> None:
        """Count a pending start or end as the polls saw it."""
        events = self.events
        if pending.spell is not None:
            (events.waits if pending.measure == "wait" else events.runs).append(pending.spell)
        elif pending.measure is not None:
            events.censor(pending.measure, pending.censored)
        if pending.outcome is not None:
            events.finish(pending.outcome)
        events.hold(pending.job.amounts, pending.edge)

    def _drop(self, key: str, pending: Pending) -> None:
        of_job = self.pending.get(pending.job_id, [])
        self.pending[pending.job_id] = [each for each in of_job if each[0] != key]
        if key:
            self.update.pending[key] = None


def _ran_from(row: EndedJob) -> float | None:
    """Return the start in a row; None where the job did not start, or the time is impossible."""
    started = row.job.started
    if started is None or started > row.ended or (started == row.ended and row.job.state is JobState.DELETED):
        return None
    return started


def _earliest(pending: Pending | None) -> float:
    """Return the earliest time at which the phase of a job can have begun, according to polls of a list that may lag."""
    if pending is None or pending.job.phase not in (Phase.WAIT, Phase.RUN):
        return -inf
    if pending.job.submitted is not None:
        return pending.job.submitted - TOLERANCE
    if pending.job.since is None:
        return -inf
    gap = 0.0 if pending.job.reported else 2 * (pending.job.seen - pending.job.since)
    return pending.job.seen - gap - LIST_LAG


def _outcome(row: EndedJob) -> Outcome | None:
    """Return the outcome in a row; None where it has none, as for a run that was requeued."""
    if row.job.state in ENDED:
        return cast("Outcome", row.job.state.value)
    return "unknown" if row.job.state is JobState.UNKNOWN else None


def _amounts(row: EndedJob) -> tuple[int | None, int | None, int | None]:
    return row.job.allocated_cpus, row.job.allocated_gpus, row.job.allocated_dcus
