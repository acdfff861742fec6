import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.simulator.batch import ENDED, TRANSITIONS, BatchSystem, JobTruth, State
from exporter.simulator.spec import (
    DAY,
    HOUR,
    Demand,
    GroupSpec,
    Habits,
    QueueSpec,
    RegionSpec,
    SchedulerSpec,
    UserSpec,
    default_region,
)

START = 1_700_000_000.0

# Everything that can go wrong in a job's life does so often here.
ROUGH = replace(
    default_region(),
    habits=Habits(*[0.3] * 10),
    schedulers=tuple(
        replace(
            scheduler,
            queues=tuple(
                replace(queue, mean_time_between_failures=6 * HOUR, mean_repair_time=HOUR) for queue in scheduler.queues
            ),
        )
        for scheduler in default_region().schedulers
    ),
)


def history(spec: RegionSpec, seed: int, *times: float) -> list[JobTruth]:
    system = BatchSystem(spec, seed, START)
    for seconds in times:
        system.advance_to(START + seconds)
    return system.truth()


@pytest.fixture(scope="module")
def rough_day() -> list[JobTruth]:
    return history(ROUGH, 7, DAY)


def test_equal_seeds_give_equal_histories_and_other_seeds_others() -> None:
    assert history(ROUGH, 1, DAY / 4) == history(ROUGH, 1, DAY / 4)
    assert history(ROUGH, 1, DAY / 4) != history(ROUGH, 2, DAY / 4)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0, 4 * HOUR), max_size=30), st.integers(0, 5))
def test_history_does_not_depend_on_how_finely_time_advances(steps: list[float], seed: int) -> None:
    assert history(ROUGH, seed, *sorted(steps), 4 * HOUR) == history(ROUGH, seed, 4 * HOUR)


def test_every_state_is_met_on_a_rough_day_and_follows_an_allowed_one(rough_day: list[JobTruth]) -> None:
    assert {state for job in rough_day for _, state in job.changes} == set(State)
    for job in rough_day:
        states = [None, *(state for _, state in job.changes)]
        assert all(after in TRANSITIONS[before] for before, after in pairwise(states)), job


def test_times_of_a_job_are_in_order_and_it_ends_at_most_once(rough_day: list[JobTruth]) -> None:
    for job in rough_day:
        times = [at for at, _ in job.changes]
        assert times == sorted(times)
        assert times[0] == job.submitted
        endings = [at for at, state in job.changes if state in ENDED]
        assert endings == ([] if job.ended is None else [job.ended])
        assert all(run.ended is not None for run in job.runs[:-1])
        assert job.ended is None or all(run.ended is not None and run.ended <= job.ended for run in job.runs)


def test_nodes_never_hold_more_than_they_have(rough_day: list[JobTruth]) -> None:
    queues = {queue.name: queue for scheduler in ROUGH.schedulers for queue in scheduler.queues}
    changes = []
    for job in rough_day:
        nodes = job.allocated.nodes
        share = tuple(n // nodes for n in (job.allocated.cores, job.allocated.gpus, job.allocated.dcus))
        for run in job.runs:
            assert len(set(run.nodes)) == nodes
            for node in run.nodes:
                changes.append((run.started, 1, job.queue, node, share))
                changes.append((run.ended or math.inf, -1, job.queue, node, share))
    held: Counter[tuple[str, int, str]] = Counter()
    assert changes
    # At one moment leaving (-1) comes before entering (+1).
    for _, sign, queue, node, share in sorted(changes):
        for kind, amount in zip(("cores", "gpus", "dcus"), share, strict=True):
            held[queue, node, kind] += sign * amount
            assert 0 <= held[queue, node, kind] <= getattr(queues[queue], kind)
    assert sum(held.values()) == 0


@pytest.mark.parametrize("listed_for", [0.0, 300.0])
def test_an_ended_job_stays_listed_as_long_as_told(listed_for: float) -> None:
    system = BatchSystem(replace(default_region(), ended_listed_for=listed_for), 3, START)
    for minute in range(1, 600, 7):
        now = START + 60 * minute
        system.advance_to(now)
        expected = {j.id for j in system.truth() if j.ended is None or j.ended + listed_for > now}
        assert {job.id for user in system.spec.users for job in system.jobs(user.name)} == expected


def test_counts_agree_with_the_listed_jobs() -> None:
    system = BatchSystem(default_region(), 3, START)
    system.advance_to(START + DAY)
    for user in system.spec.users:
        living = [job for job in system.jobs(user.name) if job.state not in ENDED]
        counts = dict(system.queue_rows(user.name))
        assert sum(sum(row.values()) for row in counts.values()) == len(living)
        assert sum(row["R"] for row in counts.values()) == sum(job.state is State.RUNNING for job in living)


def test_deleting_ends_a_job_now_and_only_its_owners() -> None:
    system = BatchSystem(default_region(), 1, START)
    system.advance_to(START + DAY)
    job = next(job for job in system.jobs("alice") if job.state is State.RUNNING)
    assert not system.delete("bob", job.id)
    assert system.delete("alice", job.id)
    assert not system.delete("alice", job.id)
    truth = next(each for each in system.truth() if each.id == job.id)
    assert (truth.outcome, truth.ended) == (State.DELETED, START + DAY)
    assert job.allocated.cores == 0
    assert not system.delete("nobody", 1)


def test_a_clogged_queue_and_idle_gpus_make_a_believable_region() -> None:
    system = BatchSystem(default_region(), 1, START)
    system.advance_to(START + DAY)
    totals: Counter[tuple[str, str]] = Counter()
    for user in system.spec.users:
        for queue, row in system.queue_rows(user.name):
            totals.update({(queue, letter): count for letter, count in row.items()})
    assert totals["normal", "Q"] > 20
    assert totals["gpu", "R"] > 0
    gpu = next(queue for queue in system.spec.schedulers[0].queues if queue.name == "gpu")
    used = sum(job.allocated.gpus for user in system.spec.users for job in system.jobs(user.name))
    assert 0 < used < gpu.nodes * gpu.gpus


def test_small_jobs_overtake_a_large_one_without_delaying_it() -> None:
    """EASY backfill: while the first job waits for all nodes, only jobs that end in time may start."""
    queue = QueueSpec("q", nodes=4, cores=1, mean_time_between_failures=math.inf)
    demands = (Demand("q", 2, HOUR, nodes=(4,)), Demand("q", 20, 600, nodes=(1,)))
    truth = history(one_queue(queue, *demands, habits=Habits(*[0.0] * 10)), 1, 3 * DAY)
    large = [job for job in truth if job.requested.nodes == 4]
    started = sum(bool(job.runs) for job in large)
    assert started > 20
    overtaking = [
        (small, big)
        for small in truth
        for big in large
        if small.runs and big.runs and big.id < small.id and small.runs[0].started < big.runs[0].started
    ]
    assert overtaking


def test_truth_of_jobs_ended_long_ago_is_forgotten_when_told_so() -> None:
    whole = history(default_region(), 1, DAY)
    kept = history(replace(default_region(), truth_kept_for=HOUR), 1, DAY)
    assert kept == [job for job in whole if job.ended is None or job.ended + HOUR > START + DAY]


@pytest.mark.parametrize(
    ("demand", "message"),
    [
        (Demand("q", 1, 60, cores=(5,)), "user alice asks for more than the queue q has"),
        (Demand("elsewhere", 1, 60), "no scheduler has the queue elsewhere"),
    ],
)
def test_a_demand_that_can_never_be_met_is_refused(demand: Demand, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one_queue(QueueSpec("q", nodes=1, cores=4), demand)


def one_queue(queue: QueueSpec, *demands: Demand, habits: Habits | None = None) -> RegionSpec:
    return RegionSpec(
        name="r",
        cluster_id=1,
        schedulers=(SchedulerSpec(1, (queue,)),),
        groups=(GroupSpec(1, "g"),),
        users=(UserSpec("alice", "g", demands),),
        habits=habits or Habits(),
    )
