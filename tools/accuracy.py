"""Accuracy of the tracker, measured against a simulated batch system that knows the truth.

``python -m tools.accuracy`` prints the table, ``python -m tools.accuracy --write`` puts it into docs/accuracy.md.
The tests replay smaller scenarios through the same functions.
"""

import argparse
import asyncio
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from msgspec.structs import replace as replace_job

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.simulator.batch import BatchSystem, JobTruth, SimJob, State
from exporter.simulator.spec import RegionSpec, default_region
from exporter.tracking import MemberKey, Store, Tracker
from exporter.tracking.history import take_ends
from exporter.tracking.machine import advance
from exporter.tracking.model import Spell, Update
from exporter.tracking.totals import GroupTotals
from exporter.tracking.tracker import Step

START = 1_700_000_000.0
WARM_UP = 6 * 3600.0
PENDING = {State.WAITING, State.HELD, State.QUEUED, State.REQUEUED}
ON_NODES = {State.RUNNING, State.SUSPENDED}
ENDED = {State.COMPLETED, State.DELETED, State.FAILED, State.TIMEOUT, State.NODE_FAILURE}


@dataclass(frozen=True)
class Scenario:
    """Polling of the region. Shares are of all polls; an outage fails all polls of a time, for all members."""

    name: str
    interval: float
    days: float = 2.0
    failed: float = 0.0
    partial: float = 0.0
    outages: int = 0
    restarts: int = 0
    ended_listed_for: float = 300.0
    # Give the tracker only jobs whose runs are all longer than this many intervals.
    longer_than: float = 0.0
    # Whether lists tell when jobs were submitted and started, and whether the history is read.
    live: bool = False
    history: bool = False


@dataclass
class Observed:
    """The polled states of one job, independent of the tracker."""

    states: list[State] = field(default_factory=list)
    missed: int = 0  # complete listings without it since it was last listed


@dataclass
class Result:
    """Results of a scenario. Errors are observed minus true seconds."""

    scenario: Scenario
    jobs: int = 0
    wait_errors: list[float] = field(default_factory=list)
    long_wait_errors: list[float] = field(default_factory=list)  # of jobs that run longer than an interval
    run_errors: list[float] = field(default_factory=list)
    beyond_bound: int = 0  # waits wrong by more than their poll gap
    hidden: int = 0  # spells left out because something happened to the job that no poll could see
    finished_counted: Counter[str] = field(default_factory=Counter)
    finished_visible: Counter[str] = field(default_factory=Counter)
    transitions_counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    transitions_visible: Counter[tuple[str, str]] = field(default_factory=Counter)
    cpu_seconds: float = 0.0
    true_cpu_seconds: float = 0.0
    censored: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def bias(self) -> float:
        """Mean error of waits of jobs that run longer than an interval, in intervals."""
        return fmean(self.long_wait_errors) / self.scenario.interval

    @property
    def bias_error(self) -> float:
        """Standard error of `bias`."""
        return stdev(self.long_wait_errors) / sqrt(len(self.long_wait_errors)) / self.scenario.interval

    @property
    def hidden_share(self) -> float:
        return self.hidden / (self.hidden + len(self.wait_errors) + len(self.run_errors))

    @property
    def resource_error(self) -> float:
        return self.cpu_seconds / self.true_cpu_seconds - 1


@dataclass(frozen=True)
class Poll:
    at: float
    user: str
    jobs: tuple[SimJob, ...]
    complete: bool
    restart_before: bool


def busy_region(factor: int = 4) -> RegionSpec:
    """Return the simulator's default region, several times as large: thousands of jobs a day."""
    region = default_region()
    return replace(
        region,
        schedulers=tuple(
            replace(scheduler, queues=tuple(replace(queue, nodes=queue.nodes * factor) for queue in scheduler.queues))
            for scheduler in region.schedulers
        ),
        users=tuple(
            replace(
                user,
                demands=tuple(
                    replace(
                        demand, jobs_per_hour=demand.jobs_per_hour * factor, max_pending=demand.max_pending * factor
                    )
                    for demand in user.demands
                ),
            )
            for user in region.users
        ),
    )


def replay(scenario: Scenario, seed: int) -> Result:
    """Simulate a region, poll it as the scenario says, and compare what the tracker counts with the truth."""
    spec = replace(busy_region(), ended_listed_for=scenario.ended_listed_for)
    chosen = _lasting(spec, seed, scenario) if scenario.longer_than else None
    comparison = _Comparison(scenario)
    system = _system(spec, seed)
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker()
        for poll in _polls(system, seed, scenario):
            if poll.restart_before:
                tracker = asyncio.run(_restarted(tracker, Path(folder) / "tracker.db"))
            comparison.take(tracker, poll, [job for job in poll.jobs if chosen is None or job.id in chosen])
    comparison.conclude(tracker, _truth(system, scenario))
    return comparison.result


# Seconds after its end at which a job's row is in the history, and for which a start or an end waits for it.
ROW_DELAY = 45.0
GRACE = 600.0


@dataclass
class Ended:
    """Jobs that ended in the simulated time, and what the tracker says of them.

    Errors are of `plain` jobs: those that ran once and were not suspended, of which polls cannot mistake one state for another.
    """

    jobs: int = 0
    counted: int = 0
    plain: int = 0
    runs: int = 0
    runs_counted: int = 0
    waits_missing: int = 0
    wait_errors: list[float] = field(default_factory=list)
    run_errors: list[float] = field(default_factory=list)
    disagreements: int = 0
    cpu_seconds: float = 0.0
    true_cpu_seconds: float = 0.0

    @property
    def resource_error(self) -> float:
        return self.cpu_seconds / self.true_cpu_seconds - 1

    @property
    def worst(self) -> float:
        """Return the largest error of a wait or a run, in seconds."""
        return max(map(abs, [*self.wait_errors, *self.run_errors]))


def ended_jobs(scenario: Scenario, seed: int) -> Ended:
    """Follow all jobs that are submitted after the first polls and end before the last, and compare each with the truth.

    The history is read after each good poll, in windows that overlap by more than the delay of its rows.
    """
    spec = replace(busy_region(), ended_listed_for=scenario.ended_listed_for)
    system = _system(spec, seed)
    # An outage at the end says nothing of the jobs that end in it.
    end = max(poll.at for poll in _polls(system, seed, scenario))
    truth = _truth(system, scenario)
    chosen = {
        job.id: job
        for job in truth.values()
        if job.submitted > START + 3 * scenario.interval and job.ended is not None and job.ended < end - 1.5 * GRACE
    }
    by_user = defaultdict[str, list[EndedJob]](list)
    for job in chosen.values():
        by_user[job.user] += _rows(job)
    found, spells = Ended(), list[tuple[str, Spell]]()
    with tempfile.TemporaryDirectory() as folder:
        tracker = Tracker()
        for poll in _polls(_system(spec, seed), seed, scenario):
            if poll.restart_before:
                tracker = asyncio.run(_restarted(tracker, Path(folder) / "tracker.db"))
            key = MemberKey(poll.user, "1", poll.user)
            jobs = tuple(_record(job, live=scenario.live) for job in poll.jobs if job.id in chosen)
            listing = JobListing(jobs, rejected=0 if poll.complete else 1)
            grace = GRACE if scenario.history else None
            _take(
                found,
                tracker,
                key,
                advance(tracker.join(key).state, listing, poll.at, scenario.interval, grace),
                spells,
            )
            if scenario.history:
                since = (tracker.mark(poll.user) or poll.at) - 2 * GRACE
                rows = [row for row in by_user[poll.user] if since <= row.ended <= poll.at - ROW_DELAY]
                _take(found, tracker, key, take_ends(tracker.join(key).state, rows, poll.at, GRACE), spells)
                tracker.set_mark(poll.user, poll.at)
    _compare_ended(found, tracker, chosen, spells)
    return found


def _take(found: Ended, tracker: Tracker, key: MemberKey, update: Update, spells: list[tuple[str, Spell]]) -> None:
    found.disagreements += update.events.disagreements
    tracker.join(key).state.apply(update)
    tracker.record(key, Step(update, GroupTotals.of(update.events), 60.0))
    spells += [("wait", spell) for spell in update.events.waits]
    spells += [("run", spell) for spell in update.events.runs]


def _rows(job: JobTruth) -> Iterator[EndedJob]:
    """Return the rows of a job's runs in the history, or that of one that never ran; times are whole seconds."""
    record = Job(
        *(str(job.id), job.name, JobState(str(job.outcome))),
        allocated_cpus=job.allocated.cores,
        allocated_gpus=job.allocated.gpus,
        allocated_dcus=job.allocated.dcus,
        queue=job.queue,
        submitted=float(round(job.submitted)),
    )
    for number, run in enumerate(job.runs, start=1):
        state = record.state if number == len(job.runs) else JobState.REQUEUED
        ended = float(round(run.ended or job.ended or 0.0))
        yield EndedJob(job.user, "1", ended, replace_job(record, state=state, started=float(round(run.started))))
    if not job.runs:
        yield EndedJob(job.user, "1", float(round(job.ended or 0.0)), record)


def _compare_ended(
    found: Ended, tracker: Tracker, chosen: dict[int, JobTruth], spells: list[tuple[str, Spell]]
) -> None:
    of_job = defaultdict[tuple[str, str], list[Spell]](list)
    for measure, spell in spells:
        of_job[measure, spell.job_id].append(spell)
    for job in chosen.values():
        runs, waits = of_job["run", str(job.id)], of_job["wait", str(job.id)]
        found.jobs += 1
        found.runs += len(job.runs)
        found.runs_counted += len(runs)
        found.waits_missing += bool(job.runs) and not waits
        found.true_cpu_seconds += sum(((run.ended or 0.0) - run.started) * job.allocated.cores for run in job.runs)
        if len(job.runs) == 1 and State.SUSPENDED not in {state for _, state in job.changes}:
            run = job.runs[0]
            found.plain += 1
            found.run_errors += [spell.seconds - ((run.ended or 0.0) - run.started) for spell in runs]
            found.wait_errors += [spell.seconds - (run.started - job.submitted) for spell in waits]
    for key in tracker.members():
        view = tracker.member(key)
        found.counted += sum(view.finished.values())
        found.cpu_seconds += view.cpu_seconds or 0.0


def _system(spec: RegionSpec, seed: int) -> BatchSystem:
    return BatchSystem(spec, seed, START - WARM_UP)


def _truth(system: BatchSystem, scenario: Scenario) -> dict[int, JobTruth]:
    """Return all jobs at the end of the scenario, by their numbers."""
    system.advance_to(START + scenario.days * 86400)
    return {job.id: job for job in system.truth()}


def _lasting(spec: RegionSpec, seed: int, scenario: Scenario) -> set[int]:
    """Return the jobs that are submitted after the first poll, are over before the last, and have not one short run."""
    truth = _truth(_system(spec, seed), scenario)
    return {job_id for job_id, job in truth.items() if _all_runs_longer(job, scenario)}


def _all_runs_longer(job: JobTruth, scenario: Scenario) -> bool:
    first, last = START + scenario.interval, START + scenario.days * 86400 - 3 * scenario.interval
    inside = job.submitted > first and job.ended is not None and job.ended < last
    lengths = [(run.ended or last) - run.started for run in job.runs]
    return inside and all(length > scenario.longer_than * scenario.interval for length in lengths)


def _polls(system: BatchSystem, seed: int, scenario: Scenario) -> Iterator[Poll]:
    """Successful polls in order of time; every user has a phase of its own, as in the exporter."""
    rng = random.Random(f"polls {seed}")  # noqa: S311 - a measurement that can be repeated
    seconds = scenario.days * 86400
    phases = {user.name: rng.uniform(0, scenario.interval) for user in system.spec.users}
    outages = [(begin, begin + rng.uniform(600, 7200)) for begin in _moments(rng, scenario.outages, seconds)]
    restarts = [START + moment for moment in _moments(rng, scenario.restarts, seconds)]
    for number in range(int(seconds / scenario.interval)):
        for user, phase in sorted(phases.items(), key=lambda item: item[1]):
            after = number * scenario.interval + phase
            if any(begin <= after < end for begin, end in outages) or rng.random() < scenario.failed:
                continue
            at = START + after
            system.advance_to(at)
            jobs, complete = tuple(system.jobs(user)), True
            if rng.random() < scenario.partial:
                kept = tuple(job for job in jobs if rng.random() < 0.7)
                jobs, complete = kept, False
            restart = bool(restarts) and restarts[0] <= at
            if restart:
                restarts.pop(0)
            yield Poll(at, user, jobs, complete, restart)


def _moments(rng: random.Random, count: int, seconds: float) -> list[float]:
    return sorted(rng.uniform(0, seconds) for _ in range(count))


async def _restarted(tracker: Tracker, path: Path) -> Tracker:
    for batch in (tracker.take_batch(), None):
        store, state = await Store.open(path)
        if batch is not None:
            await store.save(batch)
        await store.close()
    return Tracker(state)


def _record(job: SimJob, *, live: bool = False) -> Job:
    allocated = job.allocated
    return Job(
        id=str(job.id),
        name=job.name,
        state=JobState(job.state.value),
        allocated_cpus=allocated.cores,
        allocated_gpus=allocated.gpus,
        allocated_dcus=allocated.dcus,
        queue=job.queue if live else "",
        submitted=float(round(job.submitted)) if live else None,
        started=float(round(job.runs[-1].started)) if live and job.runs else None,
    )


class _Comparison:
    """Takes in polls and spells on one side, the truth on the other."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.truth: dict[int, JobTruth] = {}  # at the end
        self.result = Result(scenario)
        self.observed: dict[int, Observed] = {}
        self.listed: defaultdict[str, set[int]] = defaultdict(set)  # by user, not yet gone
        self.times: defaultdict[str, list[float]] = defaultdict(list)
        self.waits: list[Spell] = []
        self.runs: list[Spell] = []

    def take(self, tracker: Tracker, poll: Poll, jobs: Sequence[SimJob]) -> None:
        key = MemberKey("kunshan", "1", poll.user)
        listing = JobListing(tuple(map(_record, jobs)), rejected=0 if poll.complete else 1)
        step = tracker.work(tracker.join(key), listing, poll.at, self.scenario.interval)
        tracker.record(key, step)
        events = step.update.events
        self.waits += events.waits
        self.runs += events.runs
        self.result.censored.update(events.censored)
        self.times[poll.user].append(poll.at)
        self._note(poll, jobs)

    def _note(self, poll: Poll, jobs: Sequence[SimJob]) -> None:
        """Note the states of the jobs that the poll showed."""
        open_ids, ids = self.listed[poll.user], {job.id for job in jobs}
        for job in jobs:
            observed = self.observed.setdefault(job.id, Observed())
            observed.states.append(job.state)
            observed.missed = 0
        if poll.complete:
            for job_id in open_ids - ids:
                self.observed[job_id].missed += 1
        self.listed[poll.user] = {job_id for job_id in open_ids | ids if self.observed[job_id].missed < 2}

    def conclude(self, tracker: Tracker, truth: dict[int, JobTruth]) -> None:
        self.truth, result = truth, self.result
        result.jobs = len(self.observed)
        for key in tracker.members():
            view = tracker.member(key)
            result.finished_counted.update({o: n for o, n in view.finished.items() if n})
            result.transitions_counted.update(view.transitions)
            result.cpu_seconds += view.cpu_seconds or 0.0
        for job_id, observed in self.observed.items():
            self._expect(observed)
            job = self.truth[job_id]
            result.true_cpu_seconds += sum(
                ((run.ended or self._end()) - run.started) * job.allocated.cores for run in job.runs
            )
        widths = {user: _widths(times) for user, times in self.times.items()}
        for spell in self.waits:
            self._compare(spell, "wait", widths)
        for spell in self.runs:
            self._compare(spell, "run", widths)

    def _end(self) -> float:
        return START + self.scenario.days * 86400

    def _expect(self, observed: Observed) -> None:
        """Count the end and the changes of a job that the polls could see."""
        words = ["none", *map(str, observed.states)] + (["gone"] if observed.missed >= 2 else [])
        self.result.transitions_visible.update((a, b) for a, b in pairwise(words) if a != b)
        last = observed.states[-1]
        if last in ENDED:
            self.result.finished_visible[str(last)] += 1
        elif observed.missed >= 2:
            # A job that is suspended before any poll saw it run counts as waiting.
            started = any(state in {State.RUNNING, State.EXITING} for state in _since_requeue(observed.states))
            self.result.finished_visible["vanished_running" if started else "vanished_queued"] += 1

    def _compare(self, spell: Spell, measure: str, widths: dict[str, dict[float, float]]) -> None:
        job = self.truth[int(spell.job_id)]
        stretches = _stretches(job, PENDING if measure == "wait" else ON_NODES)
        start, end = min(stretches, key=lambda stretch: abs(stretch[1] - spell.end))
        error = spell.seconds - (end - start)
        if self._hides_something(job):
            self.result.hidden += 1
            return
        if measure == "run":
            self.result.run_errors.append(error)
            return
        of_user = widths[job.user]
        widest = 3 * self.scenario.interval
        allowed = (of_user.get(spell.start, widest) + of_user.get(spell.end, widest)) / 2
        if self.scenario.partial:
            allowed = widest  # a job's gap is then its own: it may not be in the listings in between
        self.result.beyond_bound += abs(error) > allowed + 1e-6
        self.result.wait_errors.append(error)
        if (job.runs[0].ended or self._end()) - job.runs[0].started > self.scenario.interval:
            self.result.long_wait_errors.append(error)

    def _hides_something(self, job: JobTruth) -> bool:
        """Whether a job that ran or waited more than once did so between two polls, or is suspended at first sight."""
        seen = self.observed[job.id].states
        first_on_nodes = next((state for state in seen if state in ON_NODES), None)
        if first_on_nodes is State.SUSPENDED:
            return True
        return len(job.runs) > 1 and _turns(seen) < _turns([state for _, state in job.changes])


def _since_requeue(states: list[State]) -> list[State]:
    last = max((index for index, state in enumerate(states) if state in PENDING), default=-1)
    return states[last + 1 :]


def _turns(states: list[State]) -> int:
    """Return the number of changes between waiting and nodes."""
    sides = [state in PENDING for state in states if state in PENDING | ON_NODES]
    return sum(a != b for a, b in pairwise(sides))


def _stretches(job: JobTruth, states: set[State]) -> list[tuple[float, float]]:
    """When the job entered and left a set of states."""
    found: list[tuple[float, float]] = []
    begun: float | None = None
    for time, state in job.changes:
        if state in states and begun is None:
            begun = time
        elif state not in states and begun is not None:
            found.append((begun, time))
            begun = None
    return found


def _widths(times: list[float]) -> dict[float, float]:
    """Return the width of each gap between good polls, by its middle."""
    return {(a + b) / 2: b - a for a, b in pairwise(times)}


SCENARIOS = (
    Scenario("every poll good", 30.0),
    Scenario("every poll good", 60.0),
    Scenario("every poll good", 300.0),
    Scenario("every poll good, ended jobs not listed", 60.0, ended_listed_for=0.0),
    Scenario("5 % of polls fail", 60.0, failed=0.05),
    Scenario("5 % of listings are partial", 60.0, partial=0.05),
    Scenario("8 restarts", 60.0, restarts=8),
    Scenario("all of it, and 4 outages", 60.0, failed=0.05, partial=0.05, restarts=8, outages=4),
)
LONG_RUNS = (
    Scenario("every poll good", 60.0, longer_than=10),
    Scenario("every poll good", 300.0, longer_than=10),
    Scenario("5 % of polls fail", 60.0, failed=0.05, longer_than=10),
    Scenario("5 % of listings are partial", 60.0, partial=0.05, longer_than=10),
)


_TROUBLES = Scenario("", 60.0, failed=0.05, partial=0.05, outages=4, restarts=8)
_BASES = {
    "polls alone": {},
    "polls and live times": {"live": True},
    "polls and history": {"history": True},
    "live times and history": {"live": True, "history": True},
}
ENDS = tuple(
    replace(polls, name=f"{name}{what}", **basis)
    for polls, what in (
        (Scenario("", 60.0), ""),
        (_TROUBLES, ", 4 outages, 8 restarts, 5 % of polls fail, 5 % are partial"),
    )
    for name, basis in _BASES.items()
)


def main(seed: int = 1, days: float = 1.0, *, write: bool = False, ends: bool = False) -> None:
    mark, lines = ("ends", _report_ends(seed, days)) if ends else ("results", _report(seed, days))
    report = "\n".join(lines)
    print(report)
    if write:
        path = Path(__file__).parents[1] / "docs" / "accuracy.md"
        before, _, rest = path.read_text().partition(f"<!-- {mark} -->")
        _, _, after = rest.partition(f"<!-- end of {mark} -->")
        path.write_text(f"{before}<!-- {mark} -->\n{report}\n<!-- end of {mark} -->{after}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.accuracy", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=float, default=3.0, help="simulated days for each line")
    parser.add_argument("--ends", action="store_true", help="the table of ended jobs, by what tells their times")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/accuracy.md")
    return parser.parse_args()


def _report_ends(seed: int, days: float) -> Iterator[str]:
    yield f"Seed {seed}, {days:g} simulated days for each line, a poll a minute.\n"
    yield (
        "| times from | ended jobs: counted / true | runs: measured / true | waits within 1 s | largest error of a wait "
        "| runs within 1 s | largest error of a run | error of core seconds |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for scenario in ENDS:
        found = ended_jobs(replace(scenario, days=days), seed)
        waits, runs = ([abs(error) for error in errors] for errors in (found.wait_errors, found.run_errors))
        yield (
            f"| {scenario.name} | {found.counted} / {found.jobs} | {found.runs_counted} / {found.runs} "
            f"| {_within(waits, found.plain)} | {max(waits):.0f} s | {_within(runs, found.plain)} | {max(runs):.0f} s "
            f"| {found.resource_error:+.3%} |"
        )


def _within(errors: list[float], of: int) -> str:
    """Return the share of errors up to the rounding of two times to whole seconds."""
    return f"{sum(error <= 1 for error in errors) / of:.1%}"


def _report(seed: int, days: float) -> Iterator[str]:
    yield f"Seed {seed}, {days:g} simulated days for each line.\n"
    yield (
        "| polls | interval | jobs seen | waits | beyond their gap | bias of waits | runs | mean error of runs | left out "
        "| finished: counted / visible | transitions: counted / visible | censored |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for scenario in SCENARIOS:
        result = replay(replace(scenario, days=days), seed)
        interval = scenario.interval
        yield (
            f"| {scenario.name} | {interval:g} s | {result.jobs} | {len(result.wait_errors)} | {result.beyond_bound} "
            f"| {result.bias:+.2%} ± {result.bias_error:.2%} | {len(result.run_errors)} "
            f"| {fmean(result.run_errors) / interval:+.2%} | {result.hidden_share:.1%} "
            f"| {result.finished_counted.total()} / {result.finished_visible.total()} "
            f"| {result.transitions_counted.total()} / {result.transitions_visible.total()} "
            f"| {result.censored.total()} |"
        )
    yield "\n| runs longer than ten intervals | interval | jobs | core hours, true | error of core seconds |"
    yield "|---|--:|--:|--:|--:|"
    for scenario in LONG_RUNS:
        result = replay(replace(scenario, days=days), seed)
        yield (
            f"| {scenario.name} | {scenario.interval:g} s | {result.jobs} | {result.true_cpu_seconds / 3600:.0f} "
            f"| {result.resource_error:+.3%} |"
        )


if __name__ == "__main__":
    main(**vars(_options()))
