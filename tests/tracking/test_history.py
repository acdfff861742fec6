"""Rows of the scheduler's history beside what polls see: each end counts once, by its row where one comes."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.records import EndedJob, Job, JobListing, JobState
from exporter.tracking.history import REMEMBERED
from tests.tracking import story as stories
from tests.tracking.story import AMOUNTS, LIVES, START, STATES, Life, Told
from tools.accuracy import Scenario, ended_jobs

GRACE = 600.0


class Story(stories.Story):
    """A member whose starts and ends wait for the history."""

    def __init__(self, polls: str = "") -> None:
        super().__init__(polls, grace=GRACE)


def at(seconds: float | None) -> float | None:
    return None if seconds is None else START + seconds


def row(
    state: str, submitted: float | None, started: float | None, ended: float, *, scheduler: str = "1", cpus: int = 4
) -> EndedJob:
    """Return the end of job 1; times in seconds after START."""
    job = Job(
        *("1", "a", STATES[state]),
        allocated_cpus=cpus,
        queue="comp",
        submitted=at(submitted),
        started=at(started),
    )
    return EndedJob("test", scheduler, START + ended, job)


# Submitted after 7 s, started after 131 s, ended after 283 s; the polls see it at 60, 120 (Q), 180 and 240 s (R).
DONE = row("C", 7, 131, 283)
EXACT = {"waits": [(124, "reported")], "runs": [(152, "reported")], "cpu": 4 * 152.0}


def exact(story: stories.Story, outcome: str = "completed") -> None:
    assert story.waits == EXACT["waits"]
    assert story.runs == EXACT["runs"]
    assert story.cpu_seconds == EXACT["cpu"]
    assert story.finished == {outcome: 1}
    assert (story.disagreements, story.censored) == (0, {})


@pytest.mark.parametrize(
    "before",
    [
        "Q Q R R - -",  # no longer listed
        "Q Q R R C C",  # listed as ended
        "Q Q R E C",  # exiting is not the end
        "Q Q R R / - -",
        "Q Q R R",  # the row is faster than the polls
        "Q Q R R -",
        "Q Q ! ! ! ! ! ! ! ! - -",  # an outage in which it started and ended
        "Q Q R R ! ! ! ! ! ! ! ! - -",
        "! ! ! ! ! ! ! !",  # no poll saw it
        "- - - - - -",
        "- - - - C C",  # over at first sight
    ],
)
@pytest.mark.parametrize("after", ["- - - - - - - - - - - - - - - -", "C C C - - - - - - - - - - - - -"])
def test_an_end_counts_once_by_its_row(before: str, after: str) -> None:
    story = Story(before).rows(DONE).poll(after).rows(DONE).poll(after).rows(DONE)
    exact(story)


def test_the_row_says_how_a_vanished_job_ended() -> None:
    assert Story("Q R - -").rows(row("F", 7, 70, 125)).finished == {"failed": 1}
    assert Story("Q R R C").rows(row("T", 7, 70, 185)).finished == {"timeout": 1}
    assert Story("Q R - -").rows(row("?", 7, 70, 125)).finished == {"unknown": 1}


def test_without_a_row_the_polls_count_after_the_grace() -> None:
    story = Story("Q Q R R - -")
    assert (story.finished, story.runs) == ({}, [])
    story.poll(" ".join("-" * 9))
    assert story.finished == {}
    story.poll("-")
    assert story.finished == {"vanished_running": 1}
    assert story.waits == [(120, "polls")]
    assert story.runs == [(120, "polls")]
    assert story.cpu_seconds == 4 * 120
    late = story.rows(DONE)
    assert (late.finished, late.runs, late.disagreements) == ({"vanished_running": 1}, [(120, "polls")], 0)


def test_a_grace_does_not_run_while_nothing_is_polled() -> None:
    """The history was not read either: after an outage its rows are still to come."""
    story = Story("Q Q R R - - ! ! ! ! ! ! ! ! ! ! ! ! ! ! ! -").rows(DONE)
    exact(story)


def test_a_job_that_was_deleted_while_it_waited_never_ran() -> None:
    for end in (row("D", 7, None, 100), row("D", 7, 100, 100)):
        story = Story("Q - -").rows(end).poll("- " * 12)
        assert (story.finished, story.waits, story.runs) == ({"deleted": 1}, [], [])
        assert story.censored == {("wait", "vanished"): 1}
        assert story.cpu_seconds == 0


@pytest.mark.parametrize(
    ("lie", "runs"),
    [
        (row("C", 7 - 28800, 131 - 28800, 283 - 28800), [(120, "polls")]),  # the zone is off
        (row("C", 7 + 28800, 131 + 28800, 283 + 28800), [(120, "polls")]),
        (row("C", 7, 500, 283), [(133, "polls")]),  # started after its end
        (row("C", 400, 131, 283), [(152, "reported")]),  # submitted after it started
    ],
)
def test_times_that_lie_are_counted_and_give_no_absurd_wait(lie: EndedJob, runs: list[tuple[float, str]]) -> None:
    story = Story("Q Q R R - -").rows(lie).poll("- " * 12)
    assert story.disagreements >= 1
    assert all(0 <= seconds <= 300 for seconds, _ in story.waits)
    assert len(story.waits) <= 1
    assert story.runs == runs
    assert sum(story.finished.values()) == 1


def test_a_job_that_no_poll_saw_in_a_row_that_lies_is_counted_without_times() -> None:
    story = Story().rows(row("C", 7, 131, 90_000))
    assert (story.finished, story.waits, story.runs) == ({"completed": 1}, [], [])
    assert (story.disagreements, story.censored) == (1, {("wait", "gap"): 1})


def test_each_run_of_a_requeued_job_is_a_run() -> None:
    """The polls see a requeue, or take two runs for one, or see nothing."""
    first, second = row("RQ", 7, 20, 200), row("C", 7, 230, 400)
    for polls in ("Q R R Q R R C", "Q R R R R R - -", "- - - - - - - -", "Q R R ! ! ! ! ! ! - -"):
        for order in ((first, second), (second, first)):
            story = Story(polls).rows(*order).poll("- " * 24)
            assert sorted(story.runs) == [(170, "reported"), (180, "reported")], polls
            assert story.finished == {"completed": 1}, polls
            assert (13, "reported") in story.waits or (13 + 210, "reported") not in story.waits
            assert story.queues <= {"comp", ""}, polls


def test_a_job_that_runs_again_has_waited_since_its_last_run() -> None:
    """Its time of submission stays that of the first run. Without a row of that run, the wait has no known beginning."""
    story = Story("- - - - - - -").rows(row("RQ", 7, 20, 200)).rows(row("C", 7, 230, 400))
    assert story.waits == [(13, "reported"), (30, "reported")]
    story = Story("Q R - -" + " -" * 20).rows(row("C", 7, 900, 1000))
    assert story.waits == [(60, "polls")]
    assert story.censored == {("wait", "left_truncated"): 1}


def test_what_a_job_held_in_a_time_without_polls_counts_once_its_row_tells_that_it_ran_on() -> None:
    """Also where it was first seen running right before, or last seen right after it."""
    for polls, ended in (("Q Q R ! ! ! ! ! ! ! R - -", 700), ("Q Q R R ! ! ! ! ! ! ! R R - -", 800)):
        assert Story(polls).rows(row("C", 7, 131, ended)).cpu_seconds == 4 * (ended - 131)


def test_equal_ids_of_two_schedulers_are_two_jobs() -> None:
    story = Story().rows(row("C", 7, 131, 283), row("C", 7, 131, 283, scheduler="2")).poll("-")
    assert story.finished == {"completed": 2}


def test_an_id_that_runs_again_later_counts_again() -> None:
    story = Story("Q Q R R - -").rows(DONE).poll("- - - R R - -").rows(row("C", 590, 600, 650))
    assert story.finished == {"completed": 2}
    assert story.runs == [(152, "reported"), (50, "reported")]


def test_amounts_that_no_list_gave_count_as_a_whole() -> None:
    story = Story().poll("Q R R", allocated_cpus=None).poll("- -").rows(row("C", 7, 70, 185))
    assert story.cpu_seconds == 4 * 115


def test_what_rows_do_not_tell_is_not_known() -> None:
    """Zero neither: the history of a scheduler without GPUs has it as well."""
    told = Told(GRACE)
    told.poll("- - - - - -").rows(DONE, replace(DONE, job=replace(DONE.job, id="2", allocated_dcus=0)))
    known = [[events.amounts_known[index] for events in told.events] for index in range(3)]
    assert [any(of_one) for of_one in known] == [True, False, False]


def test_a_list_that_lags_behind_the_history_does_not_end_a_job_twice() -> None:
    story = Story("Q Q R R").rows(DONE).poll("R R R - -").poll("- " * 12)
    assert story.finished == {"completed": 1}
    assert story.runs == [(152, "reported")]


def test_what_a_job_holds_before_a_start_that_waits_for_its_row_counts_once() -> None:
    """In another state, which says nothing, from half a minute before the first poll that lists it."""
    story = Story("X R R - -").rows(row("C", 50, 100, 283))
    assert story.cpu_seconds == 4 * (30 + 30 + (283 - 100))


def test_when_the_history_is_switched_off_what_waits_for_it_counts() -> None:
    story = Story("Q Q R R - -")
    story.grace = None
    story.poll("-")
    assert (story.finished, story.runs, story.waits) == ({"vanished_running": 1}, [(120, "polls")], [(120, "polls")])


def test_outages_and_restarts_cost_nothing_where_times_are_reported() -> None:
    """Thousands of jobs of a simulated region, hours without a poll, restarts from the state file."""
    scenario = Scenario("history", 60.0, days=0.5, live=True, history=True, outages=4, restarts=8, failed=0.05)
    found = ended_jobs(scenario, seed=3)
    assert found.jobs > 1000
    assert found.counted == found.jobs
    assert found.worst < 1.5  # the scheduler's times are whole seconds
    assert found.runs_counted >= 0.999 * found.runs
    assert abs(found.resource_error) < 0.001


def test_polls_alone_are_within_a_gap_of_the_reported_times() -> None:
    found = ended_jobs(Scenario("polls", 60.0, days=0.3), seed=4)
    assert found.jobs > 500
    assert found.counted == found.jobs
    assert max(map(abs, found.wait_errors)) <= 60 + 1


def test_a_run_that_polls_would_have_seen_is_not_believed() -> None:
    """It would add what a job holds in eight hours."""
    story = Story("- " * 40).rows(row("C", 2310, 2320 - 8 * 3600, 2340)).poll("-")
    assert (story.finished, story.runs, story.cpu_seconds, story.disagreements) == ({"completed": 1}, [], 0, 1)
    # In a time without polls, or without complete ones, it can be.
    for polls in ("! " * 40 + "-", "/ " * 40 + "-"):
        story = Story(polls).rows(row("C", 110, 120, 2340)).poll("-")
        assert (story.runs, story.disagreements) == ([(2220, "reported")], 0)


@pytest.mark.parametrize(
    ("lie", "waits", "runs"),
    [
        # The end: after polls saw it gone, or all of it a while later or earlier.
        (row("C", 7, 131, 500), [(120, "polls")], [(120, "polls")]),
        (row("C", 107, 231, 383), [(120, "polls")], [(120, "polls")]),
        (row("C", -28_793, -28_669, -28_517), [(120, "polls")], [(120, "polls")]),
        # The submission or the start alone, eight hours before.
        (row("C", -28_793, 131, 283), [(131 - 30, "polls")], [(152, "reported")]),
        (row("C", 7, -28_669, 283), [(120, "polls")], [(283 - 150, "polls")]),
    ],
)
def test_a_row_that_lies_ends_its_job_once(
    lie: EndedJob, waits: list[tuple[float, str]], runs: list[tuple[float, str]]
) -> None:
    story = Story("Q Q R R - -").rows(lie).poll("- " * 14).rows(lie).poll("-").rows(lie)
    assert sum(story.finished.values()) == 1
    assert (story.waits, story.runs) == (waits, runs)
    assert story.disagreements > 0


@pytest.mark.parametrize(("submitted", "wait", "disagreements"), [(40, 91, 0), (39, 31, 1), (131, 0, 0), (132, 31, 1)])
def test_a_row_may_tell_a_submission_a_minute_before_that_of_the_list(
    submitted: float, wait: float, disagreements: int
) -> None:
    """And none after the start."""
    story = Story().poll("! Q R", submitted=START + 100).poll("R -").rows(row("C", submitted, 131, 283)).poll("-")
    assert (story.waits, story.disagreements) == ([(wait, "reported")], disagreements)


def test_known_ends_are_forgotten_after_two_days() -> None:
    story = Story("Q Q R R - -").rows(DONE)
    story.poll("-", at=START + 283 + REMEMBERED)
    assert list(story.state.ends) == ["1"]
    story.poll("-", at=START + 284 + REMEMBERED)
    assert story.state.ends == {}


LISTS = {"1": ("1", "A"), "1@B": ("1", "B")}


def of_two(*polls: str, rows: tuple[EndedJob, ...] = (), grace: int = 14) -> Story:
    """Poll job 1 of scheduler A and job 1 of scheduler B, each poll listing some of them, and read their rows."""
    story = Story()
    for poll in polls:
        jobs = [
            Job(name, "a", JobState.RUNNING, allocated_cpus=4, scheduler=LISTS[name][1])
            for name in poll.split()
            if name != "-"
        ]
        # As every poll of the history reads the last minutes once more.
        story.poll_jobs(*jobs).rows(*(each for each in rows if each.ended <= story.at))
    for _ in range(grace):
        story.poll("-").rows(*rows)
    return story


@pytest.mark.parametrize(
    ("polls", "rows", "runs", "finished"),
    [
        # Both are followed, and end in one gap.
        (
            ["1 1@B", "1 1@B", "-"],
            [row("F", 1, 50, 130, scheduler="B"), row("C", 1, 20, 140, scheduler="A")],
            [80, 120],
            {"failed": 1, "completed": 1},
        ),
        # The one that has the id alone ends first, and the other one goes on.
        (
            ["1 1@B", "1@B", "1@B", "1@B", "-"],
            [row("F", 1, 20, 70, scheduler="A"), row("C", 1, 50, 290, scheduler="B")],
            [50, 240],
            {"failed": 1, "completed": 1},
        ),
        # No poll saw that of the other scheduler; rows of both are known.
        (
            ["1", "1", "1", "1", "-"],
            [row("F", 1, 200, 250, scheduler="B"), row("C", 1, 20, 290, scheduler="A")],
            [50, 270],
            {"failed": 1, "completed": 1},
        ),
    ],
)
def test_a_row_ends_the_job_of_its_scheduler(
    polls: list[str], rows: list[EndedJob], runs: list[float], finished: dict[str, int]
) -> None:
    for order in (rows, rows[::-1]):
        story = of_two(*polls, rows=tuple(order))
        assert sorted(story.runs) == [(seconds, "reported") for seconds in sorted(runs)]
        assert story.finished == finished
        assert story.disagreements == 0
        assert story.cpu_seconds == 4 * sum(runs)


def test_ids_of_schedulers_that_lists_and_history_spell_differently_are_no_other_jobs() -> None:
    story = of_two("1", "1", "-", rows=(row("C", 1, 20, 140, scheduler="other spelling"),))
    assert (story.finished, story.runs) == ({"completed": 1}, [(120, "reported")])


# --- Whatever the polls saw -------------------------------------------------------------------------------------------


# "!" is a poll that fails, "/" an incomplete one, which leaves out the first job.
POLLS = st.lists(st.sampled_from([".", ".", ".", "/.", "!.", "!!!!!!."]), min_size=6, max_size=10).map("".join)


@given(st.lists(LIVES, max_size=3, unique_by=lambda life: life.job_id), POLLS, st.integers(0, 2))
def test_rows_make_it_exact_whatever_polls_saw(lives: list[Life], polls: str, minutes: int) -> None:
    """Also while only the history can be read. It is read after each poll, and has rows after some `minutes`."""
    told = Told(GRACE)
    told.at = START - 60
    for kind in f".{polls}{'.' * 25}":
        told.at += 60
        now = told.at - START
        jobs = [job for life in lives for job in life.listed(now)]
        if kind != "!":
            told.take(JobListing(tuple(jobs[kind == "/" :]), rejected=int(kind == "/")))
        told.rows(*(life.row for life in lives if life.ended + 60 * minutes <= now))
    assert told.spells("waits") == sorted(life.wait for life in lives)
    assert told.spells("runs") == sorted(life.run for life in lives)
    assert told.amounts == [of_each * sum(life.cpus * life.ran for life in lives) for of_each in AMOUNTS]
    assert told.finished == Counter(life.state for life in lives)
    assert (told.censored, told.disagreements) == ({}, 0)


SOME = st.sampled_from([0, 1, 4])
ANY_STATE = [state for state in JobState if state is not JobState.EXITING]
ANY_JOB = st.builds(
    Job,
    id=st.sampled_from("123"),
    name=st.just(""),
    state=st.sampled_from([*ANY_STATE, *[JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED] * 3]),
    allocated_cpus=SOME,
    allocated_gpus=SOME,
    allocated_dcus=SOME,
    queue=st.sampled_from(["comp", "gpu"]),
)
ANY_LISTING = st.builds(
    JobListing,
    st.lists(ANY_JOB, max_size=3, unique_by=lambda job: job.id).map(tuple),
    rejected=st.sampled_from([0, 0, 0, 1]),
)
STEPS = st.sampled_from([*[60.0] * 8, 1.0, 30.0, 61.5, 120.0, 180.0, 180.5, 500.0])


@settings(max_examples=60)
@given(st.lists(st.tuples(STEPS, ANY_LISTING), min_size=1, max_size=14))
def test_without_rows_it_counts_what_it_counts_without_a_history(polls: list[tuple[float, JobListing]]) -> None:
    """It counts the same with both, but later; jobs that cannot be measured may be censored for different reasons."""
    counted = []
    for grace in (None, GRACE):
        told = Told(grace)
        for seconds, jobs in [*polls, *[(60.0, JobListing(()))] * 20]:
            told.at += seconds
            told.take(jobs)
        censored = Counter(measure for measure, _ in told.censored.elements())
        amounts = pytest.approx(told.amounts) if grace is None else told.amounts
        counted.append([told.spells("waits"), told.spells("runs"), censored, told.finished, told.transitions, amounts])
    assert counted[0] == counted[1]
