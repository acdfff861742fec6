"""Which failures are one incident, and so one line in the log."""

import asyncio

import pytest
from structlog.typing import EventDict

from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    NotThereError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    UnexpectedStatusError,
    UntrustedCertificateError,
    UpstreamBusyError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.polling import Scheduler, TargetKey
from exporter.polling.health import Health, Incident, IncidentLog, SourceHealth, SourceStatus, TargetStatus
from tests.support.clock import FakeClock
from tests.support.polling import Heard, Played

ALICE = TargetKey("kunshan", "queue_jobs", "alice")
BOB = TargetKey("kunshan", "queue_jobs", "bob")
CLUSTER = TargetKey("kunshan", "schedulers", "")
ELSEWHERE = TargetKey("wuzhen", "queue_jobs", "alice")


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        # of the source
        (UpstreamConnectionError("x"), 2),
        (UpstreamTimeoutError("x"), 2),
        (UntrustedCertificateError("x"), 2),
        (ServerError("x"), 2),
        (ThrottledError("x"), 2),
        (UpstreamBusyError("x"), 2),
        # of the credential
        (AuthenticationError("x", culprit="account lab"), 2),
        # of the endpoint
        (DecodeError("x"), 3),
        (UnexpectedStatusError("x"), 3),
        # of the target
        (PermissionDeniedError("x"), 4),
        (RejectedError("x"), 4),
        (ApiError("x"), 4),
    ],
    ids=lambda value: type(value).__name__,
)
def test_how_far_a_failure_reaches(error: PollError, lines: int, logged: list[EventDict]) -> None:
    """A line for every incident, not for each of the thousands of targets that share it."""
    incidents = IncidentLog()
    for _ in range(3):
        for key in (ALICE, BOB, CLUSTER, ELSEWHERE):
            incidents.record_failure(key, error, 0.0)
    assert [entry["event"] for entry in logged] == ["polling failed"] * lines


def test_a_host_that_fails_in_changing_ways_is_one_incident(logged: list[EventDict]) -> None:
    incidents = IncidentLog()
    for error in (UpstreamTimeoutError("x"), ServerError("HTTP 502"), UpstreamConnectionError("x")) * 3:
        incidents.record_failure(ALICE, error, 0.0)
    incidents.record_success(ALICE, 90.0)
    assert [entry["event"] for entry in logged] == ["polling failed", "polling recovered"]
    assert logged[1]["after_seconds"] == 90.0


def test_two_credentials_of_a_source_are_two_incidents(logged: list[EventDict]) -> None:
    incidents = IncidentLog()
    for key, culprit in ((ALICE, "lab"), (BOB, "token of bob"), (CLUSTER, "lab")):
        incidents.record_failure(key, AuthenticationError("rejected", culprit=culprit), 0.0)
    assert [entry["target"] for entry in logged] == ["alice", "bob"]


def test_the_line_says_where_and_why(logged: list[EventDict]) -> None:
    IncidentLog().record_failure(ALICE, RejectedError("the region does not know this user"), 0.0)
    assert logged == [
        {
            "event": "polling failed",
            "log_level": "warning",
            "source": "kunshan",
            "collector": "queue_jobs",
            "target": "alice",
            "reason": "rejected",
            "error": "the region does not know this user",
        }
    ]


def test_only_the_first_sign_of_recovery_is_told_until_something_fails_again() -> None:
    """The others are not looked at, all the thousands, for each one that recovers."""
    incidents, error = IncidentLog(), UpstreamTimeoutError("x")
    for key in (ALICE, BOB, CLUSTER):
        incidents.record_failure(key, error, 0.0)
    told = [incidents.record_success(ALICE, 1.0) is not None, incidents.record_success(BOB, 1.0) is not None]
    incidents.record_failure(CLUSTER, error, 2.0)
    told += [incidents.record_success(BOB, 3.0) is not None, incidents.record_success(CLUSTER, 3.0) is not None]
    assert told == [True, False, False, True]


async def test_targets_that_recover_together_look_at_each_other_once(
    scheduler: Scheduler, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work for one target must not grow with the number of the others."""
    looked_at: list[int] = []

    class Counting(IncidentLog):
        def affected_by(self, incident: Incident) -> frozenset[TargetKey]:
            affected = super().affected_by(incident)
            looked_at.append(len(affected))
            return affected

    monkeypatch.setattr(scheduler._health, "_incidents", Counting())
    many = [Played(clock, str(n), error=UpstreamConnectionError("down")) for n in range(500)]
    scheduler.update([played.target() for played in many])
    await poll_everything_once(scheduler)
    for played in many:
        played.error = None
    await poll_everything_once(scheduler)
    assert all(status.up for status in scheduler.statuses)
    assert looked_at == [len(many) - 1]


async def poll_everything_once(scheduler: Scheduler) -> None:
    for status in scheduler.statuses:
        if status.timer is not None:
            status.timer.cancel()
        scheduler._start(status)
    await FakeClock().settle()


async def test_an_optional_endpoint_that_is_not_there_is_neither_up_nor_failing(logged: list[EventDict]) -> None:
    """Its data leaves, it is said once and requested once an hour, and it does not speak for its source."""
    clock, heard = FakeClock(), Heard()
    played, scheduler = Played(clock), Scheduler(clock, heard)
    await scheduler.set_targets([played.target()])
    await clock.advance(60)
    [status] = scheduler.statuses
    assert heard.sources == [("kunshan", (None, 1, None)), ("kunshan", (True, 1, 1))]

    played.error = NotThereError("HTTP 404")
    polls = len(played.started)
    await clock.advance(60)
    assert (status.copy().state, heard.health[-1]) == ("absent", (played.key, None, False))
    assert heard.expirations == [played.key]
    assert heard.polls[-1] == (played.key, None)
    assert heard.sources[2:] == [("kunshan", (None, 0, 0))]
    assert scheduler.ready
    await clock.advance(3 * 3600)
    assert len(played.started) == polls + 4
    assert [entry["event"] for entry in logged] == ["optional endpoint is not there"]

    played.error = None
    await clock.advance(3600)
    assert heard.sources[3:] == [("kunshan", (True, 1, 1))]
    await scheduler.stop()


def test_optional_targets_decide_only_where_there_are_no_others() -> None:
    health = SourceHealth()
    health.add(ALICE)
    health.add(BOB, optional=True)
    health.record(ALICE, up=False)
    health.record(BOB, up=True)
    assert health.status == SourceStatus(up=False, targets=2, working=1)
    health.remove(ALICE)
    assert health.status == SourceStatus(up=True, targets=1, working=1)


async def test_a_copy_of_a_status_is_without_what_the_scheduler_needs() -> None:
    """It may be kept for long, and must not keep a poll or its timer."""
    clock = FakeClock()
    target = Played(clock).target()
    seen = {"up": True, "failures": 3, "last_attempt": 1.0, "last_success": 2.0, "last_error_at": 3.0, "next_poll": 4.0}
    task = asyncio.create_task(asyncio.sleep(0))
    own = {"succeeded_at": 5.0, "due": 6.0, "timer": clock.call_later(1, lambda: None), "task": task}
    status = TargetStatus(target, **seen, **own, start=task.cancel)  # type: ignore[arg-type]  # by their names
    copy = status.copy()
    assert copy.start() is None  # type: ignore[func-returns-value]  # it does nothing
    copy.start = status.start
    assert copy == TargetStatus(target, **seen, start=task.cancel)  # type: ignore[arg-type]  # the same
    await task


def test_a_target_without_success_keeps_no_other_from_becoming_stale() -> None:
    clock, heard = FakeClock(), Heard()
    health = Health(clock, heard)
    never, *others = statuses = [TargetStatus(Played(clock, name=name).target()) for name in ("alice", "bob", "carol")]
    for each in statuses:
        health.expect(each.target)
    for each in others:
        each.succeeded_at = clock.monotonic() - 181
    health.expire(statuses)
    assert (never.stale, heard.expirations) == (False, [each.key for each in others])
