"""Tasks of arrays: one row until they start, then each under an id of its own."""

import pytest

from exporter.records import Job, JobState
from exporter.tracking.arrays import array_of_row, array_of_task
from exporter.tracking.model import MemberState
from tests.tracking.story import Story

R, Q, C = JobState.RUNNING, JobState.QUEUED, JobState.COMPLETED


def story(*listings: dict[str, JobState], fresh: bool = False, name: str = "array") -> Story:
    """Return polls a minute apart that list these jobs, all of one name."""
    told = Story(fresh=fresh)
    for jobs in listings:
        told.poll_jobs(*(Job(job_id, name, state, allocated_cpus=4) for job_id, state in jobs.items()))
    return told


@pytest.mark.parametrize("row", ["900_[1-2]", "900_[1-2%1]", "900", "900[]"])
def test_tasks_have_waited_since_their_row_was_first_seen(row: str) -> None:
    left = row.replace("1-2", "2")
    told = story({row: Q}, {row: Q}, {left: Q, "900_1": R}, {"900_1": R, "900_2": R}, {"900_1": R, "900_2": R}, {})
    assert told.wait_seconds == [120, 180]
    assert told.finished == {}
    assert told.censored == {}
    assert told.state.jobs.keys() == {"900_1", "900_2"}


def test_a_row_is_one_job_whatever_tasks_it_stands_for() -> None:
    told = story({"900_[1-4]": Q}, {"900_[2-4]": Q}, {"900_[4]": Q})
    assert told.transitions == {("none", "queued"): 1}
    assert told.state.oldest_waiting == told.at - 120
    assert len(told.state.jobs) == 1


def test_tasks_under_new_numbers_are_not_said_to_have_waited_for_nothing() -> None:
    told = story({"900": Q}, {"900": Q, "901": R}, {"900": R, "901": R, "902": R})
    assert told.wait_seconds == [120], "the last task keeps the array's number"
    assert told.censored == {("wait", "left_truncated"): 2}


@pytest.mark.parametrize("row", ["900", "900_[1-2]"])
def test_a_row_whose_tasks_have_started_under_new_numbers_did_not_vanish(row: str) -> None:
    told = story({row: Q}, {"901": R, "902": R}, {"901": R, "902": R}, {"901": R, "902": R})
    assert told.finished == {}
    assert told.wait_seconds == []
    assert told.censored == {("wait", "left_truncated"): 2}


def test_after_a_restart_tasks_with_the_row_s_number_are_known_all_the_same() -> None:
    told = story({"900_[1-2]": Q}, {"900_[2]": Q, "900_1": R})
    told.state.names = None  # what is not on disk
    for _ in range(3):
        told.poll_jobs(Job("900_1", "array", R), Job("900_2", "array", R))
    assert told.wait_seconds == [60, 120]
    assert told.finished == {}


def test_an_array_that_is_deleted_before_it_starts_vanishes_once() -> None:
    told = story({"900_[1-4]": Q}, {}, {})
    assert told.finished == {"vanished_queued": 1}
    assert told.censored == {("wait", "vanished"): 1}


def test_tasks_of_a_row_that_was_there_at_the_first_poll_have_waits_of_unknown_length() -> None:
    told = story({"900_[1-2]": Q}, {"900_1": R, "900_2": R}, {"900_1": R, "900_2": R}, fresh=True)
    assert told.wait_seconds == []
    assert told.censored == {("wait", "left_truncated"): 3}, "the row's and the two tasks'"
    assert told.finished == {}


def test_a_whole_array_between_two_polls_is_as_any_other_job() -> None:
    assert story({"900_1": R, "900_2": R}).wait_seconds == [0, 0]


@pytest.mark.parametrize(
    ("before", "after"), [("900", "899"), ("900", "job-901"), ("x", "901")], ids=["older", "no number", "row without"]
)
def test_a_job_that_cannot_be_a_task_waited_for_nothing(before: str, after: str) -> None:
    told = story({before: Q}, {before: Q, after: R})
    assert told.wait_seconds == [0]


def test_jobs_without_a_name_are_not_taken_for_tasks() -> None:
    assert story({"900": Q}, {"900": Q, "901": R}, name="").wait_seconds == [0]


def test_a_waiting_job_that_is_deleted_beside_running_ones_vanishes() -> None:
    told = story({"900": Q, "901": R}, {"901": R}, {"901": R})
    assert told.finished == {"vanished_queued": 1}


def test_tasks_finish_each_for_itself() -> None:
    told = story({"900_[1-3]": Q}, {"900_[3]": Q, "900_1": R, "900_2": C}, {"900_3": R, "900_1": C, "900_2": C})
    assert told.finished == {"completed": 2}


def test_names_of_waiting_jobs_do_not_pile_up() -> None:
    told = story({"1": Q, "2": Q}, {"1": R, "3": Q}, {"3": C}, {})
    assert told.state.names == {}
    assert MemberState().names is None


@pytest.mark.parametrize(
    ("job_id", "row", "task"),
    [
        *(("900_[1-4]", "900", None), ("900_[5]", "900", None), ("900[]", "900", None), ("900[].pbs", "900", None)),
        *(("900[1-4:2]", "900", None), ("900_1", None, "900"), ("900[17]", None, "900"), ("900[1].pbs", None, "900")),
        *(
            ("900", None, None),
            ("job_1", None, None),
            ("900_x", None, None),
            ("[1]", None, None),
            ("900_[1", None, None),
        ),
    ],
)
def test_which_ids_are_rows_and_which_tasks(job_id: str, row: str | None, task: str | None) -> None:
    assert (array_of_row(job_id), array_of_task(job_id)) == (row, task)
