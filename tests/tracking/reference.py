"""A second, independent tracker for one member: plain and slow.

It keeps every listing and works everything out again from the whole history, job by job, without carrying any state
from poll to poll. The state machine is held against it. Tasks of arrays are known by their ids only, not by their
names.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from exporter.records import Job, JobListing

NEVER = float("-inf")
WEEK = 7 * 86400.0

WAITING = {"queued", "held", "waiting", "requeued"}
ENDED = {"completed", "deleted", "failed", "timeout", "node_failure"}
VAGUE = {"other", "unknown"}
STARTS_A_NEW_LIFE = WAITING | {"running", "suspended"}


@dataclass(frozen=True)
class Poll:
    at: float
    interval: float
    listing: JobListing

    @property
    def limit(self) -> float:
        return 3 * self.interval

    @property
    def jobs(self) -> dict[str, Job]:
        """Listed jobs by id, the rows of one array under one id.

        Of records with one id, one that has not ended is taken.
        """
        by_spelling: dict[str, list[Job]] = {}
        for job in self.listing.jobs:
            by_spelling.setdefault(job.id, []).append(job)
        found: dict[str, Job] = {}
        for spelling, jobs in by_spelling.items():
            found.setdefault(
                row_of(spelling) or spelling, next((job for job in jobs if job.state not in ENDED), jobs[0])
            )
        return found


def row_of(job_id: str) -> str:
    """Return the one id of an array's row; empty for other jobs."""
    match = re.match(r"(\d+)(_\[|\[(?!\d+\]))", job_id)
    return f"{match[1]}_[]" if match else ""


def array_of(job_id: str) -> str:
    """Return the array of a task; empty for other jobs."""
    match = re.fullmatch(r"(\d+)(_\d+|\[\d+\])", job_id)
    return match[1] if match else ""


@dataclass(frozen=True)
class Entry:
    """One poll's view of one job: listed, absent, unread (perhaps there), or "broken": time was set back."""

    kind: str
    poll: Poll
    job: Job | None = None


@dataclass
class Life:
    """One job from its first sight until it is gone; `absent_before` is when it was surely not listed.

    The first `inherited` entries of an array's task are those of the row that stood for it; the row has counted them.
    """

    absent_before: float
    was_over: bool
    entries: list[Entry] = field(default_factory=list)
    inherited: int = 0
    ended_by: str = ""  # gone, tasks (that a row stood for), dropped, or nothing

    @property
    def own(self) -> list[Entry]:
        return self.entries[self.inherited :]


@dataclass
class Expected:
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    censored: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    known: list[bool] = field(default_factory=lambda: [False, False, False])
    unaccounted: float = 0.0
    followed: int = 0
    oldest_waiting: float | None = None


def recompute(history: list[Poll]) -> Expected:
    expected = Expected()
    for before, poll in pairwise(history):
        if poll.at >= before.at:
            expected.unaccounted += max(0.0, poll.at - before.at - poll.limit)
    for life in lives(history):
        judge(life, expected)
    return expected


def lives(history: list[Poll]) -> Iterator[Life]:
    alive: dict[str, Life] = {}
    over: dict[str, float] = {}
    complete, previous = NEVER, NEVER
    for poll in history:
        over = {job_id: since for job_id, since in over.items() if previous - since < WEEK}
        if poll.at < previous:
            complete = NEVER
            over = {job_id: min(since, poll.at) for job_id, since in over.items()}
            for life in alive.values():
                life.entries.append(Entry("broken", poll))
        previous = poll.at
        listed = poll.jobs
        arrays = {array_of(job_id) for job_id in (*alive, *over, *listed)}
        alive |= {
            job_id: born(job_id, job, alive, over, complete) for job_id, job in listed.items() if job_id not in alive
        }
        for job_id, life in list(alive.items()):
            job = listed.get(job_id)
            kind = "listed" if job else "absent" if poll.listing.complete else "unread"
            life.entries.append(Entry(kind, poll, job))
            life.ended_by = how_it_ended(life)
            if life.ended_by == "gone" and phases(life)[-1] == "wait" and job_id.removesuffix("_[]") in arrays:
                life.ended_by = "tasks"
            if life.ended_by:
                if life.ended_by == "gone" and (phases(life)[-1] != "unclear" or last_state(life) == "unknown"):
                    over[job_id] = poll.at
                yield alive.pop(job_id)
        complete = poll.at if poll.listing.complete else complete
    yield from alive.values()


def born(job_id: str, job: Job, alive: dict[str, Life], over: dict[str, float], complete: float) -> Life:
    if over.pop(job_id, None) is not None:
        return Life(complete, was_over=job.state not in STARTS_A_NEW_LIFE)
    array = array_of(job_id)
    for row in (f"{array}_[]", array):
        if row in alive and phases(alive[row])[-1] == "wait":
            entries = list(alive[row].entries)
            return Life(alive[row].absent_before, alive[row].was_over, entries, len(entries))
    return Life(complete, was_over=False)


def how_it_ended(life: Life) -> str:
    tail = []
    for entry in reversed(life.entries):
        tail.append(entry)
        if entry.kind in ("listed", "broken"):
            break
    if [entry.kind for entry in tail].count("absent") == 2:
        return "gone"
    unread_for = tail[0].poll.at - tail[-1].poll.at
    return "dropped" if tail[0].kind == "unread" and unread_for > WEEK else ""


def phases(life: Life) -> list[str]:
    """Return the phase after each entry."""
    result: list[str] = []
    phase = "ended" if life.was_over else "unclear"
    for entry in life.entries:
        if entry.job:
            state = str(entry.job.state)
            if state in WAITING or (state == "suspended" and phase in ("unclear", "ended")):
                phase = "wait"
            elif state == "running":
                phase = "run"
            elif state == "exiting" and phase != "ended":
                phase = "left"
            elif state in ENDED:
                phase = "ended"
        result.append(phase)
    return result


def judge(life: Life, expected: Expected) -> None:
    judge_transitions(life, expected)
    judge_spells(life, expected)
    judge_resources(life, expected)
    if life.ended_by == "gone" and last_state(life) == "unknown" and phases(life)[-1] != "ended":
        expected.finished["unknown"] += 1
    if not life.ended_by:
        expected.followed += 1
        absent = any(entry.kind == "absent" for entry in after_last_sight(life))
        if phases(life)[-1] == "wait" and not absent and last_state(life) != "unknown":
            since = wait_seen(life)
            oldest = expected.oldest_waiting
            expected.oldest_waiting = since if oldest is None else min(oldest, since)


def last_state(life: Life) -> str:
    return [str(entry.job.state) for entry in life.entries if entry.job][-1]


def after_last_sight(life: Life) -> list[Entry]:
    index = max(i for i, entry in enumerate(life.entries) if entry.kind in ("listed", "broken"))
    return life.entries[index:]


def wait_seen(life: Life) -> float:
    """When the wait that goes on now was first seen; never later than now, even if the clock was set back."""
    entered = NEVER
    for (index, entry), phase in zip(enumerate(life.entries), phases(life), strict=True):
        if phase == "wait" and (index == 0 or phases(life)[index - 1] != "wait"):
            entered = entry.poll.at
        if entry.kind == "broken":
            entered = min(entered, entry.poll.at)
    return entered


def judge_transitions(life: Life, expected: Expected) -> None:
    states = ["none"] + [str(entry.job.state) for entry in life.own if entry.job]
    states += ["gone"] if life.ended_by in ("gone", "tasks") else []
    expected.transitions.update((a, b) for a, b in pairwise(states) if a != b)


@dataclass(frozen=True)
class Fact:
    """The job was surely in `phase` at `time`.

    A broken fact says that what comes before has no date, the fact "task" that what comes before was the row's.
    """

    phase: str
    time: float
    limit: float
    state: str = ""


def facts(life: Life) -> list[Fact]:
    result = [Fact("ended" if life.was_over else "absent", life.absent_before, 0.0)]
    for index, (entry, phase) in enumerate(zip(life.entries, phases(life), strict=True)):
        if index and index == life.inherited:
            result.append(Fact("task", NEVER, 0.0))
        if entry.kind == "broken":
            result.append(Fact("broken", NEVER, 0.0))
        elif entry.job and entry.job.state not in VAGUE and phase != "unclear":
            result.append(Fact(phase, entry.poll.at, entry.poll.limit, str(entry.job.state)))
    if life.ended_by == "gone":
        first = next(entry for entry in after_last_sight(life) if entry.kind == "absent")
        result.append(Fact("gone", first.poll.at, life.entries[-1].poll.limit))
    if life.ended_by == "dropped":
        result.append(Fact("dropped", NEVER, 0.0))
    return result


def judge_spells(life: Life, expected: Expected) -> None:
    """Stays in one phase, each with the gap in which it began, and how it ended."""
    start: float | None = None
    phase = "ended" if life.was_over else "absent"
    certain = life.absent_before
    counted = Expected() if life.inherited else expected
    for fact in facts(life)[1:]:
        if fact.phase == "task":
            counted = expected
            counted.censored["wait", "left_truncated"] += start is None
            continue
        if fact.phase == "broken":
            if start is not None:
                counted.censored[phase, "gap"] += 1
            start, certain = None, NEVER
            continue
        if fact.phase == phase:
            certain = fact.time
            continue
        wide = fact.time - certain > fact.limit
        middle = None if wide or certain == NEVER else (certain + fact.time) / 2
        if start is not None:
            end_spell(phase, start, fact.phase, middle, counted)
        begin_spell(phase, fact.phase, middle, counted)
        if fact.phase == "ended" or last_state(life) != "unknown":
            count_end(phase, fact, counted)
        start = middle if fact.phase in ("wait", "run") else None
        phase, certain = fact.phase, fact.time


def end_spell(phase: str, start: float, after: str, middle: float | None, expected: Expected) -> None:
    if after == "dropped":
        expected.censored[phase, "gap"] += 1
    elif phase == "wait" and after != "run":
        expected.censored["wait", "vanished"] += 1
    elif middle is None:
        expected.censored[phase, "gap"] += 1
    else:
        (expected.waits if phase == "wait" else expected.runs).append(middle - start)


def begin_spell(before: str, phase: str, middle: float | None, expected: Expected) -> None:
    first = before in ("absent", "ended")
    if phase not in ("wait", "run"):
        return
    if middle is None:
        reason = "left_truncated" if first else "gap"
        expected.censored[phase, reason] += 1
        if phase == "run" and first:
            expected.censored["wait", reason] += 1
    elif phase == "run" and first:
        expected.waits.append(0.0)


def count_end(before: str, fact: Fact, expected: Expected) -> None:
    if fact.phase == "ended":
        expected.finished[fact.state] += 1
    if fact.phase == "gone" and before == "wait":
        expected.finished["vanished_queued"] += 1
    if fact.phase == "gone" and before in ("run", "left"):
        expected.finished["vanished_running"] += 1


def judge_resources(life: Life, expected: Expected) -> None:
    """Trapezoids between the moments at which the amounts were known.

    Nothing before, what was listed, nothing after.
    """
    for index, name in enumerate(("allocated_cpus", "allocated_gpus", "allocated_dcus")):
        points: list[tuple[float, float | None, float]] = [(life.absent_before, 0, 0.0)]
        own = 0
        for number, (entry, phase) in enumerate(zip(life.entries, phases(life), strict=True)):
            if number and number == life.inherited:
                own = len(points) - 1
            if entry.kind == "broken":
                points.append((NEVER, None, 0.0))
            elif entry.job:
                nothing_held = phase in ("wait", "ended") or entry.job.state == "unknown"
                amount = 0 if nothing_held else getattr(entry.job, name)
                points.append((entry.poll.at, amount, entry.poll.limit))
                expected.known[index] |= number >= life.inherited and amount is not None and not nothing_held
        if life.ended_by == "gone":
            first = next(entry for entry in after_last_sight(life) if entry.kind == "absent")
            points.append((first.poll.at, 0, life.entries[-1].poll.limit))
        for (t0, a0, _), (t1, a1, limit) in pairwise(points[own:]):
            if a0 is not None and a1 is not None and t0 != NEVER:
                expected.seconds[index] += (a0 + a1) / 2 * min(t1 - t0, limit)
