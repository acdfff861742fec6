"""A small batch system: people submit jobs, queues run them on nodes, things go wrong.

A discrete-event model without I/O: events lie in a heap and are processed in order of time, so the history does not
depend on how often `BatchSystem.advance_to` is called. Every stream of jobs and every node draws from a generator of
its own: what happens to one job never changes another one's luck.

Times are Unix seconds of simulated time; durations are simulated seconds.
"""

import heapq
import itertools
import math
import random
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache, partial
from operator import attrgetter

from exporter.simulator.spec import Demand, Habits, QueueSpec, RegionSpec, SchedulerSpec, UserSpec, job_name


class State(StrEnum):
    WAITING = "waiting"  # for another job
    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    SUSPENDED = "suspended"
    EXITING = "exiting"
    REQUEUED = "requeued"
    COMPLETED = "completed"
    DELETED = "deleted"
    FAILED = "failed"
    TIMEOUT = "timeout"
    NODE_FAILURE = "node_failure"


ENDED = frozenset({State.COMPLETED, State.DELETED, State.FAILED, State.TIMEOUT, State.NODE_FAILURE})
PENDING = frozenset({State.WAITING, State.HELD, State.QUEUED, State.REQUEUED})
# A suspended or exiting job keeps its nodes.
ON_NODES = frozenset({State.RUNNING, State.SUSPENDED, State.EXITING})

# Possible transitions; None is "not submitted yet".
TRANSITIONS: dict[State | None, frozenset[State]] = {
    None: frozenset({State.WAITING, State.HELD, State.QUEUED}),
    State.WAITING: frozenset({State.QUEUED, State.DELETED}),
    State.HELD: frozenset({State.QUEUED, State.DELETED}),
    State.QUEUED: frozenset({State.HELD, State.RUNNING, State.DELETED}),
    State.RUNNING: frozenset({State.SUSPENDED, State.EXITING, State.REQUEUED, State.DELETED, State.NODE_FAILURE}),
    State.SUSPENDED: frozenset({State.RUNNING, State.REQUEUED, State.DELETED, State.NODE_FAILURE}),
    State.EXITING: frozenset({State.COMPLETED, State.FAILED, State.TIMEOUT, State.NODE_FAILURE}),
    State.REQUEUED: frozenset({State.QUEUED, State.DELETED}),
    **dict.fromkeys(ENDED, frozenset[State]()),
}

# The queue statistics know five letters; an ended job is in none of them.
LETTERS = ("R", "Q", "H", "S", "O")
LETTER_OF = {State.RUNNING: "R", State.QUEUED: "Q", State.HELD: "H", State.SUSPENDED: "S"} | dict.fromkeys(
    (State.WAITING, State.EXITING, State.REQUEUED), "O"
)

# Number of queued jobs considered for backfill.
_BACKFILL_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Resources:
    """Totals over all nodes of a job."""

    nodes: int
    cores: int
    gpus: int
    dcus: int


@dataclass(frozen=True, slots=True)
class Run:
    """One stay on nodes; `nodes` are their numbers within the queue."""

    started: float
    ended: float | None
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobTruth:
    """True history of a job, for comparison with the observed one.

    `changes` holds every state with the time it began. `requested` is the request; `allocated` is what the
    job holds during each of its `runs`. `outcome` and `ended` are None while it lives.
    """

    scheduler: int
    id: int
    name: str
    user: str
    group: str
    queue: str
    submitted: float
    requested: Resources
    allocated: Resources
    changes: tuple[tuple[float, State], ...]
    runs: tuple[Run, ...]
    ended: float | None
    outcome: State | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A job's fate, drawn when it is submitted; `milestones` are (seconds of work done, what then happens)."""

    name: str
    need: Resources  # on each node, but for the number of nodes
    first: State
    first_for: float
    held_after: float
    held_for: float
    deleted_after: float
    work: float
    outcome: State
    limit: float
    milestones: tuple[tuple[float, State], ...]
    suspended_for: float
    exits_for: float


@dataclass(slots=True)
class _Node:
    index: int
    rng: random.Random
    cores: int  # free ones, as below
    gpus: int
    dcus: int
    up: bool = True
    jobs: "dict[int, SimJob]" = field(default_factory=dict)

    def fits(self, need: Resources) -> bool:
        return self.up and self.cores >= need.cores and self.gpus >= need.gpus and self.dcus >= need.dcus

    def give(self, need: Resources, sign: int = 1) -> None:
        """Free what `need` held, or take it with a negative sign."""
        self.cores += sign * need.cores
        self.gpus += sign * need.gpus
        self.dcus += sign * need.dcus


@dataclass(slots=True)
class Meter:
    """Core-hours and yuan of a user's jobs up to the moment `now`, and the cores and yuan an hour since then."""

    now: float
    core_hours: float = 0.0
    yuan: float = 0.0
    cores: int = 0
    yuan_per_hour: float = 0.0

    def at(self, now: float) -> "Meter":
        """Return the meter at a later moment."""
        hours = (now - self.now) / 3600
        return replace(
            self,
            now=now,
            core_hours=self.core_hours + self.cores * hours,
            yuan=self.yuan + self.yuan_per_hour * hours,
        )

    def changed(self, now: float, cores: int, price: float) -> "Meter":
        """Return the meter after `cores` more (fewer, if negative) are held from `now` on."""
        meter = self.at(now)
        return replace(meter, cores=meter.cores + cores, yuan_per_hour=meter.yuan_per_hour + cores * price)


@dataclass(slots=True)
class Partition:
    """A queue of one scheduler, to read only. Nodes without a job are free, and the cores of nodes that are up and of no job."""

    scheduler: SchedulerSpec
    queue: QueueSpec
    nodes: list[_Node]
    pending: "list[SimJob]" = field(default_factory=list)  # in order of submission
    running: "dict[int, SimJob]" = field(default_factory=dict)
    pass_due: bool = False
    enabled: bool = True

    @property
    def free_nodes(self) -> int:
        return sum(node.up and not node.jobs for node in self.nodes)

    @property
    def free_cores(self) -> int:
        return sum(node.cores for node in self.nodes if node.up)

    def place(self, need: Resources) -> list[_Node]:
        """Nodes with room for a job now; empty where there is none."""
        found = []
        for node in self.nodes:
            if node.fits(need):
                found.append(node)
                if len(found) == need.nodes:
                    return found
        return []

    def earliest_start(self, need: Resources) -> float:
        """When a job can start at the latest if every running one uses up its time limit; inf if not even then."""
        copies: dict[int, _Node] = {}
        fitting = {node.index for node in self.nodes if node.fits(need)}
        for job in sorted(self.running.values(), key=attrgetter("expected_end", "id")):
            for node in job.nodes:
                copy = copies.get(node.index) or copies.setdefault(node.index, replace(node))
                copy.give(job.plan.need)
                if copy.fits(need):
                    fitting.add(node.index)
            if len(fitting) >= need.nodes:
                return job.expected_end
        return math.inf


@dataclass(slots=True)
class _Stream:
    """The jobs of one user for one queue."""

    user: UserSpec
    demand: Demand
    partition: Partition
    rng: random.Random
    pending: int = 0


@dataclass(slots=True, eq=False)
class SimJob:
    """A live job, to read only: it changes when the system advances."""

    scheduler: int
    id: int
    stream: _Stream
    plan: _Plan
    submitted: float
    state: State
    changes: list[tuple[float, State]]
    milestones: list[tuple[float, State]]
    runs: list[Run] = field(default_factory=list)
    nodes: list[_Node] = field(default_factory=list)
    done: float = 0.0  # seconds of work
    expected_end: float = math.inf
    epoch: int = 0  # grows with each change of state: an event meant for an earlier one is void
    queued: float = 0.0  # when it was submitted, or put back in the queue

    @property
    def name(self) -> str:
        return self.plan.name

    @property
    def user(self) -> str:
        return self.stream.user.name

    @property
    def queue(self) -> str:
        return self.stream.partition.queue.name

    @property
    def started(self) -> float | None:
        """When its present or, of an ended job, its last run began; None where it waits, or ended without one."""
        return self.runs[-1].started if self.runs and self.runs[-1].started >= self.queued else None

    @property
    def reason(self) -> str:
        """Why it waits, or how it ended, in Slurm's words."""
        if self.state is State.QUEUED:
            return "Resources" if self.stream.partition.pending[0] is self else "Priority"
        return _REASONS.get(self.state, "None")

    @property
    def requested(self) -> Resources:
        return _total(self.plan.need)

    @property
    def share(self) -> Resources:
        """Resources it holds while it is on nodes: cores are handed out in units."""
        return _total(self.on_node)

    @property
    def on_node(self) -> Resources:
        """Resources it holds on each of its nodes."""
        return _held(self.plan.need, self.stream.partition.queue.core_unit)

    @property
    def allocated(self) -> Resources:
        """Resources it holds now."""
        return self.share if self.state in ON_NODES else Resources(0, 0, 0, 0)


def _total(need: Resources) -> Resources:
    return Resources(need.nodes, need.nodes * need.cores, need.nodes * need.gpus, need.nodes * need.dcus)


@cache
def _held(need: Resources, unit: int) -> Resources:
    """Round cores up to a multiple of `unit`."""
    return replace(need, cores=-(-need.cores // unit) * unit)


_REASONS = {
    State.WAITING: "Dependency",
    State.HELD: "JobHeldUser",
    State.REQUEUED: "BeginTime",
    State.FAILED: "NonZeroExitCode",
    State.TIMEOUT: "TimeLimit",
    State.NODE_FAILURE: "NodeDown",
}


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a job or, in the state REQUEUED, of one of its runs; `started` is None where there was no run."""

    job: SimJob
    queued: float
    started: float | None
    ended: float
    state: State


class BatchSystem:
    """All batch systems of one region, from the moment `start`; equal seeds give equal histories."""

    def __init__(self, spec: RegionSpec, seed: int, start: float) -> None:
        self.spec = spec
        self.now = start
        self._seed = f"{seed}/{spec.name}"
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.meters = {user.name: Meter(start) for user in spec.users}
        self._running: Counter[str] = Counter()
        self._listed: dict[str, dict[tuple[int, int], SimJob]] = {user.name: {} for user in spec.users}
        self._known: dict[tuple[int, int], SimJob] = {}
        self._ids: dict[int, itertools.count[int]] = {}
        self._endings: deque[Ending] = deque()
        self._partitions: dict[tuple[int, str], Partition] = {}
        for scheduler in spec.schedulers:
            self._build(scheduler)
        for user in spec.users:
            for index, demand in enumerate(user.demands):
                self._open(user, demand, self._generator("user", user.name, index))

    def advance_to(self, t: float) -> None:
        """Let everything happen that is due up to `t`; a time in the past changes nothing."""
        while self._events and self._events[0][0] <= t:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = max(self.now, t)

    def jobs(self, user: str) -> list[SimJob]:
        """Return a user's listed jobs in order of submission: the living, and those that ended a short while ago."""
        return list(self._listed.get(user, {}).values())

    def queue_rows(self, user: str) -> list[tuple[str, dict[str, int]]]:
        """(queue, {letter: jobs}) for each queue in which the user has jobs; schedulers' queues are kept apart."""
        rows: dict[tuple[int, str], dict[str, int]] = {}
        for job in self._listed.get(user, {}).values():
            if letter := LETTER_OF.get(job.state):
                row = rows.setdefault((job.scheduler, job.queue), dict.fromkeys(LETTERS, 0))
                row[letter] += 1
        return [(queue, rows[key]) for key in sorted(rows) for queue in key[1:]]

    def endings(self, since: float, until: float) -> list[Ending]:
        """Return the ends between two moments, the latest first, as far back as jobs are kept."""
        recent = itertools.takewhile(lambda ending: ending.ended >= since, reversed(self._endings))
        return [ending for ending in recent if ending.ended <= until]

    def cores(self) -> tuple[int, int, int]:
        """Return the region's cores: in use, free, and those of nodes that are down."""
        unused = sum(partition.free_cores for partition in self.partitions())
        unavailable = sum(each.queue.cores for each in self.partitions() for node in each.nodes if not node.up)
        everything = sum(each.queue.cores * each.queue.nodes for each in self.partitions())
        return everything - unused - unavailable, unused, unavailable

    def core_seconds(self, user: str) -> float:
        """Return the cores times seconds that the jobs of a user have held, of those that are not yet forgotten."""
        return sum(
            job.share.cores * ((self.now if run.ended is None else run.ended) - run.started)
            for job in self._known.values()
            if job.user == user
            for run in job.runs
        )

    def partitions(self) -> list[Partition]:
        """Return the queues of all schedulers."""
        return list(self._partitions.values())

    def enable(self, queue: str, *, enabled: bool = True) -> None:
        """Enable or disable the queues of that name: in a disabled one no job starts."""
        for partition in self._partitions.values():
            if partition.queue.name == queue:
                partition.enabled = enabled
                self._call_pass(partition)

    def delete(self, user: str, job_id: int, scheduler: int | None = None) -> bool:
        """Delete a user's job now; False where there is none, or it is ending or over."""
        for job in self.jobs(user):
            if job.id == job_id and scheduler in (None, job.scheduler) and self._delete(job):
                return True
        return False

    def truth(self) -> list[JobTruth]:
        """Every job ever submitted and not yet forgotten (`RegionSpec.truth_kept_for`), in order of submission."""
        return [_truth(job) for job in self._known.values()]

    # Building

    def _generator(self, *key: object) -> random.Random:
        # Seeding with text is stable over processes and machines, and needs no arithmetic to keep streams apart.
        return random.Random("/".join([self._seed, *map(str, key)]))

    def _build(self, scheduler: SchedulerSpec) -> None:
        first = scheduler.first_job_id
        if first is None:
            first = self._generator("ids", scheduler.id).randrange(1_000_000, 2_000_000)
        self._ids[scheduler.id] = itertools.count(first)
        for queue in scheduler.queues:
            partition = Partition(scheduler, queue, [])
            self._partitions[scheduler.id, queue.name] = partition
            for index in range(queue.nodes):
                rng = self._generator("node", scheduler.id, queue.name, index)
                node = _Node(index, rng, queue.cores, queue.gpus, queue.dcus)
                partition.nodes.append(node)
                self._expect_failure(partition, node)

    def _open(self, user: UserSpec, demand: Demand, rng: random.Random) -> None:
        scheduler, queue = self.spec.queue_of(demand)
        stream = _Stream(user, demand, self._partitions[scheduler.id, queue.name], rng)
        self._expect_arrival(stream)

    # Events

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        if seconds < math.inf:
            heapq.heappush(self._events, (self.now + seconds, next(self._order), action))

    def _later(self, seconds: float, job: SimJob, action: Callable[[SimJob], None]) -> None:
        """Do it unless the job changes its state before."""
        epoch = job.epoch

        def act() -> None:
            if job.epoch == epoch:
                action(job)

        self._after(seconds, act)

    def _expect_arrival(self, stream: _Stream) -> None:
        if stream.demand.jobs_per_hour > 0:
            pause = stream.rng.expovariate(stream.demand.jobs_per_hour / 3600)
            self._after(pause, partial(self._arrive, stream))

    def _arrive(self, stream: _Stream) -> None:
        # Drawn even if it is not submitted: the stream's later jobs must not depend on how full the queue is.
        plan = _draw(stream, self.spec.habits, self.now)
        if stream.pending < stream.demand.max_pending:
            self._submit(stream, plan)
        self._expect_arrival(stream)

    def _submit(self, stream: _Stream, plan: _Plan) -> None:
        scheduler = stream.partition.scheduler.id
        job = SimJob(
            scheduler=scheduler,
            id=next(self._ids[scheduler]),
            stream=stream,
            plan=plan,
            submitted=self.now,
            state=plan.first,
            changes=[(self.now, plan.first)],
            milestones=list(plan.milestones),
            queued=self.now,
        )
        self._known[scheduler, job.id] = self._listed[job.user][scheduler, job.id] = job
        stream.pending += 1
        self._after(plan.deleted_after, partial(self._delete, job))
        if plan.first is State.QUEUED:
            self._queue(job)
            self._later(plan.held_after, job, self._hold)
        else:
            self._later(plan.first_for, job, self._release)

    def _hold(self, job: SimJob) -> None:
        job.stream.partition.pending.remove(job)
        self._change(job, State.HELD)
        self._later(job.plan.held_for, job, self._release)

    def _release(self, job: SimJob) -> None:
        self._change(job, State.QUEUED)
        self._queue(job)

    def _queue(self, job: SimJob) -> None:
        partition = job.stream.partition
        insort(partition.pending, job, key=attrgetter("id"))
        self._call_pass(partition)

    def _start(self, job: SimJob, nodes: list[_Node]) -> None:
        partition = job.stream.partition
        partition.pending.remove(job)
        partition.running[job.id] = job
        need = job.on_node
        for node in nodes:
            node.give(need, -1)
            node.jobs[job.id] = job
        job.nodes = nodes
        job.runs.append(Run(self.now, None, tuple(node.index for node in nodes)))
        self._running[job.user] += 1
        self._meter(job, job.share.cores)
        job.done = 0.0
        job.expected_end = self.now + job.plan.limit
        self._run(job)

    def _run(self, job: SimJob) -> None:
        self._change(job, State.RUNNING)
        if job.milestones and job.milestones[0][0] > job.done:
            at, turn = job.milestones[0]
            self._later(at - job.done, job, self._suspend if turn is State.SUSPENDED else self._preempt)
        else:
            self._later(job.plan.work - job.done, job, self._exit)

    def _suspend(self, job: SimJob) -> None:
        job.done = job.milestones.pop(0)[0]
        self._change(job, State.SUSPENDED)
        job.expected_end += job.plan.suspended_for
        self._later(job.plan.suspended_for, job, self._run)

    def _preempt(self, job: SimJob) -> None:
        job.milestones.pop(0)
        self._requeue(job)

    def _requeue(self, job: SimJob) -> None:
        self._note_end(job, State.REQUEUED)
        self._leave_nodes(job)
        self._change(job, State.REQUEUED)
        job.queued = self.now
        self._later(30.0, job, self._release)

    def _exit(self, job: SimJob) -> None:
        self._change(job, State.EXITING)
        self._later(job.plan.exits_for, job, partial(self._end, outcome=job.plan.outcome))

    def _delete(self, job: SimJob) -> bool:
        if job.state in ENDED or job.state is State.EXITING:
            return False
        self._end(job, outcome=State.DELETED)
        return True

    def _end(self, job: SimJob, *, outcome: State) -> None:
        if job.state is State.QUEUED:
            job.stream.partition.pending.remove(job)
        self._note_end(job, outcome)
        self._leave_nodes(job)
        self._change(job, outcome)
        key = (job.scheduler, job.id)
        if self.spec.ended_listed_for > 0:
            self._after(self.spec.ended_listed_for, partial(self._listed[job.user].pop, key))
        else:
            del self._listed[job.user][key]
        self._after(self.spec.truth_kept_for, partial(self._known.pop, key))

    def _note_end(self, job: SimJob, state: State) -> None:
        self._endings.append(Ending(job, job.queued, job.started, self.now, state))
        while self._endings[0].ended < self.now - self.spec.truth_kept_for:
            self._endings.popleft()

    def _leave_nodes(self, job: SimJob) -> None:
        if not job.nodes:
            return
        need = job.on_node
        for node in job.nodes:
            node.give(need)
            del node.jobs[job.id]
        job.nodes = []
        job.runs[-1] = replace(job.runs[-1], ended=self.now)
        self._running[job.user] -= 1
        self._meter(job, -job.share.cores)
        partition = job.stream.partition
        del partition.running[job.id]
        self._call_pass(partition)
        if job.stream.user.max_running is not None:
            for other in self._partitions.values():
                self._call_pass(other)

    def _meter(self, job: SimJob, cores: int) -> None:
        price = job.stream.partition.queue.price
        self.meters[job.user] = self.meters[job.user].changed(self.now, cores, price)

    def _change(self, job: SimJob, state: State) -> None:
        job.stream.pending += (state in PENDING) - (job.state in PENDING)
        job.state = state
        job.changes.append((self.now, state))
        job.epoch += 1

    def _expect_failure(self, partition: Partition, node: _Node) -> None:
        if partition.queue.mean_time_between_failures < math.inf:
            pause = node.rng.expovariate(1 / partition.queue.mean_time_between_failures)
            self._after(pause, partial(self._fail, partition, node))

    def _fail(self, partition: Partition, node: _Node) -> None:
        node.up = False
        for job in list(node.jobs.values()):
            requeued = node.rng.random() < self.spec.habits.requeued_after_node_failure
            if requeued and job.state is not State.EXITING:
                self._requeue(job)
            else:
                self._end(job, outcome=State.NODE_FAILURE)
        pause = node.rng.expovariate(1 / partition.queue.mean_repair_time)
        self._after(pause, partial(self._repair, partition, node))

    def _repair(self, partition: Partition, node: _Node) -> None:
        node.up = True
        self._expect_failure(partition, node)
        self._call_pass(partition)

    # Scheduling

    def _call_pass(self, partition: Partition) -> None:
        if not partition.pass_due:
            partition.pass_due = True
            self._after(partition.scheduler.cycle, partial(self._pass, partition))

    def _pass(self, partition: Partition) -> None:
        """First come, first served; a later job overtakes where it cannot delay the first (EASY backfill)."""
        partition.pass_due = False
        if not partition.enabled:
            return
        reserved: float | None = None
        blocked: SimJob | None = None
        without_room: set[Resources] = set()
        for job in partition.pending[:_BACKFILL_DEPTH]:
            limit = job.stream.user.max_running
            if limit is not None and self._running[job.user] >= limit:
                continue
            # Nothing becomes free meanwhile.
            nodes = [] if job.on_node in without_room else partition.place(job.on_node)
            if not nodes:
                without_room.add(job.on_node)
                blocked = blocked or job
                continue
            if blocked is not None:
                if reserved is None:
                    reserved = partition.earliest_start(blocked.on_node)
                if self.now + job.plan.limit > reserved:
                    continue
            self._start(job, nodes)


def _draw(stream: _Stream, habits: Habits, now: float) -> _Plan:
    rng, demand, queue = stream.rng, stream.demand, stream.partition.queue

    def happens(share: float) -> bool:
        return rng.random() < share

    need = Resources(*(rng.choice(sizes) for sizes in (demand.nodes, demand.cores, demand.gpus, demand.dcus)))
    runtime = demand.median_runtime * rng.lognormvariate(0.0, demand.spread)
    fails = happens(habits.fails)
    asked = runtime * (rng.uniform(0.3, 0.9) if happens(habits.underestimated) else rng.uniform(1.1, 3.0))
    limit = min(asked, queue.time_limit)
    work, outcome = (runtime * rng.random(), State.FAILED) if fails else (runtime, State.COMPLETED)
    if work > limit:
        work, outcome = limit, State.TIMEOUT
    first, first_for = State.QUEUED, math.inf
    if happens(habits.waits_for_another):
        first, first_for = State.WAITING, rng.expovariate(1 / 1200)
    elif happens(habits.submitted_held):
        first, first_for = State.HELD, rng.expovariate(1 / 3600)
    return _Plan(
        name=job_name(rng, now, habits.oddly_named),
        need=need,
        first=first,
        first_for=first_for,
        held_after=rng.expovariate(1 / 600) if happens(habits.held_while_queued) else math.inf,
        held_for=rng.expovariate(1 / 1800),
        deleted_after=rng.expovariate(1 / 2400) if happens(habits.deleted_by_user) else math.inf,
        work=work,
        outcome=outcome,
        limit=limit,
        milestones=tuple(
            sorted(
                (work * rng.random(), turn)
                for turn, share in ((State.SUSPENDED, habits.suspended), (State.REQUEUED, habits.preempted))
                if happens(share)
            )
        ),
        suspended_for=rng.expovariate(1 / 900),
        exits_for=rng.uniform(1.0, 20.0),
    )


def _truth(job: SimJob) -> JobTruth:
    ended = job.state in ENDED
    return JobTruth(
        scheduler=job.scheduler,
        id=job.id,
        name=job.name,
        user=job.user,
        group=job.stream.user.group,
        queue=job.queue,
        submitted=job.submitted,
        requested=job.requested,
        allocated=job.share,
        changes=tuple(job.changes),
        runs=tuple(job.runs),
        ended=job.changes[-1][0] if ended else None,
        outcome=job.state if ended else None,
    )
