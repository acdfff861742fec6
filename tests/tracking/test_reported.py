"""The scheduler's own times beside what polls see: they are preferred, as long as they fit."""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.records import Job, JobListing, JobState
from tests.tracking.story import AMOUNTS, LIVES, START, Life, Story, Told

HOUR = 3600.0
# The polls of a job that waits and runs: listed at the ends of the 1st, 2nd, 3rd, ... minute after a poll without it.
LIFE = "Q Q R R C"


@dataclass
class Times:
    """Seconds after START at which the scheduler says that it happened; None: it does not say."""

    submitted: float | None = None
    started: float | None = None
    ended: float | None = None


def follow(polls: str, times: Times, *, fresh: bool = False) -> Story:
    """Poll a member every minute from START on; the first poll finds nothing, unless `fresh`."""
    story = Story(fresh=fresh)
    story.at = START
    for step in polls.split():
        story.poll(
            step,
            queue="comp",
            submitted=_at(times.submitted),
            started=_at(times.started) if step in "REC" else None,
            ended=_at(times.ended) if step in "EC" else None,
        )
    assert story.queues <= {"comp"}
    return story


def _at(seconds: float | None) -> float | None:
    return None if seconds is None else START + seconds


@pytest.mark.parametrize(
    ("times", "wait", "run"),
    [
        (Times(7, 131, 283), (124, "reported"), (152, "reported")),
        (Times(7, 131), (124, "reported"), (139, "polls")),
        (Times(7), (143, "polls"), (120, "polls")),
        (Times(None, 131, 283), (101, "polls"), (152, "reported")),
        (Times(), (120, "polls"), (120, "polls")),
        (Times(0, 0, 0), (120, "polls"), (120, "polls")),  # it was seen to wait after it is said to have started
    ],
)
def test_reported_times_beat_the_middles_of_gaps(times: Times, wait: tuple[float, str], run: tuple[float, str]) -> None:
    measured = follow(LIFE, times)
    assert (measured.waits, measured.runs) == ([wait], [run])
    assert not measured.censored


@pytest.mark.parametrize("shift", [-8 * HOUR, 8 * HOUR, -24 * HOUR, -1000, 1e9, -START])
@pytest.mark.parametrize("kept", ["all", "submitted", "started", "ended"])
def test_times_that_lie_are_counted_and_not_used(shift: float, kept: str) -> None:
    """A zone that is off, a time in the future, one of the epoch."""
    true = Times(7, 131, 283)
    lying = Times(*(getattr(true, name) + shift for name in ("submitted", "started", "ended")))
    times = lying if kept == "all" else Times(**{kept: getattr(lying, kept)})
    measured = follow(LIFE, times)
    assert (measured.waits, measured.runs) == ([(120, "polls")], [(120, "polls")])
    assert measured.disagreements == (3 if kept == "all" else 1)
    assert measured.cpu_seconds == 4 * 120


def test_a_start_before_the_submission_is_not_used() -> None:
    measured = follow("Q R C", Times(61, 59))
    assert measured.waits == [(60, "polls")]
    assert measured.disagreements == 1
    # A job that was not listed at all was not submitted long before, whatever zone that is told in.
    measured = follow("R C", Times(30 - 8 * HOUR, 45))
    assert (measured.waits, measured.disagreements) == ([(0, "polls")], 1)
    measured = follow("R C", Times(59, 10))
    assert measured.waits == [(0, "polls")]
    assert measured.disagreements == 1


@pytest.mark.parametrize("off", [-60, 60])
def test_clocks_may_differ_by_a_minute(off: float) -> None:
    """The start is seen between the polls of the 2nd and 3rd minute."""
    edge = 120 if off < 0 else 180
    assert follow(LIFE, Times(7, edge + off)).waits == [(edge + off - 7, "reported")]
    beyond = follow(LIFE, Times(7, edge + off * 1.02))
    assert beyond.waits == [(120, "polls")]
    assert beyond.disagreements == 1


def test_a_job_that_no_poll_saw_waiting_has_its_wait_all_the_same() -> None:
    assert follow("R C", Times(3, 44, 71)).waits == [(41, "reported")]
    assert follow("R C", Times(3, 44, 71)).runs == [(27, "reported")]


def test_an_expected_start_of_a_waiting_job_is_not_a_start() -> None:
    story = Story().poll("Q Q", submitted=START + 5, started=START + 9000)
    assert (story.disagreements, story.waits) == (0, [])


def test_an_outage_leaves_no_hole_where_times_are_reported() -> None:
    measured = follow("Q ! ! ! ! ! ! R ! ! ! ! ! C", Times(7, 231, 700))
    assert (measured.waits, measured.runs) == ([(224, "reported")], [(469, "reported")])
    assert not measured.censored


def test_resources_count_from_the_reported_start_to_the_reported_end() -> None:
    assert follow(LIFE, Times(7, 131, 283)).cpu_seconds == 4 * (283 - 131)
    assert follow("R C", Times(3, 44, 71)).cpu_seconds == 4 * (71 - 44)


def test_what_ran_at_the_first_poll_has_a_run_but_no_wait_of_ours() -> None:
    """A wait that ended before the first poll is not counted."""
    measured = follow("R R C", Times(-500, -400, 150), fresh=True)
    assert measured.waits == []
    assert measured.runs == [(550, "reported")]
    assert measured.censored.total() == 1
    assert measured.cpu_seconds == 4 * (150 - 60)


def test_what_waited_at_the_first_poll_has_the_wait_that_is_reported() -> None:
    assert follow("Q R", Times(-500, 70), fresh=True).waits == [(570, "reported")]


def test_a_second_wait_does_not_begin_with_the_submission() -> None:
    """A requeued job keeps its time of submission."""
    measured = follow("Q R Q R", Times(7, None))
    assert [wait for wait, _ in measured.waits] == [83, 60]
    assert measured.disagreements == 0


def test_tasks_of_an_array_were_submitted_with_it() -> None:
    waits = Job("900_[1-2]", "a", JobState.QUEUED, submitted=START + 10)
    runs = Job("900_1", "a", JobState.RUNNING, submitted=START + 10, started=START + 7000)
    story = Story().poll_jobs(waits)
    story.at = START + 116 * 60
    assert story.poll_jobs(waits, runs).waits == [(6990, "reported")]


@pytest.mark.parametrize(("task", "waits"), [("800_1", [7030]), ("800[1]", [7030]), ("901", [7030]), ("899", [0])])
def test_tasks_that_no_poll_saw_waiting_may_have_been_submitted_long_before(task: str, waits: list[float]) -> None:
    """Under the array's number, or as Slurm numbers them; another job that came since the last poll may not."""
    row = Job("900", "a", JobState.QUEUED)
    story = Story().poll_jobs(row)
    runs = Job(task, "a", JobState.RUNNING, submitted=START - 6940, started=START + 90)
    assert [seconds for seconds, _ in story.poll_jobs(row, runs).waits] == waits


def test_the_oldest_waiting_job_is_dated_to_its_submission() -> None:
    assert follow("Q Q", Times(7)).state.oldest_waiting == START + 7


def test_a_job_that_moves_to_another_queue_is_counted_there() -> None:
    assert Story().poll("Q", queue="old").poll("Q R", queue="new").queues == {"new"}


@pytest.mark.parametrize(
    ("polls", "times", "wait", "run", "held"),
    [
        ("C", Times(10, 20, 50), 10, 30, 30),
        ("Q C", Times(10, 70, 100), 60, 30, 30),
        # As long as it is listed, an exiting job holds what it held.
        ("E C", Times(10, 20, 50), 10, 30, 60 - 20),
        ("Q E C", Times(10, 70, 100), 60, 30, 120 - 70),
    ],
)
def test_a_run_between_two_polls_is_known_by_its_times(
    polls: str, times: Times, wait: float, run: float, held: float
) -> None:
    measured = follow(polls, times)
    assert (measured.waits, measured.runs) == ([(wait, "reported")], [(run, "reported")])
    assert (measured.censored, measured.disagreements) == ({}, 0)
    assert measured.cpu_seconds == 4 * held


def test_a_job_that_was_over_at_the_first_poll_or_was_cancelled_while_it_waited_did_not_run() -> None:
    assert follow("C C", Times(10, 20, 50), fresh=True).runs == []
    measured = follow("Q C", Times(10, None, 100))
    assert (measured.waits, measured.runs, measured.censored.total()) == ([], [], 1)


@pytest.mark.parametrize(
    ("steps", "waits", "runs"),
    [
        # Submission and start as listed minute by minute: queued without a start, running with one, exiting with "E".
        ([(10, None), (10, 20), (150, None), (150, 220)], [(10, "reported"), (70, "reported")], [(130, "reported")]),
        ([(10, None), (10, 20), (150, "E"), (150, None), (150, 280)], [(10, "reported"), (130, "reported")], [(130, "reported")]),
        # The time of submission stays: the second wait is known by polls.
        ([(10, None), (10, 20), (10, None), (10, 220)], [(10, "reported"), (70, "polls")], [(130, "polls")]),
        ([(10, None), (10, 20), (10, "E"), (10, None), (10, 280)], [(10, "reported"), (70, "polls")], [(130, "polls")]),
    ],
)  # fmt: skip
def test_a_job_that_is_requeued_waits_and_runs_twice(
    steps: list[tuple[float, float | str | None]], waits: list[object], runs: list[object]
) -> None:
    """Slurm takes a requeue as another submission; other schedulers do not."""
    story = Story()
    for submitted, started in steps:
        exiting = started == "E"
        story.poll(
            "E" if exiting else "Q" if started is None else "R",
            submitted=START + submitted,
            started=None if isinstance(started, str) else _at(started),
            ended=START + submitted if exiting and submitted > 10 else None,
        )
    assert (story.waits, story.runs) == (waits, runs)


# At most two polls in a row fail: the time between two lists is accounted for as a whole.
FAILURES = st.lists(st.sampled_from([".", ".", ".", "!.", "!!."]), min_size=6, max_size=10).map("".join)


@given(st.lists(LIVES, max_size=3, unique_by=lambda life: life.job_id), FAILURES)
def test_times_of_lists_make_it_exact_whatever_polls_saw(lives: list[Life], polls: str) -> None:
    lives = [replace(life, shown=200) for life in lives]
    told = Told(None)
    for kind in f"..{polls}{'.' * 15}":
        if kind != "!":
            now = told.at - START
            told.take(JobListing(tuple(job for life in lives for job in life.listed(now, times=True))))
        told.at += 60
    assert told.spells("waits") == sorted(life.wait for life in lives)
    assert told.spells("runs") == sorted(life.run for life in lives)
    held = sum(life.cpus * life.ran for life in lives)
    assert told.amounts == pytest.approx([of_each * held for of_each in AMOUNTS])
    assert told.finished == Counter(life.state for life in lives)
    assert (told.censored, told.disagreements) == ({}, 0)


@pytest.mark.parametrize(
    ("polls", "submitted", "accepted"),
    [
        # A quarter of an hour before the last list without it, a minute after the one with it.
        *(("Q", -900, True), ("Q", -901, False), ("Q", 120, True), ("Q", 121, False)),
        # Requeued: a minute before it was last seen running, or at the poll before it was seen exiting.
        *(("R R R Q", 120, True), ("R R R Q", 119, False), ("R R R Q", 300, True), ("R R R Q", 301, False)),
        *(("R E Q", 60, True), ("R E Q", 59, False)),
        # As long as it is after the start.
        *(("R Q", 21, True), ("R Q", 20, False)),
    ],
)
def test_how_far_a_submission_may_be_from_what_polls_saw(polls: str, submitted: float, accepted: bool) -> None:
    *before, _ = polls.split()
    story = Story().poll(" ".join(before), started=START + 20).poll("Q", submitted=START + submitted)
    assert story.state.jobs["1"].submitted == (START + submitted if accepted else None)
    assert story.disagreements == (not accepted and not before)
    jobs = [Job(job_id, "", JobState.QUEUED, submitted=START + 9e6) for job_id in "23"]
    assert story.poll_jobs(*jobs).disagreements == (not accepted and not before) + 2
