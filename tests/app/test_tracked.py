"""The tracker's counters are shown as long as they can be counted."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.metrics.exposition import Exposition
from exporter.metrics.format import Format
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import TargetKey
from exporter.records import Job, JobListing, JobState
from exporter.sources.jobs import SchedulerNames, joined_listing
from exporter.sources.tracked import Followed, Tracked
from exporter.tracking import MemberKey, Tracker, TrackingService
from tests.support.clock import FakeClock

ALICE = Followed(TargetKey("kunshan", "member_jobs", "1/alice"), MemberKey("kunshan", "1", "alice"), "chemistry")
LISTING = JobListing((Job("1", "", JobState.RUNNING),))


async def test_a_listing_that_cannot_be_taken_in_hides_its_member_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exposition = Exposition()
    tracked = Tracked(exposition, SelfMetrics())
    tracked.service = TrackingService(clock=FakeClock())

    async def series() -> int:
        tracked.observe(ALICE, LISTING, 60.0)
        await tracked._tasks.finish(60)
        return exposition.series

    def record(*_: object) -> None:
        raise LookupError("unforeseen")

    assert await series()
    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Tracker, "record", record)
        assert [await series() for _ in range(3)] == [0, 0, 0]
    assert [(line["log_level"], line["target"]) for line in logs] == [("error", "1/alice")]
    assert await series()


def listing(**jobs: str) -> dict[str, JobListing]:
    """Return the jobs of each scheduler."""
    return {
        scheduler: JobListing(tuple(Job(each, "", JobState.RUNNING, scheduler=scheduler) for each in ids.split()))
        for scheduler, ids in jobs.items()
    }


async def test_of_two_jobs_with_one_id_each_keeps_the_name_that_it_was_given() -> None:
    """Also when the other one is listed no longer, and after a restart, which forgets all but what the tracker follows."""
    region = Region()
    context: Any = region

    names = SchedulerNames(context, "kunshan")
    for found, wanted in (
        (listing(B="1"), {"1"}),
        (listing(A="1 2", B="1 3"), {"1", "2", "3", "1@A"}),
        (listing(A="1"), {"1@A"}),
        (listing(A="1", C="1"), {"1@A", "1@C"}),
        (listing(C="1"), {"1@C"}),
        (listing(C="1", A="4"), {"1@C", "4"}),
        ({}, set()),
        ({}, set()),
        (listing(C="1"), {"1"}),
    ):
        for each in (names, SchedulerNames(context, "kunshan")):
            joined = joined_listing(found, each.known(found).get(ALICE.member, {}))
            assert {job.id for job in joined.jobs} == wanted
        await region.poll(ALICE, *joined.jobs)


async def test_each_keeps_its_name_also_without_a_tracker() -> None:
    region = Region()
    region.tracked.service = None
    context: Any = region
    names = SchedulerNames(context, "kunshan")
    for found, wanted in (
        (listing(B="1"), {"1": "B"}),
        (listing(A="1 2", B="1 3"), {"1": "B", "3": "B", "2": "A", "1@A": "A"}),
        (listing(A="1"), {"1@A": "A"}),
        (listing(A="1", B="1"), {"1@A": "A", "1": "B"}),
        (listing(A="1", B="1"), {"1@A": "A", "1": "B"}),
        (listing(B="1"), {"1": "B"}),
        (listing(A="1", B="1"), {"1@A": "A", "1": "B"}),
        ({"A": JobListing((), rejected=1)}, {}),
        (listing(A="1"), {"1@A": "A"}),
        ({}, {}),
        (listing(A="1"), {"1": "A"}),
    ):
        known = names.known(found).get(ALICE.member, {})
        joined = joined_listing({each: found[each] for each in names.in_order(found)}, known)
        names.remember([(ALICE.member, joined)])
        assert {job.id: job.scheduler for job in joined.jobs} == wanted


class Region:
    """Two members of a region, polled by a clock that the tests move."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.exposition = Exposition()
        self.tracked = Tracked(self.exposition, SelfMetrics())
        self.tracked.service = TrackingService(clock=self.clock)

    async def poll(self, followed: Followed, *jobs: Job) -> None:
        self.tracked.observe(followed, JobListing(jobs), 60.0)
        await self.tracked._tasks.finish(60)

    async def waits(self, followed: Followed, count: int = 6, **more: Any) -> None:
        """Let `count` jobs, one after the other, wait and start."""
        for number in range(count):
            for states in ((), (JobState.QUEUED,), (JobState.RUNNING,), (), ()):
                await self.clock.advance(60)
                await self.poll(followed, *(Job(f"{number}", "", state, **more) for state in states))

    async def shown(self) -> dict[str, str]:
        """Return the values of bounds and scores, by family and labels."""
        body = (await self.exposition.body(Format.TEXT, compress=False)).decode()
        lines = (line.rsplit(" ", 1) for line in body.splitlines() if line.startswith("hpc_wait_bound"))
        return {name.removeprefix("hpc_wait_bound_"): value for name, value in lines}


BOB = Followed(TargetKey("kunshan", "member_jobs", "2/bob"), MemberKey("kunshan", "2", "bob"), "physics")


async def test_bounds_of_waits_are_of_a_queue_or_of_a_group() -> None:
    region = Region()
    await region.waits(ALICE, 5, queue="comp")
    assert await region.shown() == {
        'seconds{hpc_cluster="kunshan",group="",queue="comp",quantile="0.5"}': "120",
        'checked_total{hpc_cluster="kunshan",group="",queue="comp",quantile="0.5"}': "0",
        'held_total{hpc_cluster="kunshan",group="",queue="comp",quantile="0.5"}': "0",
    }
    await region.waits(BOB, requested_dcus=4)
    shown = await region.shown()
    labels = 'hpc_cluster="kunshan",group="physics",queue="",quantile="0.5",accelerated="true"'
    assert shown[f"seconds{{{labels}}}"] == "120"
    assert (shown[f"checked_total{{{labels}}}"], shown[f"held_total{{{labels}}}"]) == ("1", "1")
    assert len(shown) == 6


async def test_bounds_go_with_what_they_are_of() -> None:
    region = Region()
    await region.waits(ALICE, queue="comp")
    await region.waits(BOB)
    assert [group for group, _ in region.tracked.waits()] == ["", "physics"]
    region.tracked.hide(BOB.target)
    assert [group for group, _ in region.tracked.waits()] == [""]
    assert len(await region.shown()) == 3
    region.tracked.hide(ALICE.target)
    assert region.tracked.waits() == []
    assert await region.shown() == {}
    await region.poll(BOB._replace(group="physicists"))
    assert [group for group, _ in region.tracked.waits()] == ["", "physicists"]
    assert 'seconds{hpc_cluster="kunshan",group="physicists",queue="",quantile="0.5"}' in await region.shown()
    region.tracked.hide_all()
    assert await region.shown() == {}


async def test_a_label_that_changes_moves_the_bounds_along() -> None:
    region = Region()
    await region.waits(BOB)
    await region.poll(BOB._replace(group="physicists"))
    assert {name.split(",")[1] for name in await region.shown()} == {'group="physicists"'}
