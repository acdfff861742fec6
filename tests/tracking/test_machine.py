"""Each promise of the state machine as a short story: listings in, waits, runs and counts out."""

import pytest

from exporter.records import Job, JobListing, JobState
from exporter.tracking.machine import advance
from exporter.tracking.model import MemberState
from tests.tracking.story import START, Story, listing

DAY = 86400.0


@pytest.mark.parametrize(
    ("polls", "waits", "runs"),
    [
        ("Q Q R", [120], []),
        ("Q R R R C", [60], [180]),
        ("Q ! R", [90], []),  # one failed poll widens the gap in which it started
        ("Q ! ! R", [120], []),
        ("R", [0], []),
        ("! R R C", [0], [150]),
        ("H W Q S R", [240], []),  # all that comes before the first run is waiting
        ("S R", [60], []),
        ("R S S R C", [0], [240]),  # suspended during a run belongs to it
        ("R Q Q R", [0, 120], [60]),  # a requeue ends the run and opens a new wait
        ("R RQ Q R", [0, 120], [60]),
        ("R E C", [0], [60]),  # exiting is no longer running
        ("R E RQ R", [0, 60], [60]),
        ("R - -", [0], [60]),  # gone: the run ended before the first listing without it
        ("R - R - -", [0], [180]),  # missing once is not gone
        ("R / / R - -", [0], [240]),  # a partial listing says nothing about what it leaves out
        ("Q / R", [90], []),
        ("Q ? ? R", [120], []),  # unknown states neither end nor start anything
        ("R X R C", [0], [180]),
        ("? R C", [0], [90]),  # entered and started somewhere in two gaps
        ("C", [], []),  # over at first sight: whether it ever ran is not known
        ("Q C", [], []),
        ("Q E C", [], []),
    ],
)
def test_spells_reach_from_middle_to_middle(polls: str, waits: list[float], runs: list[float]) -> None:
    story = Story(polls)
    assert (story.wait_seconds, story.run_seconds) == (waits, runs)


@pytest.mark.parametrize(
    ("polls", "censored"),
    [
        ("Q - -", {("wait", "vanished"): 1}),
        ("Q C", {("wait", "vanished"): 1}),
        ("Q ! ! ! R", {("wait", "gap"): 1, ("run", "gap"): 1}),
        ("! ! ! Q R", {("wait", "left_truncated"): 1}),
        ("! ! ! R C", {("wait", "left_truncated"): 1, ("run", "left_truncated"): 1}),
        ("R ! ! ! C", {("run", "gap"): 1}),
        ("R ! ! ! - -", {("run", "gap"): 1}),
        ("R ! ! ! R C", {}),  # it ran before and after: a gap in between does not matter
        ("/ / / R", {("wait", "left_truncated"): 1, ("run", "left_truncated"): 1}),
        ("R / / / C", {("run", "gap"): 1}),
        ("C", {}),
        ("? - -", {}),
    ],
)
def test_what_cannot_be_measured_is_counted_once_with_its_reason(
    polls: str, censored: dict[tuple[str, str], int]
) -> None:
    assert Story(polls).censored == censored


@pytest.mark.parametrize(
    ("first", "censored"),
    [
        ("Q", {("wait", "left_truncated"): 1}),
        ("R", {("wait", "left_truncated"): 1, ("run", "left_truncated"): 1}),
    ],
)
def test_what_is_there_at_the_first_poll_is_left_truncated(first: str, censored: dict[tuple[str, str], int]) -> None:
    story = Story(first, fresh=True)
    assert story.censored == censored
    story.poll("R R C")
    assert story.wait_seconds == []
    # A run whose start was seen can be measured, though the wait before it cannot.
    assert story.run_seconds == ([120] if first == "Q" else [])
    assert story.censored == censored


@pytest.mark.parametrize(
    ("polls", "finished"),
    [
        ("Q R C C C C - - -", {"completed": 1}),
        ("C C - - C C", {"completed": 1}),  # the id is remembered, and listed again it is still over
        ("C N D", {"completed": 1}),
        ("R D", {"deleted": 1}),
        ("R - -", {"vanished_running": 1}),
        ("R E - -", {"vanished_running": 1}),
        ("Q - -", {"vanished_queued": 1}),
        ("X - -", {}),  # never seen in a state that says anything: nothing is claimed
        ("Q X - -", {"vanished_queued": 1}),
        ("R X - -", {"vanished_running": 1}),
        ("Q ? - -", {"unknown": 1}),  # an unknown state may be how it ended
        ("R ? ? - -", {"unknown": 1}),
        ("E ? - -", {"unknown": 1}),
        ("? - -", {"unknown": 1}),
        ("? - - C", {"unknown": 1}),  # once a job id, whatever is learnt later
        ("? - - ? - -", {"unknown": 1}),
        ("R ? ? ?", {}),  # as long as it is listed it may go on
        ("R ? R C", {"completed": 1}),
        ("R ? C - -", {"completed": 1}),
        ("R ? R - -", {"vanished_running": 1}),
        ("C ? - -", {"completed": 1}),
        ("R ? / / - -", {"unknown": 1}),
        ("R - - C", {"vanished_running": 1}),  # once a job id
        ("R - / -", {"vanished_running": 1}),
        ("R - / /", {}),
        ("R C - - ? ? E", {"completed": 1}),  # nothing here says that it is a new job
        ("R C - - R C", {"completed": 2}),  # this does
        ("R N Q R C", {"node_failure": 1, "completed": 1}),
        ("R - R C", {"completed": 1}),
    ],
)
def test_every_job_finishes_once(polls: str, finished: dict[str, int]) -> None:
    assert Story(polls).finished == finished


def test_any_state_to_any_state_is_a_transition() -> None:
    story = Story("Q ? R S R Q C - - X")
    assert story.transitions == {
        ("none", "queued"): 1,
        ("queued", "unknown"): 1,
        ("unknown", "running"): 1,
        ("running", "suspended"): 1,
        ("suspended", "running"): 1,
        ("running", "queued"): 1,
        ("queued", "completed"): 1,
        ("completed", "gone"): 1,
        ("none", "other"): 1,
    }


def test_a_finished_id_is_forgotten_a_week_after_it_was_last_listed() -> None:
    story = Story("R C - -")
    over = story.at
    story.poll("-", at=over + 7 * DAY - 1)
    assert list(story.state.finished) == ["1"]
    story.poll("-", at=over + 7 * DAY)
    assert story.state.finished == {}


def test_an_ended_job_that_stays_listed_for_weeks_finishes_once() -> None:
    story = Story("R C")
    for _ in range(20):
        story.poll("C", at=story.at + DAY)
    assert story.finished == {"completed": 1}


@pytest.mark.parametrize(("state", "measure"), [("Q", "wait"), ("R", "run")])
def test_a_job_that_no_listing_can_tell_about_is_dropped_after_a_week(state: str, measure: str) -> None:
    """With a record that is never readable no job can be gone; they must not pile up without end."""
    story = Story(state)
    seen = story.at
    story.poll("/").poll("/", at=seen + 7 * DAY)
    assert list(story.state.jobs) == ["1"]
    story.poll("/", at=seen + 7 * DAY + 1)
    assert story.state.jobs == {}
    assert story.censored == {(measure, "gap"): 1}
    assert story.finished == {}


@pytest.mark.parametrize(
    ("polls", "cpu_seconds", "unaccounted"),
    [
        ("R R R C", 4 * 180, 0),  # half a gap before, two gaps, half a gap after
        ("R R R C C C", 4 * 180, 0),
        ("Q Q R E C", 4 * 120, 0),  # a waiting job holds nothing, whatever is listed; an exiting one does
        ("R ! ! R C", 4 * 240, 0),  # up to three intervals are bridged
        ("R ! ! ! ! R C", 4 * (30 + 180 + 30), 120),  # the rest is not
        ("R - -", 4 * 60, 0),
        ("R - R - -", 4 * 180, 0),
        ("R / R C", 4 * 180, 0),
        ("R X R C", 4 * 180, 0),  # its amounts are listed, whatever it does
        ("R ? ? ? R C", 4 * 120, 0),  # in an unknown state it holds nothing
        ("? ? ? - -", 0, 0),
    ],
)
def test_resources_are_integrated_between_polls(polls: str, cpu_seconds: float, unaccounted: float) -> None:
    story = Story(polls)
    assert story.cpu_seconds == cpu_seconds
    assert story.unaccounted == unaccounted


def test_an_unknown_amount_adds_nothing_and_is_not_taken_for_zero() -> None:
    story = Story("R")
    story.poll("R", allocated_cpus=None)  # unknown at the end of this gap
    story.poll("R", allocated_cpus=8)  # unknown at the start of this one
    assert story.cpu_seconds == 4 * 30
    story.poll("R", allocated_cpus=10)
    assert story.cpu_seconds == 4 * 30 + 9 * 60


def test_whether_any_amount_was_listed_is_told_apart_from_zero() -> None:
    update = advance(MemberState(), JobListing((Job("1", "", JobState.RUNNING, allocated_gpus=0),)), START, 60)
    assert update.events.amounts_known == (False, True, False)


def test_amounts_in_an_unknown_state_are_not_amounts_in_use() -> None:
    update = advance(MemberState(), listing("?"), START, 60)
    assert update.events.amounts_known == (False, False, False)


def test_a_job_in_an_unknown_state_is_not_said_to_wait() -> None:
    story = Story("Q")
    first = story.at
    assert story.poll("?").state.oldest_waiting is None
    assert story.poll("/").state.oldest_waiting is None
    assert story.poll("Q").state.oldest_waiting == first


def test_the_oldest_waiting_job_is_dated_to_its_first_sight() -> None:
    story = Story("Q")
    first = story.at
    assert story.state.oldest_waiting == first
    assert story.poll("H").state.oldest_waiting == first
    assert story.poll("/").state.oldest_waiting == first
    assert story.poll("-").state.oldest_waiting is None
    assert story.poll("Q").state.oldest_waiting == first
    assert story.poll("R").state.oldest_waiting is None
    assert story.poll("RQ").state.oldest_waiting == story.at


def test_a_clock_set_back_measures_nothing_across_and_goes_on_after() -> None:
    story = Story("Q R")
    story.poll("R", at=story.at - 3600)
    assert story.censored == {("run", "gap"): 1}
    assert story.cpu_seconds == 4 * 30
    story.poll("R Q R")
    assert story.wait_seconds == [60, 60]
    assert story.run_seconds == []
    assert story.cpu_seconds == 4 * (30 + 60 + 30 + 30)
    assert story.unaccounted == 0


@pytest.mark.parametrize(("before", "censored"), [("Q", {("wait", "gap"): 1}), ("E", {}), ("C", {})])
def test_a_clock_set_back_censors_what_was_being_measured(before: str, censored: dict[tuple[str, str], int]) -> None:
    story = Story(f"R {before}")
    assert story.poll(before, at=story.at - 3600).censored == censored
    assert story.state.last == story.state.complete == story.at


def test_a_clock_set_back_before_an_incomplete_list_leaves_no_complete_one() -> None:
    """So a job that comes next may have been there for long."""
    story = Story("R")
    assert story.poll("/", at=story.at - 3600).state.complete == float("-inf")
    assert story.poll_jobs(Job("2", "", JobState.RUNNING)).waits == [(0, "polls")]
    assert story.censored == {("run", "gap"): 1, ("wait", "left_truncated"): 1, ("run", "left_truncated"): 1}


def test_remembered_ids_do_not_outlive_a_clock_that_was_years_ahead() -> None:
    story = Story()
    story.poll("C", at=START + 9000 * DAY).poll("- -")
    story.poll("-", at=START)
    story.poll("-", at=START + 8 * DAY)
    assert story.state.finished == {}


def test_an_id_listed_twice_is_one_job_and_the_living_record_counts() -> None:
    story = Story("R")
    story.poll_jobs(Job("1", "", JobState.COMPLETED), Job("1", "", JobState.RUNNING, allocated_cpus=4))
    assert story.finished == {}
    assert len(story.state.jobs) == 1


def test_a_poll_without_news_changes_nothing_that_must_be_written() -> None:
    story = Story("R")
    update = advance(story.state, listing("R"), story.at + 60, 60.0)
    assert update.jobs == {}
    assert update.finished == {}


def test_advancing_leaves_the_view_before_as_it_was() -> None:
    story = Story("R C")
    before = MemberState(dict(story.state.jobs), dict(story.state.finished), story.state.last, story.state.complete)
    before.oldest_waiting = story.state.oldest_waiting
    advance(story.state, listing("-"), story.at - 99, 60.0)
    assert story.state == before
