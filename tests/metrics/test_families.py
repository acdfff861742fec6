"""Tables: what a poll yielded -> the exact lines that it becomes."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import permutations

import msgspec
import pytest

from exporter.metrics import families
from exporter.metrics.catalogue import OCTOPUS_UP, SCNET_JOB_AMOUNTS, SCNET_MEMBER_AMOUNTS, SCNET_UP
from exporter.metrics.family import Family
from exporter.metrics.render import Chunks
from exporter.records import Job, JobListing, JobState, QueueCounts, QueueStatistics, Scheduler, Schedulers

R, Q, H, S, X, U = (
    JobState.RUNNING,
    JobState.QUEUED,
    JobState.HELD,
    JobState.SUSPENDED,
    JobState.OTHER,
    JobState.UNKNOWN,
)


def text(chunks: Chunks) -> str:
    """The lines of all families in the order of their names, for comparison with a literal."""
    return b"".join(chunks[family] for family in sorted(chunks, key=lambda family: family.name)).decode()


def jobs(counts: dict[JobState, int]) -> dict[JobState, int]:
    """The counts as an upstream sends them: all five of the page, 0 where nothing is said."""
    return {R: 0, Q: 0, H: 0, S: 0, X: 0} | counts


@dataclass
class QueueCase:
    promise: str
    queues: tuple[QueueCounts, ...]
    seen: Collection[str]
    expected: str


QUEUE_CASES = [
    QueueCase("no queue, none seen: nothing to say", (), (), ""),
    QueueCase(
        "the example of the API page",
        (QueueCounts("debug", {R: 2, Q: 0, H: 0, S: 0, X: 0}),),
        (),
        """\
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="running"} 2
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="queued"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="held"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="suspended"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="other"} 0
""",
    ),
    QueueCase(
        "a queue seen before and absent now has no jobs; its five states stay",
        (),
        {"debug"},
        """\
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="running"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="queued"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="held"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="suspended"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="other"} 0
""",
    ),
    QueueCase(
        "two schedulers' queues of one name are added up; unknown is shown while it is above 0",
        (
            QueueCounts("a", jobs({R: 1, U: 4})),
            QueueCounts("b", jobs({Q: 1, U: 0})),
            QueueCounts("a", jobs({R: 2, H: 3})),
        ),
        ["b", "a"],
        """\
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="running"} 3
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="queued"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="held"} 3
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="suspended"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="other"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="unknown"} 4
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="b",state="running"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="b",state="queued"} 1
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="b",state="held"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="b",state="suspended"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="b",state="other"} 0
""",
    ),
    QueueCase(
        "names are escaped",
        (QueueCounts('队"列\\\n', jobs({R: 1})),),
        (),
        """\
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="队\\"列\\\\\\n",state="running"} 1
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="队\\"列\\\\\\n",state="queued"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="队\\"列\\\\\\n",state="held"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="队\\"列\\\\\\n",state="suspended"} 0
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="队\\"列\\\\\\n",state="other"} 0
""",
    ),
]


@pytest.mark.parametrize("case", QUEUE_CASES, ids=lambda case: case.promise)
def test_queue_statistics(case: QueueCase) -> None:
    chunks = families.queue_statistics("kunshan", QueueStatistics("test", case.queues), case.seen)

    assert text(chunks) == case.expected


def test_a_count_that_is_not_known_has_no_sample() -> None:
    """Neither alone nor added to one that is known: unknown is never zero."""
    rows = (QueueCounts("a", {R: 1, Q: 2}), QueueCounts("a", {R: 1, H: 1}), QueueCounts("b", {S: 1}))

    chunks = families.queue_statistics("kunshan", QueueStatistics("test", rows), ())

    assert (
        text(chunks)
        == """\
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="a",state="running"} 2
scnet_queue_jobs{hpc_cluster="kunshan",user="test",queue="b",state="suspended"} 1
"""
    )


def test_a_queue_that_may_be_among_the_unreadable_rows_is_not_shown_as_empty() -> None:
    """Only an answer that was read completely says that a queue seen before has no jobs now."""
    answer = QueueStatistics("test", (), rejected=1)

    assert families.queue_statistics("kunshan", answer, {"debug"}) == {}


def test_queue_statistics_do_not_depend_on_the_order_of_the_answer() -> None:
    """An unchanged answer must give unchanged bytes, or every scrape compresses everything again."""
    rows = (QueueCounts("a", {R: 1}), QueueCounts("b", {Q: 1}), QueueCounts("c", {H: 1}))

    rendered = {
        text(families.queue_statistics("kunshan", QueueStatistics("test", order), {"z", "b"}))
        for order in permutations(rows)
    }

    assert len(rendered) == 1


def test_queue_statistics_leave_the_records_alone() -> None:
    """Records are shared with the tracker; adding up must not write into them."""
    counts = {R: 1}
    rows = (QueueCounts("a", counts), QueueCounts("a", {R: 5}))

    families.queue_statistics("kunshan", QueueStatistics("test", rows), ())

    assert counts == {R: 1}


def test_schedulers_are_shown_once_by_id() -> None:
    answer = Schedulers(
        (
            Scheduler("2", "Second", "PBS"),
            Scheduler("1638523853", "Cluster", "SLURM"),
            Scheduler("2", "Second again", "PBS"),
        )
    )

    assert (
        text(families.schedulers("kunshan", answer))
        == """\
scnet_scheduler_info{hpc_cluster="kunshan",scheduler_id="1638523853",scheduler_name="Cluster",scheduler_type="SLURM"} 1
scnet_scheduler_info{hpc_cluster="kunshan",scheduler_id="2",scheduler_name="Second",scheduler_type="PBS"} 1
"""
    )


def test_a_region_without_schedulers_has_no_lines() -> None:
    assert families.schedulers("kunshan", Schedulers(())) == {}


def job(number: int, state: JobState, **amounts: int | None) -> Job:
    known: dict[str, int | None] = dict.fromkeys(SCNET_JOB_AMOUNTS, 0)
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
    chunks = families.member_jobs("kunshan", "chemistry", "bob", JobListing(case.jobs))

    assert text({family: lines for family, lines in chunks.items() if family.name == case.family}) == case.expected


@pytest.mark.parametrize("amount", SCNET_MEMBER_AMOUNTS)
def test_every_amount_is_shown_under_its_own_name(amount: str) -> None:
    """A field in the wrong family would be believed."""
    listing = JobListing((job(1, R, **{amount: 7}), job(2, R, **{amount: 4})))

    chunks = families.member_jobs("kunshan", "chemistry", "bob", listing)

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
        text(families.per_job("kunshan", "chemistry", "bob", jobs))
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
    assert families.per_job("kunshan", "chemistry", "bob", []) == {}


def test_halves_of_surrogate_pairs_do_not_stop_a_poll() -> None:
    """JSON can hold them; one strange job name must not hide a whole region."""
    assert '"\ufffd"' in text(families.per_job("kunshan", "chemistry", "bob", [Job("1", "\ud800", R)]))


@pytest.mark.parametrize(
    ("up", "stale", "last_success", "expected"),
    [
        (None, True, None, 'hpc_exporter_target_stale{source="kunshan",endpoint="queue_jobs",target="test"} 1\n'),
        (
            True,
            False,
            1700000000.5,
            """\
hpc_exporter_target_last_success_timestamp_seconds{source="kunshan",endpoint="queue_jobs",target="test"} 1700000000.5
hpc_exporter_target_stale{source="kunshan",endpoint="queue_jobs",target="test"} 0
hpc_exporter_target_up{source="kunshan",endpoint="queue_jobs",target="test"} 1
""",
        ),
        (
            False,
            False,
            None,
            """\
hpc_exporter_target_stale{source="kunshan",endpoint="queue_jobs",target="test"} 0
hpc_exporter_target_up{source="kunshan",endpoint="queue_jobs",target="test"} 0
""",
        ),
    ],
    ids=["never tried", "works", "failed, never worked"],
)
def test_target_health(up: bool | None, stale: bool, last_success: float | None, expected: str) -> None:
    chunks = families.target_health("kunshan", "queue_jobs", "test", up=up, stale=stale, last_success=last_success)

    assert text(chunks) == expected


@pytest.mark.parametrize(
    ("family", "up", "expected"),
    [
        (SCNET_UP, None, ""),
        (SCNET_UP, True, 'scnet_up{hpc_cluster="kunshan"} 1\n'),
        (SCNET_UP, False, 'scnet_up{hpc_cluster="kunshan"} 0\n'),
        (OCTOPUS_UP, True, 'octopus_up{project="kunshan"} 1\n'),
    ],
)
def test_source_up(family: Family, up: bool | None, expected: str) -> None:
    assert text(families.source_up(family, "kunshan", up)) == expected


def test_jobs_dropped() -> None:
    assert text(families.jobs_dropped("kunshan", 12)) == 'hpc_exporter_jobs_dropped{source="kunshan"} 12\n'


@pytest.mark.parametrize("state", ["completed", "failed", "timeout", "unknown"])
def test_a_job_that_holds_nothing_adds_nothing_to_what_is_in_use(state: str) -> None:
    """Ended jobs stay listed with the cores that they had; a sum over all states must not count them."""
    rows = (job(1, JobState.RUNNING, allocated_cpus=2), job(2, JobState(state), allocated_cpus=32, requested_cpus=32))
    lines = text(families.member_jobs("kunshan", "chemistry", "test", JobListing(rows)))
    in_use = [line.rpartition("state=")[2] for line in lines.splitlines() if "allocated_cpus{" in line]
    assert in_use == ['"running"} 2', '"queued"} 0']
    assert f'requested_cpus{{hpc_cluster="kunshan",group="chemistry",user="test",state="{state}"}} 32' in lines
