"""Which jobs find room among the series of single jobs."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from exporter.records import Job, JobState
from exporter.sources.per_job import PerJobBudget

R, Q, H = JobState.RUNNING, JobState.QUEUED, JobState.HELD


def some_jobs(*ids: int | str, state: JobState = R) -> list[Job]:
    return [Job(str(job_id), "job", state) for job_id in ids]


def ids(granted: Sequence[Job]) -> list[str]:
    return [job.id for job in granted]


def test_running_goes_before_queued_before_the_rest_then_by_number() -> None:
    budget = PerJobBudget(5)
    listing = [*some_jobs(1, state=H), *some_jobs(30, 4, state=Q), *some_jobs("7_1", 100, 20, "020")]

    assert ids(budget.grant("a", "kunshan", "bob", listing)) == ["020", "20", "100", "7_1", "4"]
    assert budget.dropped("kunshan") == 2


def test_ids_of_any_length_are_ordered_as_numbers() -> None:
    """Python rejects to read numbers of more than some thousand digits."""
    huge = "9" * 10_000

    assert ids(PerJobBudget(9).grant("a", "kunshan", "bob", some_jobs(huge, 10, 9))) == ["9", "10", huge]


def test_an_owner_keeps_its_room_while_its_jobs_are_listed() -> None:
    """Series must not come and go: a shown job stays though better ones appear, until it is listed no longer."""
    budget = PerJobBudget(2)
    budget.grant("a", "kunshan", "bob", some_jobs(5, 6, state=H))

    assert ids(budget.grant("a", "kunshan", "bob", [*some_jobs(1), *some_jobs(5, 6, state=H)])) == ["5", "6"]
    assert ids(budget.grant("a", "kunshan", "bob", [*some_jobs(1, 2), *some_jobs(6, state=H)])) == ["1", "6"]
    assert budget.dropped("kunshan") == 1


def test_room_is_first_come_first_served_and_free_again_after_release() -> None:
    budget = PerJobBudget(3)

    assert ids(budget.grant("a", "kunshan", "alice", some_jobs(1, 2))) == ["1", "2"]
    assert ids(budget.grant("b", "dongjiang", "bob", some_jobs(1, 2))) == ["1"]
    assert (budget.dropped("kunshan"), budget.dropped("dongjiang")) == (0, 1)
    budget.release("a")
    assert ids(budget.grant("b", "dongjiang", "bob", some_jobs(1, 2))) == ["1", "2"]
    assert budget.dropped("dongjiang") == 0


def test_a_job_is_shown_once_and_that_is_not_dropping() -> None:
    """Two groups list the same member's job: two series of one job would break the whole scrape."""
    budget = PerJobBudget(10)

    assert ids(budget.grant("group 1", "kunshan", "bob", some_jobs(1, 1, 2))) == ["1", "2"]
    assert ids(budget.grant("group 2", "kunshan", "bob", some_jobs(1, 3))) == ["3"]
    assert ids(budget.grant("other user", "kunshan", "alice", some_jobs(1))) == ["1"]
    assert ids(budget.grant("other region", "dongjiang", "bob", some_jobs(1))) == ["1"]
    assert budget.dropped("kunshan") == 0
    budget.release("group 1")
    assert ids(budget.grant("group 2", "kunshan", "bob", some_jobs(1, 3))) == ["1", "3"]


def test_the_latest_state_of_a_kept_job_is_returned() -> None:
    budget = PerJobBudget(1)
    budget.grant("a", "kunshan", "bob", some_jobs(1, state=Q))

    assert budget.grant("a", "kunshan", "bob", some_jobs(1, state=R)) == some_jobs(1, state=R)


Step = tuple[str, list[tuple[int, JobState]] | None]

listings = st.lists(st.tuples(st.integers(0, 8), st.sampled_from([R, Q, H])), max_size=8)
steps = st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), listings)), max_size=20)


@given(cap=st.integers(0, 10), steps=steps)
def test_whatever_is_listed_and_released_the_cap_holds(cap: int, steps: list[Step]) -> None:
    """Never more than the cap, never a job twice, never one that is not listed; no room is lost over time."""
    budget = PerJobBudget(cap)
    shown: dict[str, set[str]] = {}
    listed: set[str] = set()
    for owner, listing in steps:
        if listing is None:
            budget.release(owner)
            shown.pop(owner, None)
            continue
        listed = {str(number) for number, _ in listing}
        granted = budget.grant(owner, "kunshan", "bob", [Job(str(number), "job", state) for number, state in listing])
        before = shown.get(owner, set()) & listed
        shown[owner] = set(ids(granted))

        assert len(granted) == len(shown[owner])
        assert before <= shown[owner] <= listed
        of_all = [job_id for owned in shown.values() for job_id in owned]
        assert len(of_all) == len(set(of_all)) <= cap
        assert len(of_all) == cap or listed <= set(of_all), "room was left, yet a job was not shown"
    for owner in shown:
        budget.release(owner)
    assert len(budget.grant("last", "kunshan", "bob", some_jobs(*range(cap + 1)))) == cap
    assert budget.dropped("kunshan") == 1
