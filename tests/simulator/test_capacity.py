"""Capacity, money and storage follow from the jobs: one model."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from exporter.simulator import Account, Simulator, State, default_region
from exporter.simulator.batch import BatchSystem, JobTruth
from exporter.simulator.scnet import FULL, GB_PER_CORE_HOUR, TIDY, storage_used
from exporter.simulator.spec import DAY, HOUR

START = 1_750_000_000.0


@pytest.fixture
def batch() -> BatchSystem:
    return BatchSystem(default_region(), 5, START)


def every_hour(batch: BatchSystem, hours: int) -> Iterator[float]:
    for hour in range(1, hours + 1):
        batch.advance_to(START + hour * HOUR)
        yield batch.now


def core_hours(job: JobTruth, until: float, since: float = START) -> float:
    """Return the core-hours of a job according to its history."""
    runs = ((max(run.started, since), until if run.ended is None else run.ended) for run in job.runs)
    return sum(max(0.0, ended - started) for started, ended in runs) / HOUR * job.allocated.cores


def test_used_free_and_unavailable_are_all_there_is(batch: BatchSystem) -> None:
    seen = set()
    for _ in every_hour(batch, 200):
        used, unused, unavailable = batch.cores()
        queues = batch.partitions()
        assert used + unused + unavailable == sum(each.queue.nodes * each.queue.cores for each in queues)
        assert unused == sum(each.free_cores for each in queues)
        assert all(each.free_cores >= each.free_nodes * each.queue.cores for each in queues)
        seen |= {("unavailable", unavailable > 0), ("full", any(not each.free_cores for each in queues))}
    assert {("unavailable", True), ("unavailable", False), ("full", True)} <= seen


def test_meters_agree_with_the_history_of_the_jobs(batch: BatchSystem) -> None:
    for now in every_hour(batch, 48):
        history = batch.truth()
        prices = {each.queue.name: each.queue.price for each in batch.partitions()}
        for user, meter in batch.meters.items():
            jobs = [job for job in history if job.user == user]
            at = meter.at(now)
            assert at.core_hours == pytest.approx(sum(core_hours(job, now) for job in jobs))
            assert at.yuan == pytest.approx(sum(core_hours(job, now) * prices[job.queue] for job in jobs))
    assert sum(meter.yuan for meter in batch.meters.values()) > 100


async def test_hours_times_price_is_what_the_balance_loses() -> None:
    """Over several regions and accounts, payments in between; the user with an account pays alone."""
    now = 0.0
    specs = [default_region(0), default_region(1)]
    lab = Account("lab", "a", "s", "p", users={"kunshan": "test", "xian": "test"}, balance=1000.0)
    own = Account("own", "a", "s", "p", users={"kunshan": "alice"}, balance=50.0)
    simulator = Simulator(specs, accounts=[lab, own], clock=lambda: now, wall_clock=lambda: START + now)
    began = {name: region.batch.now for name, region in simulator.regions.items()}
    now = 30 * HOUR
    for region in simulator.regions.values():
        await region.advance()
    simulator.platform.pay("lab", 500.0)
    cost = {"lab": 0.0, "own": 0.0}
    for name, region in simulator.regions.items():
        prices = {queue.name: queue.price for scheduler in region.spec.schedulers for queue in scheduler.queues}
        for job in region.batch.truth():
            payer = "own" if (name, job.user) == ("kunshan", "alice") else "lab"
            cost[payer] += core_hours(job, region.batch.now, began[name]) * prices[job.queue]
    assert min(cost.values()) > 10
    assert simulator.platform.balance("lab") == pytest.approx(1500 - cost["lab"])
    assert simulator.platform.balance("own") == pytest.approx(50 - cost["own"])


def test_storage_grows_with_the_hours_until_files_have_to_go() -> None:
    (user,) = (user for user in default_region().users if user.name == "alice")
    assert storage_used(user, 0) == user.stored
    assert storage_used(user, 100) == user.stored + 100 * GB_PER_CORE_HOUR
    most = [storage_used(user, hours) for hours in range(0, 200_000, 50)]
    assert FULL * user.quota - 2 < max(most) <= FULL * user.quota
    assert min(most[most.index(max(most)) :]) >= TIDY * user.quota


def test_no_job_starts_in_a_disabled_queue_and_others_go_on(batch: BatchSystem) -> None:
    batch.advance_to(START + 12 * HOUR)
    batch.enable("normal", enabled=False)
    closed = batch.now
    batch.advance_to(START + 3 * DAY)
    started = {job.queue for job in batch.truth() for run in job.runs if run.started > closed + 10}
    assert started == {"debug", "gpu", "dcu"}
    assert any(job.state is State.QUEUED and job.queue == "normal" for job in batch.jobs("alice"))
    batch.enable("normal")
    opened = batch.now
    batch.advance_to(opened + HOUR)
    assert any(run.started > opened for job in batch.truth() if job.queue == "normal" for run in job.runs)


def test_nobody_runs_more_jobs_than_they_may() -> None:
    spec = default_region()
    limited = replace(spec, users=tuple(replace(user, max_running=2) for user in spec.users))
    batch = BatchSystem(limited, 5, START)
    most = 0
    for _ in every_hour(batch, 100):
        for user in spec.users:
            running = sum(job.state in (State.RUNNING, State.SUSPENDED, State.EXITING) for job in batch.jobs(user.name))
            assert running <= 2
            most = max(most, running)
    assert most == 2
