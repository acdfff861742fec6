"""The scheduler against a plain model, whatever happens in whatever order."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Literal

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.errors import (
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    ServerError,
    ThrottledError,
    UpstreamConnectionError,
)
from exporter.polling import Scheduler, TargetKey
from exporter.polling.health import SourceHealth
from tests.support.clock import FakeClock
from tests.support.polling import Heard, Played

OUTCOMES: list[BaseException | None] = [
    None,
    UpstreamConnectionError("down"),
    ServerError("HTTP 502"),
    ThrottledError("slow down", retry_after=100.0),
    AuthenticationError("rejected", culprit="lab"),
    PermissionDeniedError("no"),
    DecodeError("html"),
    KeyError("unforeseen"),
    asyncio.CancelledError(),
]
KEYS = st.tuples(st.sampled_from(["kunshan", "wuzhen"]), st.sampled_from("abc"))
LONGEST_INTERVAL = 60.0


@dataclass
class Known:
    """The model of a target: its configuration, and how its polls ended as the listener heard it."""

    played: Played
    up: bool | None = None
    succeeded_at: float | None = None
    expired: bool = False
    unpublished: list[int] = field(default_factory=list)


class SchedulerMachine(RuleBasedStateMachine):
    """Targets come, go and change; polls work, fail, hang; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.known: dict[TargetKey, Known] = {}
        self.heard = Heard()
        self.polls_seen = self.expirations_seen = 0
        self.retired: list[tuple[Played, int]] = []
        self.everything_tried = False

    @initialize()
    def start(self) -> None:
        structlog.configure(
            logger_factory=structlog.ReturnLoggerFactory(), processors=[lambda _, __, event: str(event)]
        )
        self.scheduler = Scheduler(self.clock, self.heard, rng=random.Random(0))  # noqa: S311 - repeatable

    def teardown(self) -> None:
        self.loop.run_until_complete(self.scheduler.stop())
        assert self.clock.pending == []
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()
        structlog.reset_defaults()

    def configure(self) -> None:
        async def update() -> None:
            self.scheduler.update([known.played.target() for known in self.known.values()])

        self.loop.run_until_complete(update())

    @rule(key=KEYS, interval=st.sampled_from([5.0, LONGEST_INTERVAL]), identity=st.sampled_from("xy"))
    def add_or_change(self, key: tuple[str, str], interval: float, identity: str) -> None:
        played = Played(self.clock, key[1], key[0], interval=interval, stale_after=3 * interval, identity=identity)
        old = self.known.get(played.key)
        if old is not None and old.played.identity == identity:
            # Its functions are the same ones, as those of a client that goes on are.
            old.played.interval, old.played.stale_after = interval, 3 * interval
        else:
            if old is not None:
                self.retired.append((old.played, len(old.played.published)))
            self.known[played.key] = Known(played)
        self.configure()

    @rule(key=KEYS)
    def remove(self, key: tuple[str, str]) -> None:
        old = self.known.pop(TargetKey(key[0], "queue_jobs", key[1]), None)
        if old is not None:
            self.retired.append((old.played, len(old.played.published)))
        self.configure()

    @rule(
        key=KEYS,
        outcome=st.sampled_from(OUTCOMES),
        seconds=st.sampled_from([0.0, 0.0, 3.0, 7.0, 1000.0]),
        publish_seconds=st.sampled_from([0.0, 0.0, 4.0]),
    )
    def behave(
        self, key: tuple[str, str], outcome: BaseException | None, seconds: float, publish_seconds: float
    ) -> None:
        known = self.known.get(TargetKey(key[0], "queue_jobs", key[1]))
        if known is not None:
            played = known.played
            played.error, played.seconds, played.publish_seconds = outcome, seconds, publish_seconds

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 4.0, 61.0, 200.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds))

    @rule(seconds=st.sampled_from([-1e6, 1e6]))
    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)

    @rule(keys=st.lists(KEYS))
    def bring_forward(self, keys: list[tuple[str, str]]) -> None:
        async def poll_soon() -> None:
            self.scheduler.poll_soon([TargetKey(source, "queue_jobs", name) for source, name in keys])

        self.loop.run_until_complete(poll_soon())

    @rule()
    def scrape(self) -> None:
        self.scheduler.expire()
        for status in self.scheduler.statuses:
            if status.succeeded_at is not None:
                too_old = self.clock.monotonic() - status.succeeded_at > status.target.stale_after
                assert status.stale or not too_old
        for key in self.heard.expirations[self.expirations_seen :]:
            assert not self.known[key].expired, "said twice"
            self.known[key].expired = True
        self.expirations_seen = len(self.heard.expirations)

    def take_in_what_was_heard(self) -> None:
        for key, error in self.heard.polls[self.polls_seen :]:
            # A poll of a target that was removed meanwhile is not heard of, so every one heard of was current then.
            if key in self.known:
                known = self.known[key]
                known.up = error is None
                known.expired = known.expired and error is not None
        self.polls_seen = len(self.heard.polls)

    @invariant()
    def states_are_those_of_the_last_polls(self) -> None:
        self.take_in_what_was_heard()
        assert {status.key: status.up for status in self.scheduler.statuses} == {k: v.up for k, v in self.known.items()}

    @invariant()
    def changes_of_health_are_told_as_such(self) -> None:
        assert self.heard.wrong_flips == []

    @invariant()
    def a_source_answers_when_one_of_its_targets_does(self) -> None:
        self.take_in_what_was_heard()
        for source in {key.source for key in self.known}:
            ups = [known.up for key, known in self.known.items() if key.source == source]
            expected = True if True in ups else None if None in ups else False
            tried = set(ups) != {None}
            [*_, (_, status)] = [heard for heard in self.heard.sources if heard[0] == source]
            assert status == (expected, len(ups), ups.count(True) if tried else None)

    @invariant()
    def nothing_is_lost_and_nothing_runs_twice(self) -> None:
        for status in self.scheduler.statuses:
            assert (status.timer is not None) != status.in_flight, "each has a poll ahead or under way"
            if not status.in_flight:
                assert status.due - self.clock.monotonic() <= 10 * status.target.interval + 1e-6
        asleep = sum(1 for status in self.scheduler.statuses if status.in_flight)
        assert len(self.clock.pending) <= len(self.known) + len(self.retired)
        assert len(self.clock.pending) >= len(self.known) - asleep
        assert all(known.played.most_under_way <= 1 for known in self.known.values())

    @invariant()
    def what_was_removed_publishes_nothing_more(self) -> None:
        assert all(len(played.published) == before for played, before in self.retired)

    @invariant()
    def readiness_comes_once_and_stays(self) -> None:
        self.take_in_what_was_heard()
        self.everything_tried = self.everything_tried or (
            bool(self.known) and all(known.up is not None for known in self.known.values())
        )
        if self.everything_tried:
            assert self.scheduler.ready


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=50, stateful_step_count=40)

KEY_NAMES = st.sampled_from("abcd")
STEPS = st.lists(st.tuples(st.sampled_from(["add", "remove", True, False, None]), KEY_NAMES, st.booleans()))


@given(STEPS)
def test_a_sources_health_is_that_of_its_targets(steps: list[tuple[str | bool | None, str, bool]]) -> None:
    """Optional targets are counted, but decide whether the source answers only where there are no others."""
    health = SourceHealth()
    model: dict[TargetKey, Literal["untried"] | bool | None] = {}
    for step, name, optional in steps:
        key = TargetKey("kunshan", "region_cores" if optional else "queue_jobs", name)
        if step == "add" and key not in model:
            health.add(key, optional=optional)
            model[key] = "untried"
        elif step == "remove" and key in model:
            health.remove(key)
            del model[key]
        elif not isinstance(step, str) and key in model:
            health.record(key, step)
            model[key] = step
        states = list(model.values())
        deciding = [model[key] for key in model if key.collector == "queue_jobs"] or states
        unknown = "untried" in deciding or set(deciding) <= {None}
        assert health.known == set(model)
        assert health.tried == ("untried" not in states)
        assert health.status == (
            True if True in deciding else None if unknown else False,
            len(states) - states.count(None),
            None if set(states) <= {"untried"} else states.count(True),
        )


def test_all_outcomes_are_errors_or_none() -> None:
    """Guards the machine above: an outcome that is silently ignored would test nothing."""
    assert sum(isinstance(outcome, PollError) for outcome in OUTCOMES) == 6
