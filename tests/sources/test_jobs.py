"""One target that lists the jobs of several members.

What is shown, and what leaves with the target or with a member.
"""

from collections.abc import Iterable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.clock import SystemClock
from exporter.metrics.exposition import Exposition
from exporter.metrics.format import Format
from exporter.polling import TargetKey
from exporter.records import Answer, Job, JobListing, JobState
from exporter.sources.display import ABSENT_LIMIT
from exporter.sources.jobs import ListedJobs
from exporter.sources.per_job import PerJobBudget
from exporter.sources.source import Context
from exporter.sources.tracked import Followed
from exporter.tracking import MemberKey, TrackingService

KEY = TargetKey("own", "jobs", "")
RUNNING, QUEUED, HELD = JobState.RUNNING, JobState.QUEUED, JobState.HELD


def member(user: str, group: str = "chemistry") -> Followed:
    return Followed(TargetKey("own", "jobs", f"{group}/{user}"), MemberKey("own", group, user), group)


def listing(*jobs: Job) -> JobListing:
    return JobListing(jobs)


def job(job_id: str, state: JobState, queue: str, **known: object) -> Job:
    return Job(job_id, "job", state, 1, 2, 0, 0, 2, 0, 0, queue=queue, **known)  # type: ignore[arg-type]  # from the tests


async def shown(context: Context, names: Iterable[str]) -> dict[str, float]:
    """Return the samples of families, by their values of all labels but the region's."""
    text = (await context.display.exposition.body(Format.TEXT, compress=False)).decode()
    return {
        " ".join([name, *(value for label, value in labels.items() if label != "hpc_cluster")]): value
        for family in text_string_to_metric_families(text)
        if family.name in names
        for name, labels, value, *_ in family.samples
    }


@pytest.fixture
def context() -> Context:
    context = Context(SystemClock(), Exposition())
    context.display.per_job = PerJobBudget(10)
    return context


async def test_jobs_of_members_are_shown_by_queue_state_and_reason(context: Context) -> None:
    polled = ListedJobs(context, KEY, 60.0, tells_queues=True)
    alice = listing(
        job("1", RUNNING, "cpu", submitted=1e9, started=1e9 + 60),
        job("2", QUEUED, "cpu", reason="priority", submitted=1e9 + 1),
        job("3", HELD, "gpu", reason="held"),
    )
    bob = listing(job("1", QUEUED, "cpu", reason="priority"))
    await polled.show({member("alice"): alice, member("bob"): bob, member("carol", "physics"): listing()}, Answer())

    assert await shown(context, ["hpc_jobs", "hpc_pending_jobs"]) == {
        "hpc_jobs chemistry cpu running": 1,
        "hpc_jobs chemistry cpu queued": 2,
        "hpc_jobs chemistry gpu running": 0,
        "hpc_jobs chemistry gpu queued": 0,
        "hpc_jobs chemistry gpu held": 1,
        "hpc_pending_jobs chemistry alice priority": 1,
        "hpc_pending_jobs chemistry alice held": 1,
        "hpc_pending_jobs chemistry bob priority": 1,
    }
    assert await shown(context, ["hpc_job_submit_timestamp_seconds", "hpc_job_start_timestamp_seconds"]) == {
        "hpc_job_submit_timestamp_seconds alice 1": 1e9,
        "hpc_job_submit_timestamp_seconds alice 2": 1e9 + 1,
        "hpc_job_start_timestamp_seconds alice 1": 1e9 + 60,
    }
    assert await shown(context, ["hpc_job_info"]) == dict.fromkeys(
        (
            "hpc_job_info chemistry alice 1 job running",
            "hpc_job_info chemistry alice 2 job queued priority",
            "hpc_job_info chemistry alice 3 job held held",
            "hpc_job_info chemistry bob 1 job queued priority",
        ),
        1,
    )
    assert (await shown(context, ["hpc_member_jobs"]))["hpc_member_jobs physics carol running"] == 0


async def test_a_queue_once_seen_stays_without_jobs(context: Context) -> None:
    polled = ListedJobs(context, KEY, 60.0, tells_queues=True)
    await polled.show({member("alice"): listing(job("1", RUNNING, "cpu"))}, Answer())
    again = ListedJobs(context, KEY, 60.0, tells_queues=True)  # after a reload
    await again.show({member("alice"): listing()}, Answer())
    assert await shown(context, ["hpc_jobs"]) == {
        "hpc_jobs chemistry cpu running": 0,
        "hpc_jobs chemistry cpu queued": 0,
    }
    await again.show(
        {member("alice"): listing(*(job(str(n), RUNNING, f"q{n}") for n in range(ABSENT_LIMIT + 1)))}, Answer()
    )
    await again.show({member("alice"): listing()}, Answer())
    assert len(await shown(context, ["hpc_jobs"])) <= 2 * (ABSENT_LIMIT + 1)


async def test_a_queue_once_seen_is_unknown_while_a_row_of_its_group_cannot_be_read(context: Context) -> None:
    polled = ListedJobs(context, KEY, 60.0, tells_queues=True)
    alice, bob, carol = member("alice"), member("bob"), member("carol", "physics")
    await polled.show({alice: listing(job("1", RUNNING, "cpu")), carol: listing(job("2", RUNNING, "cpu"))}, Answer())
    await polled.show({alice: listing(), bob: JobListing((), rejected=1), carol: listing()}, Answer())
    assert await shown(context, ["hpc_jobs"]) == {"hpc_jobs physics cpu running": 0, "hpc_jobs physics cpu queued": 0}


async def test_series_of_jobs_and_counters_leave_with_the_member_and_with_the_target(context: Context) -> None:
    context.tracked.service = service = TrackingService(None, clock=context.clock, observer=context.own)
    await service.start()
    of_jobs, counters = ["hpc_job_info"], ["hpc_job_transitions"]
    polled = ListedJobs(context, KEY, 60.0, tells_queues=True)

    async def show(*users: str) -> None:
        await polled.show({member(user): listing(job("1", RUNNING, "cpu")) for user in users}, Answer())
        while len(await shown(context, counters)) < len(users):
            await service.observe(MemberKey("own", "other", "dave"), listing(), service.time(), 60.0)

    await show("alice", "bob")
    assert len(await shown(context, of_jobs)) == 2
    await show("alice")
    assert list(await shown(context, of_jobs)) == ["hpc_job_info chemistry alice 1 job running"]
    assert list(await shown(context, counters)) == ["hpc_job_transitions_total chemistry alice none running"]
    context.display.expired(KEY)
    assert not await shown(context, [*of_jobs, *counters, "hpc_jobs", "hpc_member_jobs"])
    assert context.display.per_job
    assert (
        len(context.display.per_job.grant("another", "own", "bob", [job(str(n), RUNNING, "") for n in range(20)])) == 10
    )
    await service.stop()
