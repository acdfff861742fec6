"""The tracker's counters are shown as long as they can be counted."""

import pytest
from structlog.testing import capture_logs

from exporter.metrics.exposition import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import TargetKey
from exporter.records import Job, JobListing, JobState
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
