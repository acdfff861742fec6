"""When targets are polled, what is done with their answers, and what of them is shown."""

import asyncio
import random
import weakref
from dataclasses import replace

import pytest

from exporter.errors import (
    RejectedError,
    ThrottledError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.polling import Scheduler, TargetStatus
from exporter.polling.scheduler import (
    Outcome,
    backoff_delay,
    first_delay,
    poll_target,
    regular_delay,
    second_delay,
)
from tests.support.clock import FakeClock, FakeTimer
from tests.support.polling import Heard, Played, running_tasks

DOWN = UpstreamConnectionError("cannot connect", culprit="h")


def update(scheduler: Scheduler, *played: Played) -> None:
    scheduler.update([target.target() for target in played])


# The start


async def test_all_targets_are_tried_within_a_second_but_not_at_once(scheduler: Scheduler, clock: FakeClock) -> None:
    many = [Played(clock, name=str(n)) for n in range(200)]
    update(scheduler, *many)
    start = clock.monotonic()
    await clock.advance(1.0)
    moments = {target.started[0] - start for target in many}
    assert len(moments) > 190
    assert min(moments) < 0.1
    assert 0.9 < max(moments) <= 1.0


async def test_it_is_ready_once_everything_was_tried_whatever_came_of_it(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    good, bad, slow = Played(clock, "a"), Played(clock, "b", error=DOWN), Played(clock, "c", seconds=5.0)
    waiting = asyncio.create_task(scheduler.wait_ready())
    seen = [scheduler.ready]
    update(scheduler, good, bad, slow)
    await clock.advance(4.9)
    seen.append(scheduler.ready)
    await clock.advance(1.2)
    seen.append(scheduler.ready)
    assert seen == [False, False, True]
    await asyncio.wait_for(waiting, 100)


async def test_readiness_is_not_taken_back_by_a_reload(scheduler: Scheduler, clock: FakeClock) -> None:
    first = Played(clock, "a")
    update(scheduler, first)
    await clock.advance(1)
    update(scheduler, first, Played(clock, "b"))
    assert scheduler.ready


async def test_it_becomes_ready_when_the_last_untried_target_is_removed(scheduler: Scheduler, clock: FakeClock) -> None:
    tried, never = Played(clock, "a"), Played(clock, "b", source="other", seconds=1e6)
    update(scheduler, tried, never)
    await clock.advance(1)
    assert not scheduler.ready
    update(scheduler, tried)
    assert scheduler.ready


# The rhythm


async def test_the_rhythm_is_steady_from_the_second_poll_on(scheduler: Scheduler, clock: FakeClock) -> None:
    target = Played(clock, seconds=2.0)
    update(scheduler, target)
    await clock.advance(20 * 60)
    assert 30 <= target.gaps[0] <= 90 + 2.0
    assert target.gaps[1:] == pytest.approx([60.0] * len(target.gaps[1:]))
    assert len(target.started) >= 19


async def test_phases_are_spread_over_the_interval_and_the_same_after_every_restart(
    clock: FakeClock, heard: Heard
) -> None:
    """A region must not see all its polls in the same second of every minute."""
    many = [Played(clock, name=f"user-{n}") for n in range(100)]
    phases = [second_delay(target.key, 60.0) for target in many]
    assert phases == [second_delay(target.key, 60.0) for target in many]
    assert all(30 <= phase < 90 for phase in phases)
    in_tenths = [sum(1 for phase in phases if 6 * n <= phase - 30 < 6 * (n + 1)) for n in range(10)]
    assert min(in_tenths) >= 3


@pytest.mark.parametrize("seconds", [59.0, 60.0, 61.0, 150.0, 1000.0])
async def test_a_slow_poll_never_overlaps_with_the_next_one_and_keeps_the_phase(
    scheduler: Scheduler, clock: FakeClock, seconds: float
) -> None:
    target = Played(clock, seconds=seconds, stale_after=1e9)
    update(scheduler, target)
    await clock.advance(20_000)
    assert target.most_under_way == 1
    assert len(target.started) > 20_000 / (seconds + 61) - 1
    off_phase = [gap % 60 for gap in target.gaps[1:]]
    assert all(min(rest, 60 - rest) < 1e-3 for rest in off_phase)


async def test_targets_that_are_polled_together_are_due_at_the_same_moments_also_after_failures(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    sources = [Played(clock, source=name, together="lab", seconds=3) for name in ("kunshan", "xian", "harbin")]
    scheduler.update([each.target() for each in sources])
    await clock.advance(300)

    def since(at: float) -> list[list[float]]:
        return [[round(moment, 3) for moment in each.started if moment >= at] for each in sources]

    in_step = since(clock.monotonic() - 180)
    assert len(in_step[0]) == 3
    assert in_step[1:] == [in_step[0]] * 2
    for each in sources[:2]:
        each.error = UpstreamTimeoutError("slow")
    polls = len(sources[0].started)
    await clock.advance(1200)
    assert sources[0].gaps[polls] < 1.5 * 60 + 3, "one failure delays nothing by more than the way to the next moment"
    for each in sources[:2]:
        each.error = None
    await clock.advance(1200)
    in_step = since(clock.monotonic() - 180)
    assert len(in_step[0]) == 3
    assert in_step[1:] == [in_step[0]] * 2


@pytest.mark.parametrize(("seconds", "gap"), [(0.0, 60), (53.7, 60), (54.3, 120), (61.0, 120)])
async def test_a_poll_that_ends_shortly_before_a_shared_moment_waits_for_the_next_one(
    scheduler: Scheduler, clock: FakeClock, seconds: float, gap: float
) -> None:
    """All the others have their answer shortly after it."""
    target = Played(clock, together="lab", seconds=seconds)
    update(scheduler, target)
    await clock.advance(1000)
    assert target.gaps[1:] == pytest.approx([gap] * len(target.gaps[1:]))
    assert len(target.gaps) >= 7


@pytest.mark.parametrize(("seconds", "gap"), [(25.0, 60), (35.0, 120)])
async def test_after_a_failure_the_next_shared_moment_is_at_least_half_an_interval_away(
    scheduler: Scheduler, clock: FakeClock, seconds: float, gap: float
) -> None:
    target = Played(clock, together="lab")
    update(scheduler, target)
    await clock.advance(300)
    target.error, target.seconds, polls = DOWN, seconds, len(target.started)
    await clock.advance(200)
    assert target.gaps[polls] == pytest.approx(gap)


async def test_a_pause_ends_at_the_next_moment_of_targets_that_are_polled_together(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    """One that the upstream asked for, one after failures, and one that a success of the same source ends."""
    steady = Played(clock, source="xian", together="lab")
    polite = Played(clock, source="harbin", together="lab", error=ThrottledError("slow down", retry_after=300.0))
    first, other = (Played(clock, name, together="lab", error=DOWN) for name in "ab")
    update(scheduler, steady, polite, first, other)
    await clock.advance(4000)
    phase = steady.started[1] % 60
    for each in (polite, first, other):
        off = [(moment - phase) % 60 for moment in each.started[1:]]
        assert all(min(rest, 60 - rest) < 1e-3 for rest in off)
    assert 300 <= polite.gaps[0] < 360
    assert 30 <= first.gaps[0] < 90
    polls = len(other.started)
    first.error = other.error = None
    scheduler.poll_soon([first.key])
    await clock.advance(62)
    assert len(other.started) == polls + 1
    assert min((other.started[-1] - phase) % 60, 60 - (other.started[-1] - phase) % 60) < 1e-3


async def test_how_long_a_poll_took_is_reported(scheduler: Scheduler, clock: FakeClock, heard: Heard) -> None:
    update(scheduler, Played(clock, seconds=2.5))
    await clock.advance(10)
    assert heard.seconds == pytest.approx([2.5])


# Failures


async def test_failures_slow_a_target_down_to_ten_intervals_and_a_success_ends_that(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    target = Played(clock, error=RejectedError("no such user"))
    update(scheduler, target)
    await clock.advance(3 * 3600)
    gaps = target.gaps
    assert gaps[0] == pytest.approx(60)
    for n, gap in enumerate(gaps[1:4], start=1):
        assert 0.9 * 60 * 2**n <= gap <= 60 * 2**n
    assert all(540 <= gap <= 600 for gap in gaps[4:])
    target.error = None
    await clock.advance(601)
    polls = len(target.started)
    await clock.advance(600)
    assert len(target.started) - polls == 10
    assert target.gaps[-9:] == pytest.approx([60.0] * 9)


async def test_a_pause_that_the_upstream_asked_for_is_kept_but_not_beyond_ten_intervals(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    polite = Played(clock, "a", error=ThrottledError("slow down", retry_after=300.0))
    endless = Played(clock, "b", error=ThrottledError("slow down", retry_after=float("inf")))
    update(scheduler, polite, endless)
    await clock.advance(1300)
    assert polite.gaps[0] == pytest.approx(300)
    assert endless.gaps[0] == pytest.approx(600)


async def test_a_failed_poll_publishes_nothing_and_says_why(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    target = Played(clock, error=DOWN)
    update(scheduler, target)
    await clock.advance(1)
    (status,) = scheduler.statuses
    assert target.published == []
    assert heard.polls == [(target.key, DOWN)]
    assert (status.up, status.last_error, status.last_error_at) == (False, DOWN, status.last_attempt)
    assert status.last_success is None
    assert status.failures == 1
    assert status.next_poll == pytest.approx(clock.now() + status.due - clock.monotonic())


async def test_a_single_poll_hands_out_what_it_published(clock: FakeClock) -> None:
    target = Played(clock, seconds=2.0)
    polling = asyncio.create_task(poll_target(target.target(), clock))
    await clock.advance(2.0)
    assert await polling == Outcome(target.key, clock.now(), 2.0, 1)
    target.error, target.seconds = DOWN, 0.0
    assert await poll_target(target.target(), clock) == Outcome(target.key, clock.now(), 0.0, error=DOWN)


async def test_a_success_clears_the_error(scheduler: Scheduler, clock: FakeClock) -> None:
    target = Played(clock, error=DOWN)
    update(scheduler, target)
    await clock.advance(1)
    target.error = None
    await clock.advance(61)
    (status,) = scheduler.statuses
    assert (status.up, status.last_error, status.failures, status.stale) == (True, None, 0, False)
    assert target.published == [2]


@pytest.mark.parametrize("where", ["error", "publish_error"])
@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("x"), asyncio.CancelledError()], ids=repr)
async def test_an_unforeseen_exception_is_logged_and_does_not_stop_the_target(
    scheduler: Scheduler, clock: FakeClock, logged: list[dict[str, object]], where: str, error: BaseException
) -> None:
    """Also a cancellation that is not ours: of a login that many polls wait for, say."""
    target = Played(clock)
    setattr(target, where, error)
    update(scheduler, target)
    await clock.advance(1)
    assert [entry["event"] for entry in logged] == [
        "a poll failed in an unforeseen way; please report this",
        "polling failed",
    ]
    assert {"source": "kunshan", "collector": "queue_jobs", "target": "alice"}.items() <= logged[0].items()
    assert scheduler.ready
    setattr(target, where, None)
    await clock.advance(61)
    assert scheduler.statuses[0].up
    assert target.published[-1] == 2


async def test_an_error_that_is_remembered_keeps_nothing_of_its_poll_alive(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    """The body of an answer, say: of ten thousand failing targets that would be much memory."""

    class Answer:
        pass

    answers: list[weakref.ref[Answer]] = []

    async def poll() -> None:
        answer = Answer()
        answers.append(weakref.ref(answer))
        try:
            int("no number")
        except ValueError as error:
            raise UpstreamConnectionError("hung up", culprit="h") from error

    played = Played(clock)
    scheduler.update([replace(played.target(), poll=poll)])
    await clock.advance(2)
    assert str(scheduler.statuses[0].last_error) == "hung up"
    assert [answer() for answer in answers] == [None]


# Recovery


async def test_the_first_success_after_an_outage_brings_the_others_of_the_region_forward(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    region = [Played(clock, str(n), error=DOWN) for n in range(50)]
    lonely = Played(clock, "lonely", error=RejectedError("no such user"))
    elsewhere = Played(clock, "0", source="other", error=DOWN)
    update(scheduler, *region, lonely, elsewhere)
    await clock.advance(3600)
    due = [status.due for status in scheduler.statuses]
    for target in region:
        target.error = None
    first = min(due[:50]) - clock.monotonic()
    await clock.advance(first + 60.001)
    assert all(status.up for status in scheduler.statuses[:50])
    assert [scheduler.statuses[n].up for n in (50, 51)] == [False, False]
    assert all(gap >= 540 for target in (lonely, elsewhere) for gap in target.gaps[4:]), "theirs is another incident"


async def test_polls_that_are_brought_forward_do_not_come_all_at_once(scheduler: Scheduler, clock: FakeClock) -> None:
    region = [Played(clock, str(n), error=DOWN) for n in range(100)]
    update(scheduler, *region)
    await clock.advance(3600)
    for target in region:
        target.error = None
    await clock.advance(661)
    last = sorted(target.started[-1] for target in region)
    assert max(sum(1 for t in last if start <= t < start + 5) for start in last) < 30


async def test_a_region_that_breaks_again_while_it_recovers_is_brought_forward_again(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    first, second, third = (Played(clock, name, error=DOWN) for name in "abc")
    update(scheduler, first, second, third)
    await clock.advance(7200)
    first.error = None
    scheduler.poll_soon([first.key])
    await clock.advance(62)
    assert third.started[-1] > clock.monotonic() - 62, "brought forward by the first success, and failed again"
    await clock.advance(3 * 3600)
    waits = [status.due - clock.monotonic() for status in scheduler.statuses[1:]]
    second.error = third.error = None
    if max(waits) <= 120:
        await clock.advance(121)
    scheduler.poll_soon([second.key])
    await clock.advance(62)
    assert scheduler.statuses[2].up


async def test_a_success_brings_no_second_poll_of_a_target_that_is_polled_just_then(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    first, slow = Played(clock, "a", error=DOWN), Played(clock, "b", error=DOWN)
    update(scheduler, first, slow)
    await clock.advance(3600)
    first.error, slow.seconds = None, 50.0
    scheduler.poll_soon([slow.key])
    await clock.advance(1.0)
    scheduler.poll_soon([first.key])
    await clock.advance(1.0)
    assert (slow.under_way, first.published[-1:]) == (1, [len(first.started)])
    assert [status.timer is None for status in scheduler.statuses] == [False, True]


async def test_poll_soon_brings_a_backing_off_target_forward_and_delays_nothing(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    slow, soon = Played(clock, "slow", error=RejectedError("x")), Played(clock, "soon")
    update(scheduler, slow, soon)
    await clock.advance(3600)
    scheduler.poll_soon([slow.key, soon.key, Played(clock, "unknown").key])
    await clock.advance(1.0)
    assert slow.started[-1] >= clock.monotonic() - 1
    status = scheduler.statuses[1]
    scheduler._schedule(status, 0.001)
    scheduler.poll_soon([soon.key])
    assert status.due - clock.monotonic() == pytest.approx(0.001)


# Staleness


async def test_data_is_let_go_once_it_is_older_than_stale_after_and_comes_back(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    target = Played(clock, interval=60, stale_after=180)
    update(scheduler, target)
    await clock.advance(1)
    (status,) = scheduler.statuses
    assert status.succeeded_at is not None
    target.error = DOWN
    await clock.advance(status.succeeded_at + 180 - clock.monotonic())
    scheduler.expire()
    assert heard.expirations == [], "exactly as old is not older"
    await clock.advance(0.01)
    scheduler.expire()
    scheduler.expire()
    assert heard.expirations == [target.key]
    assert heard.health[-1] == (target.key, False, True)
    await clock.advance(4000)
    scheduler.expire()
    assert heard.expirations == [target.key], "it is said once"
    target.error = None
    await clock.advance(601)
    assert (status.up, status.stale) == (True, False)
    target.error = DOWN
    await clock.advance(10_000)
    scheduler.expire()
    assert heard.expirations == [target.key] * 2


async def test_data_that_expires_while_it_is_replaced_does_not_take_the_new_one_away(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    target = Played(clock, interval=60, stale_after=55, publish_seconds=10)
    update(scheduler, target)
    (status,) = scheduler.statuses
    while len(target.published) < 2:  # the first interval may be a shorter one
        await clock.advance(1)
    assert status.succeeded_at is not None
    await clock.advance(status.succeeded_at + 55.5 - clock.monotonic())
    assert (len(target.started), len(target.published)) == (3, 2)
    scheduler.expire()
    assert heard.expirations == []
    target.error = DOWN
    await clock.advance(10)
    assert (status.up, status.stale) == (True, False)
    await clock.advance(100)
    scheduler.expire()
    assert heard.expirations == [target.key]


async def test_a_target_that_never_worked_is_stale_and_has_nothing_to_let_go(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    update(scheduler, Played(clock, error=DOWN))
    await clock.advance(10_000)
    scheduler.expire()
    assert scheduler.statuses[0].stale
    assert heard.expirations == []


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
async def test_a_wall_clock_that_jumps_changes_neither_rhythm_nor_staleness(
    scheduler: Scheduler, clock: FakeClock, heard: Heard, jump: float
) -> None:
    target = Played(clock)
    update(scheduler, target)
    await clock.advance(200)
    clock.jump(jump)
    await clock.advance(600)
    scheduler.expire()
    assert target.gaps[1:] == pytest.approx([60.0] * len(target.gaps[1:]))
    assert heard.expirations == []
    assert scheduler.statuses[0].last_success == pytest.approx(clock.now(), abs=60)


# Reloads


async def test_a_new_target_is_polled_a_kept_one_keeps_its_rhythm_and_a_removed_one_is_let_alone(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    kept, removed, added = Played(clock, "kept"), Played(clock, "removed"), Played(clock, "added")
    update(scheduler, kept, removed)
    await clock.advance(300)
    due = scheduler.statuses[0].due
    update(scheduler, added, kept)
    assert [status.key.target for status in scheduler.statuses] == ["added", "kept"]
    assert scheduler.statuses[1].due == due
    assert heard.removals == [removed.key]
    polls = len(removed.started)
    await clock.advance(300)
    assert len(removed.started) == polls
    assert len(added.started) >= 4


async def test_a_removed_targets_poll_under_way_publishes_nothing(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    asking, publishing = Played(clock, "a", seconds=5.0), Played(clock, "b", publish_seconds=5.0)
    update(scheduler, asking, publishing)
    await clock.advance(2)
    scheduler.update([])
    await clock.advance(100)
    assert (asking.published, publishing.published) == ([], [])
    assert heard.polls == []
    assert running_tasks() == 0
    assert clock.pending == []


async def test_another_thing_under_the_same_name_starts_anew(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    """A cluster's address was changed: what the old one said must not be shown as the new one's."""
    old = Played(clock, identity="old", seconds=5.0)
    update(scheduler, old)
    await clock.advance(3)
    new = Played(clock, identity="new")
    update(scheduler, new)
    assert heard.removals == [old.key]
    assert scheduler.statuses[0].up is None
    await clock.advance(1.0)
    assert (old.published, new.published) == ([], [1])
    await clock.advance(600)
    assert old.published == []
    assert new.most_under_way == 1


async def test_a_kept_targets_poll_under_way_ends_and_the_next_uses_the_new_settings(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    old = Played(clock, seconds=5.0)
    update(scheduler, old)
    await clock.advance(3)
    new = Played(clock, interval=10.0, stale_after=30.0)
    update(scheduler, new)
    await clock.advance(3)
    assert old.published == [1]
    await clock.advance(100)
    assert len(old.started) == 1
    assert new.gaps == pytest.approx([10.0] * len(new.gaps))


async def test_a_shorter_interval_takes_effect_within_it(scheduler: Scheduler, clock: FakeClock) -> None:
    old = Played(clock, interval=3600, stale_after=1e5)
    update(scheduler, old)
    await clock.advance(2)
    new = Played(clock, interval=10.0)
    update(scheduler, new)
    assert clock.pending == pytest.approx([10.0])
    await clock.advance(4)
    update(scheduler, Played(clock, interval=20.0))
    assert clock.pending == pytest.approx([6.0]), "a longer one delays nothing"
    update(scheduler, new)
    await clock.advance(6)
    assert len(new.started) == 1


async def test_a_shorter_stale_after_takes_effect_at_once(scheduler: Scheduler, clock: FakeClock, heard: Heard) -> None:
    update(scheduler, Played(clock, stale_after=1000))
    await clock.advance(1)
    scheduler.expire()
    failing = Played(clock, stale_after=20, interval=60)
    update(scheduler, failing)
    await clock.advance(25)
    scheduler.expire()
    assert heard.expirations == [failing.key]


def fire(status: TargetStatus) -> None:
    """Let a target's timer go off without letting any task go on."""
    timer = status.timer
    assert isinstance(timer, FakeTimer)
    timer.cancel()
    timer.callback()


async def test_an_update_between_a_timer_and_its_poll_does_not_poll_twice(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    """The timer has fired, the poll's task has not begun."""
    target = Played(clock, seconds=1.0)
    update(scheduler, target)
    (status,) = scheduler.statuses
    await clock.advance(100)
    fire(status)
    scheduler.poll_soon([target.key])
    update(scheduler, Played(clock, interval=1.0, seconds=1.0))
    await clock.advance(0.9)
    assert target.most_under_way == 1
    assert clock.pending != []
    assert len(clock.pending) == 1, "the poll's own sleep, and no second timer"


async def test_a_target_removed_between_a_timer_and_its_poll_is_not_polled(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    target = Played(clock)
    update(scheduler, target)
    fire(scheduler.statuses[0])
    scheduler.update([])
    await clock.advance(100)
    assert target.started == []
    assert running_tasks() == 0


# Sources


async def test_a_source_answers_once_one_target_worked_until_all_fail(
    scheduler: Scheduler, clock: FakeClock, heard: Heard
) -> None:
    a, b = Played(clock, "a"), Played(clock, "b", seconds=10)
    cores = Played(clock, "", collector="region_cores", optional=True)
    update(scheduler, a, b, cores)
    assert heard.sources == [("kunshan", (None, 3, None))]
    await clock.advance(15)
    assert heard.sources[-1] == ("kunshan", (True, 3, 3))
    b.error = DOWN
    await clock.advance(120)
    assert heard.sources[-1] == ("kunshan", (True, 3, 2))
    a.error = DOWN
    await clock.advance(120)
    assert heard.sources[-1] == ("kunshan", (False, 3, 1)), "an optional target does not say that it answers"
    update(scheduler, b)
    assert heard.sources[-1] == ("kunshan", (False, 1, 0)), "the others are gone"


# The end


async def test_stopping_leaves_no_task_and_no_timer(scheduler: Scheduler, clock: FakeClock) -> None:
    update(scheduler, Played(clock, "a", seconds=1000), Played(clock, "b", publish_seconds=1000), Played(clock, "c"))
    await clock.advance(10)
    await scheduler.stop()
    assert running_tasks() == 0
    assert clock.pending == []
    await scheduler.stop()


async def test_a_poll_that_ignores_its_cancellation_is_not_followed_by_another(clock: FakeClock, heard: Heard) -> None:
    class Stubborn(Played):
        async def poll(self) -> int:
            try:
                return await super().poll()
            except asyncio.CancelledError:
                return 0

    scheduler, target = Scheduler(clock, heard), Stubborn(clock, seconds=1000)
    update(scheduler, target)
    await clock.advance(10)
    await scheduler.stop()
    await clock.advance(1000)
    assert len(target.started) == 1
    assert clock.pending == []


# The log


def events(logged: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(e["log_level"], e["event"], e["source"], e.get("reason", e.get("targets"))) for e in logged]


async def test_a_region_that_breaks_is_one_line_and_one_when_it_recovers(
    scheduler: Scheduler, clock: FakeClock, logged: list[dict[str, object]]
) -> None:
    region = [Played(clock, str(n)) for n in range(100)]
    update(scheduler, *region)
    await clock.advance(200)
    for n, target in enumerate(region):
        target.error = DOWN if n % 2 else UpstreamTimeoutError("no answer", culprit="h")
    await clock.advance(3600)
    assert len(logged) == 1
    assert events(logged)[0][:3] == ("warning", "polling failed", "kunshan")
    for target in region:
        target.error = None
    await clock.advance(3600)
    assert events(logged)[1:] == [("info", "polling recovered", "kunshan", 100)]
    assert isinstance(logged[1]["after_seconds"], float)
    assert 3500 < logged[1]["after_seconds"] < 5000


async def test_an_incident_that_turns_into_another_is_not_over_between(
    scheduler: Scheduler, clock: FakeClock, logged: list[dict[str, object]]
) -> None:
    target = Played(clock, error=DOWN)
    update(scheduler, target)
    await clock.advance(10)
    target.error = RejectedError("no such user")
    await clock.advance(600)
    target.error = None
    await clock.advance(1200)
    assert [entry["event"] for entry in logged] == ["polling failed", "polling failed", "polling recovered"]


async def test_a_removed_target_takes_its_incident_along_silently(
    scheduler: Scheduler, clock: FakeClock, logged: list[dict[str, object]]
) -> None:
    update(scheduler, Played(clock, error=DOWN))
    await clock.advance(10)
    scheduler.update([])
    update(scheduler, Played(clock, error=DOWN))
    await clock.advance(10)
    assert [entry["event"] for entry in logged] == ["polling failed", "polling failed"]


# The schedule's arithmetic


def test_the_first_delay_of_a_short_interval_is_within_half_of_it() -> None:
    rng = random.Random(2)  # noqa: S311 - repeatable
    assert max(first_delay(0.5, rng) for _ in range(100)) <= 0.25


@pytest.mark.parametrize(
    ("due", "now", "delay"),
    [(100, 100, 60), (100, 102, 58), (100, 159, 1), (100, 160, 60), (100, 225, 55), (100, 99, 60)],
)
def test_missed_moments_are_not_made_up_for(due: float, now: float, delay: float) -> None:
    assert regular_delay(due, now, 60) == delay


@pytest.mark.parametrize("failures", [1, 2, 5, 1000, 10**9])
def test_no_backoff_is_longer_than_ten_intervals(failures: int) -> None:
    rng = random.Random(3)  # noqa: S311 - repeatable
    for retry_after in (None, 0.0, 1e9, float("inf")):
        assert 60 <= backoff_delay(failures, 60, retry_after, rng) <= 600


# Bit by bit


async def test_thousands_of_targets_are_taken_and_left_bit_by_bit(scheduler: Scheduler, clock: FakeClock) -> None:
    """Others have their turn many times meanwhile, and it ends with exactly these targets, in their order."""
    many = [Played(clock, name=str(n)) for n in range(2000)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(others())
    await scheduler.set_targets([target.target() for target in many])
    assert turns >= 10
    assert [status.key for status in scheduler.statuses] == [target.key for target in many]
    turns = 0
    await scheduler.set_targets([target.target() for target in reversed(many[:3])])
    assert turns >= 10
    assert [status.key.target for status in scheduler.statuses] == ["2", "1", "0"]
    watching.cancel()


async def test_what_is_taken_bit_by_bit_is_not_ready_before_its_last_target(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    """Nor does its source count as up, although the first targets were tried long ago."""
    many = [Played(clock, name=str(n)) for n in range(1000)]
    taking = asyncio.create_task(scheduler.set_targets([target.target() for target in many]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert 0 < len(scheduler.statuses) < len(many)
    await clock.advance(0.0)
    assert not scheduler.ready
    await taking
    assert not scheduler.ready
    await clock.advance(2.0)
    assert scheduler.ready


@pytest.mark.parametrize("bit_by_bit", [False, True])
async def test_an_update_in_between_has_the_last_word(
    scheduler: Scheduler, clock: FakeClock, *, bit_by_bit: bool
) -> None:
    """A target that was only announced is not waited for."""
    many = [Played(clock, name=str(n)) for n in range(1000)]
    taking = asyncio.create_task(scheduler.set_targets([target.target() for target in many]))
    await asyncio.sleep(0)
    if bit_by_bit:
        await scheduler.set_targets([many[0].target()])
    else:
        update(scheduler, many[0])
    await taking
    await clock.advance(2.0)
    assert [status.key for status in scheduler.statuses] == [many[0].key]
    assert scheduler.ready


async def test_replaced_polls_are_those_of_targets_that_have_been_replaced(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    """They go on, and what they bring is shown; polls of other sources and of the new targets are not waited for."""
    old, new = Played(clock, seconds=10), Played(clock, seconds=1000)
    other = Played(clock, source="xian", seconds=1000)
    update(scheduler, old, other)
    await clock.advance(2)
    assert old.under_way == other.under_way == 1
    update(scheduler, new, other)
    waiting = asyncio.create_task(scheduler.replaced_polls("kunshan"))
    await clock.advance(5)
    assert not waiting.done()
    await clock.advance(10)
    assert waiting.done()
    assert old.published == [1]
    await clock.advance(60)
    assert new.under_way == 1
    await scheduler.replaced_polls("kunshan")
    update(scheduler, other)
    await scheduler.replaced_polls("kunshan")
    assert new.under_way == 0, "its target is gone"


async def test_a_replaced_poll_that_hangs_is_waited_for_until_its_data_would_be_stale(
    scheduler: Scheduler, clock: FakeClock
) -> None:
    hanging, new = Played(clock, seconds=1e9, stale_after=0.05), Played(clock)
    update(scheduler, hanging)
    await clock.advance(2)
    assert hanging.under_way == 1
    update(scheduler, new)
    await asyncio.wait_for(scheduler.replaced_polls("kunshan"), 60)
    assert hanging.under_way == 1


async def test_a_poll_that_is_removed_before_it_begins_leaves_nothing(scheduler: Scheduler, clock: FakeClock) -> None:
    played = Played(clock)
    update(scheduler, played)
    scheduler._start(scheduler.statuses[0])
    update(scheduler)
    assert scheduler._polls
    await clock.settle()
    assert (scheduler._polls, played.started) == ({}, [])
