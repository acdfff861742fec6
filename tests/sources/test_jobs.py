"""What is shown of members' jobs and of single jobs: the exact lines, and which jobs find room."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.format import Chunks
from exporter.records import Job, JobState
from exporter.sources.jobs import AMOUNTS, JOB_AMOUNTS, member_jobs, per_job
from exporter.sources.per_job import PerJobBudget

R, Q, H, U = JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.UNKNOWN


def text(chunks: Chunks) -> str:
    """The lines of all families in the order of their names, for comparison with a literal."""
    return b"".join(chunks[family] for family in sorted(chunks, key=lambda family: family.name)).decode()


def test_families_of_amounts_show_the_fields_of_a_job() -> None:
    assert AMOUNTS.keys() == JOB_AMOUNTS.keys()
    assert set(JOB_AMOUNTS) == set(Job.__struct_fields__) - {"id", "name", "state", "raw_state"}


def job(number: int, state: JobState, **amounts: int | None) -> Job:
    known: dict[str, int | None] = dict.fromkeys(JOB_AMOUNTS, 0)
    return msgspec.structs.replace(Job(str(number), "job", state), **(known | amounts))


@dataclass
class MemberCase:
    promise: str
    jobs: tuple[Job, ...]
    family: str
    expected: str


MEMBER_CASES = [
    MemberCase(
        "without jobs, four states are at 0",
        (),
        "scnet_member_jobs",
        """\
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="running"} 0
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="queued"} 0
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="held"} 0
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="suspended"} 0
""",
    ),
    MemberCase(
        "further states are there while a job is in them",
        (job(1, JobState.COMPLETED), job(2, Q), job(3, U), job(4, Q)),
        "scnet_member_jobs",
        """\
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="running"} 0
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="queued"} 2
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="held"} 0
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="suspended"} 0
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="completed"} 1
scnet_member_jobs{hpc_cluster="kunshan",group="chemistry",user="bob",state="unknown"} 1
""",
    ),
    MemberCase(
        "without jobs, sums of running and queued are a true 0",
        (),
        "scnet_member_allocated_gpus",
        """\
scnet_member_allocated_gpus{hpc_cluster="kunshan",group="chemistry",user="bob",state="running"} 0
scnet_member_allocated_gpus{hpc_cluster="kunshan",group="chemistry",user="bob",state="queued"} 0
""",
    ),
    MemberCase(
        "sums are by state, in further states while a job is in them",
        (job(1, R, allocated_cpus=2), job(2, R, allocated_cpus=64), job(3, H, allocated_cpus=1)),
        "scnet_member_allocated_cpus",
        """\
scnet_member_allocated_cpus{hpc_cluster="kunshan",group="chemistry",user="bob",state="running"} 66
scnet_member_allocated_cpus{hpc_cluster="kunshan",group="chemistry",user="bob",state="queued"} 0
scnet_member_allocated_cpus{hpc_cluster="kunshan",group="chemistry",user="bob",state="held"} 1
""",
    ),
    MemberCase(
        "a sum with an unknown summand is unknown, in that state alone",
        (job(1, R, requested_nodes=2), job(2, R, requested_nodes=None), job(3, Q, requested_nodes=5)),
        "scnet_member_requested_nodes",
        """\
scnet_member_requested_nodes{hpc_cluster="kunshan",group="chemistry",user="bob",state="queued"} 5
""",
    ),
    MemberCase(
        "where nothing is known there is no line",
        (job(1, R, requested_dcus=None), job(2, Q, requested_dcus=None)),
        "scnet_member_requested_dcus",
        "",
    ),
]


@pytest.mark.parametrize("case", MEMBER_CASES, ids=lambda case: case.promise)
def test_member_jobs(case: MemberCase) -> None:
    chunks = member_jobs("kunshan", "chemistry", "bob", case.jobs)

    assert text({family: lines for family, lines in chunks.items() if family.name == case.family}) == case.expected


@pytest.mark.parametrize("amount", AMOUNTS)
def test_every_amount_is_shown_under_its_own_name(amount: str) -> None:
    """A field in the wrong family would be believed."""
    jobs = (job(1, R, **{amount: 7}), job(2, R, **{amount: 4}))

    chunks = member_jobs("kunshan", "chemistry", "bob", jobs)

    sums = {family.name: lines.decode().splitlines()[0].split()[-1] for family, lines in chunks.items()}
    assert sums.pop("scnet_member_jobs") == "2"
    assert sums.pop(f"scnet_member_{amount}") == "11"
    assert set(sums.values()) == {"0"}


def test_per_job() -> None:
    """Amounts that are unknown have no line."""
    jobs = [
        Job("1466591", "COMSOL_GUI_1031_103150", R, 1, 1, 0, 0, 2, 0, 0),
        Job("1466592", 'a "b"', Q, requested_nodes=3),
    ]

    assert (
        text(per_job("kunshan", "chemistry", "bob", jobs))
        == """\
scnet_job_allocated_cpus{hpc_cluster="kunshan",user="bob",job_id="1466591"} 2
scnet_job_allocated_dcus{hpc_cluster="kunshan",user="bob",job_id="1466591"} 0
scnet_job_allocated_gpus{hpc_cluster="kunshan",user="bob",job_id="1466591"} 0
scnet_job_info{hpc_cluster="kunshan",group="chemistry",user="bob",job_id="1466591",job_name="COMSOL_GUI_1031_103150",state="running"} 1
scnet_job_info{hpc_cluster="kunshan",group="chemistry",user="bob",job_id="1466592",job_name="a \\"b\\"",state="queued"} 1
scnet_job_requested_cpus{hpc_cluster="kunshan",user="bob",job_id="1466591"} 1
scnet_job_requested_dcus{hpc_cluster="kunshan",user="bob",job_id="1466591"} 0
scnet_job_requested_gpus{hpc_cluster="kunshan",user="bob",job_id="1466591"} 0
scnet_job_requested_nodes{hpc_cluster="kunshan",user="bob",job_id="1466591"} 1
scnet_job_requested_nodes{hpc_cluster="kunshan",user="bob",job_id="1466592"} 3
"""
    )


def test_no_jobs_no_lines() -> None:
    assert per_job("kunshan", "chemistry", "bob", []) == {}


def test_halves_of_surrogate_pairs_do_not_stop_a_poll() -> None:
    """JSON can hold them; one strange job name must not hide a whole region."""
    assert '"\ufffd"' in text(per_job("kunshan", "chemistry", "bob", [Job("1", "\ud800", R)]))


@pytest.mark.parametrize("state", ["completed", "failed", "timeout", "unknown"])
def test_a_job_that_holds_nothing_adds_nothing_to_what_is_in_use(state: str) -> None:
    """Ended jobs stay listed with the cores that they had; a sum over all states must not count them."""
    rows = (job(1, JobState.RUNNING, allocated_cpus=2), job(2, JobState(state), allocated_cpus=32, requested_cpus=32))
    lines = text(member_jobs("kunshan", "chemistry", "test", rows))
    in_use = [line.rpartition("state=")[2] for line in lines.splitlines() if "allocated_cpus{" in line]
    assert in_use == ['"running"} 2', '"queued"} 0']
    assert f'requested_cpus{{hpc_cluster="kunshan",group="chemistry",user="test",state="{state}"}} 32' in lines


# Which jobs find room


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
    """Python refuses to read numbers of more than some thousand digits."""
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


def test_releasing_an_unknown_owner_is_no_mistake() -> None:
    """A target can be removed before it was ever polled."""
    budget = PerJobBudget(1)

    budget.release("nobody")

    assert budget.dropped("kunshan") == 0


def test_a_release_takes_back_what_was_dropped() -> None:
    budget = PerJobBudget(0)

    assert budget.grant("a", "kunshan", "bob", some_jobs(1, 2)) == []
    assert budget.dropped("kunshan") == 2
    budget.release("a")
    assert budget.dropped("kunshan") == 0


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
