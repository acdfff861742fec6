"""A real Prometheus scrapes the exporter, which polls a simulated region over real sockets."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable

import pytest
import pytest_asyncio

from exporter.cli.simulate import configuration
from exporter.records import HOLDS_NOTHING
from exporter.simulator import Region, Simulator, State, default_regions
from exporter.simulator.batch import SimJob
from tests.e2e.process import ExporterProcess, serving
from tests.e2e.real import Prometheus, Vector, prometheus_scraping, promtool_check, vector

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
# The states of the simulator's jobs in the queue statistics; an ended job is in none of them.
IN_QUEUE = {
    State.RUNNING: "running",
    State.QUEUED: "queued",
    State.HELD: "held",
    State.SUSPENDED: "suspended",
    State.WAITING: "other",
    State.EXITING: "other",
    State.REQUEUED: "other",
}
QUEUE_STATES = ("running", "queued", "held", "suspended", "other")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    """Two regions in which time stands still, so that what they answered is still true when it is compared."""
    async with Simulator(default_regions(2), seed=7, clock=lambda: 0.0) as simulator:
        yield simulator


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def exporter(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ExporterProcess]:
    everything = f"per_job: {{enabled: true, max_jobs: 10000}}\n{configuration(simulator)}"
    async with serving(tmp_path_factory.mktemp("exporter"), everything) as exporter:
        await exporter.ready()
        yield exporter


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prometheus(exporter: ExporterProcess, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    async with prometheus_scraping(exporter.addresses[0], tmp_path_factory.mktemp("prometheus")) as prometheus:
        await prometheus.scraped()
        yield prometheus


def jobs_of(region: Region) -> Iterable[tuple[str, str, SimJob]]:
    """Group, user and job of all that the region lists."""
    for user in region.spec.users:
        for job in region.batch.jobs(user.name):
            yield user.group, user.name, job


def members_jobs_of(region: Region) -> Iterable[tuple[str, str, SimJob]]:
    """As `jobs_of`, for users in a group: only these are on the lists of members."""
    return ((group, user, job) for group, user, job in jobs_of(region) if group)


def queue_jobs(simulator: Simulator) -> Vector:
    """Return the expected `hpc_queue_jobs`, counted from the simulator's own jobs."""
    counts: Counter[tuple[str, ...]] = Counter()
    for region in simulator.regions.values():
        for _, user, job in jobs_of(region):
            if job.state in IN_QUEUE:
                counts[region.name, user, job.queue, IN_QUEUE[job.state]] += 1
    labels = ("hpc_cluster", "user", "queue", "state")
    return vector(labels, {(*queue, state): counts[*queue, state] for *queue, _ in counts for state in QUEUE_STATES})


def member_sums(simulator: Simulator, always: tuple[str, ...], amount: str = "") -> Vector:
    """Return the expected value of a `hpc_member_` family: jobs, or the sum of an amount like "requested.cores"."""
    sums: Counter[tuple[str, ...]] = Counter()
    for region in simulator.regions.values():
        for member in region.spec.users:
            if member.group:
                sums.update({(region.name, member.group, member.name, state): 0 for state in always})
        for group, user, job in members_jobs_of(region):
            resources, _, unit = amount.partition(".")
            sums[region.name, group, user, job.state] += getattr(getattr(job, resources), unit) if amount else 1
    return vector(("hpc_cluster", "group", "user", "state"), sums)


def job_infos(simulator: Simulator) -> Vector:
    labels = ("hpc_cluster", "group", "user", "job_id", "job_name", "state")
    return vector(
        labels,
        {
            (region.name, group, user, str(job.id), job.name, job.state): 1
            for region in simulator.regions.values()
            for group, user, job in members_jobs_of(region)
        },
    )


async def test_the_simulation_is_worth_a_comparison(simulator: Simulator) -> None:
    """Otherwise the comparisons below could hold between two empty things."""
    assert len(queue_jobs(simulator)) >= 50
    assert sum(queue_jobs(simulator).values()) >= 50
    states = {job.state for region in simulator.regions.values() for _, _, job in jobs_of(region)}
    assert {State.RUNNING, State.QUEUED} < states


async def test_prometheus_has_the_queue_statistics_of_the_region(simulator: Simulator, prometheus: Prometheus) -> None:
    assert await prometheus.query("hpc_queue_jobs") == queue_jobs(simulator)


async def test_prometheus_has_the_job_lists_of_the_members(simulator: Simulator, prometheus: Prometheus) -> None:
    always = ("running", "queued", "held", "suspended")
    assert await prometheus.query("hpc_member_jobs") == member_sums(simulator, always)


@pytest.mark.parametrize(
    ("family", "amount"),
    [
        ("hpc_member_requested_nodes", "requested.nodes"),
        ("hpc_member_requested_cpus", "requested.cores"),
        ("hpc_member_requested_gpus", "requested.gpus"),
        ("hpc_member_requested_dcus", "requested.dcus"),
        ("hpc_member_allocated_cpus", "allocated.cores"),
        ("hpc_member_allocated_gpus", "allocated.gpus"),
        ("hpc_member_allocated_dcus", "allocated.dcus"),
    ],
)
async def test_prometheus_has_what_the_members_request_and_use(
    simulator: Simulator, prometheus: Prometheus, family: str, amount: str
) -> None:
    expected = member_sums(simulator, ("running", "queued"), amount)
    if amount.startswith("allocated"):
        expected = {labels: value for labels, value in expected.items() if dict(labels)["state"] not in HOLDS_NOTHING}
    assert await prometheus.query(family) == expected


async def test_prometheus_has_every_job_with_its_odd_name(simulator: Simulator, prometheus: Prometheus) -> None:
    assert await prometheus.query("hpc_job_info") == job_infos(simulator)


async def test_prometheus_has_the_schedulers(simulator: Simulator, prometheus: Prometheus) -> None:
    labels = ("hpc_cluster", "scheduler_id", "scheduler_name", "scheduler_type")
    schedulers: dict[tuple[str, ...], float] = {
        (region.name, str(scheduler.id), scheduler.name, scheduler.type): 1
        for region in simulator.regions.values()
        for scheduler in region.spec.schedulers
    }
    assert await prometheus.query("hpc_scheduler_info") == vector(labels, schedulers)


async def test_prometheus_sees_every_region_and_target_up(simulator: Simulator, prometheus: Prometheus) -> None:
    assert await prometheus.query("hpc_up") == vector(("hpc_cluster",), {(name,): 1 for name in simulator.regions})
    assert set((await prometheus.query("hpc_exporter_target_up")).values()) == {1}


async def test_the_exporter_counts_its_series_as_prometheus_does(prometheus: Prometheus) -> None:
    # Of one scrape: the next one can have a series more, a status code that was not met before.
    difference = await prometheus.query("scrape_samples_scraped - on() hpc_exporter_series")
    assert list(difference.values()) == [0]


async def test_prometheus_is_served_openmetrics(prometheus: Prometheus, exporter: ExporterProcess) -> None:
    """Its own Accept header prefers that; the answer then ends as the format demands."""
    assert (await prometheus.target())["lastError"] == ""
    accept = (
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    )
    answer = await exporter.ask("/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == f"{OPENMETRICS}; charset=utf-8"
    assert answer.text.endswith("\n# EOF\n")


async def test_promtool_finds_nothing_to_complain_of(exporter: ExporterProcess) -> None:
    answer = await exporter.ask("/metrics")
    assert await promtool_check(answer.body) == (0, "")


async def test_promtool_finds_nothing_in_openmetrics_either(exporter: ExporterProcess) -> None:
    """It reads the text format only, in which a counter's header has the full name; all else is the same there."""
    answer = await exporter.ask("/metrics", headers={"Accept": OPENMETRICS})
    counters = re.findall(r"^# TYPE (\S+) counter$", answer.text, re.MULTILINE)
    text = answer.text
    for name in counters:
        text = re.sub(rf"^# (HELP|TYPE) {name} ", rf"# \1 {name}_total ", text, flags=re.MULTILINE)
    assert counters
    assert await promtool_check(text.encode()) == (0, "")


async def test_promtool_would_complain(exporter: ExporterProcess) -> None:
    """Otherwise its silence would mean nothing."""
    status, complaints = await promtool_check(b"# TYPE apples counter\napples 1\n")
    assert status != 0
    assert complaints
