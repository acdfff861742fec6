"""The numbers for people: the same as those for Prometheus."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.family import Family
from exporter.metrics.format import Chunks
from exporter.polling import TargetKey
from exporter.records import HOLDS_NOTHING, Job, JobListing, JobState
from exporter.sources import jobs as of_jobs
from exporter.sources.display import (
    Counts,
    InUse,
    MemberFigures,
    StatusSummary,
    TaskFigures,
)
from exporter.sources.scnet.queue_jobs import JOBS as QUEUE_JOBS
from exporter.sources.scnet.queue_jobs import QueueCounts, QueueStatistics, by_queue, figures, rendered

QUEUE_STATES = (JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED, JobState.OTHER)
NUMBERS = st.none() | st.integers(0, 1000)
QUEUES = st.sampled_from(["debug", "normal", "gpu"])
JOBS = st.builds(
    Job,
    id=st.integers(1, 10**6).map(str),
    name=st.just("job"),
    state=st.sampled_from(JobState),
    allocated_cpus=NUMBERS,
    allocated_gpus=NUMBERS,
    allocated_dcus=NUMBERS,
)


def samples(chunks: Chunks, family: Family) -> dict[str, int]:
    """Series and values of a family."""
    lines = chunks.get(family, b"").decode().splitlines()
    return {series: int(value) for series, _, value in (line.rpartition(" ") for line in lines)}


@given(
    st.lists(st.builds(QueueCounts, QUEUES, st.dictionaries(st.sampled_from(QUEUE_STATES), st.integers(0, 1000)))),
    st.sets(QUEUES),
    st.integers(0, 1),
)
def test_queues_show_what_the_samples_show(rows: list[QueueCounts], seen: set[str], rejected: int) -> None:
    statistics = QueueStatistics("test", tuple(rows), rejected=rejected)
    queues = by_queue(statistics, seen)
    wanted = samples(rendered("kunshan", "test", queues), QUEUE_JOBS)
    found = {
        f'hpc_queue_jobs{{hpc_cluster="kunshan",user="test",queue="{queue}",state="{state}"}}': value
        for queue, counts in figures(queues).queues
        for state, value in counts._asdict().items()
        if value is not None
    }
    assert found == wanted


@given(st.lists(JOBS))
def test_members_show_what_the_samples_show(jobs: list[Job]) -> None:
    listing = JobListing(tuple(jobs))
    chunks = of_jobs.member_jobs("kunshan", "chemistry", "test", jobs)
    of_member = of_jobs.member_figures(listing.jobs)
    by_state = samples(chunks, of_jobs.JOBS)
    for state in ("running", "queued", "held", "suspended"):
        assert getattr(of_member.jobs, state) == sum(
            n for series, n in by_state.items() if f'state="{state}"' in series
        )
    assert sum(number or 0 for number in of_member.jobs) == sum(by_state.values()) == len(jobs)
    for name in ("cpus", "gpus", "dcus"):
        shown = samples(chunks, of_jobs.AMOUNTS[f"allocated_{name}"])
        value = getattr(of_member.in_use, name)
        unknown = any(getattr(job, f"allocated_{name}") is None for job in jobs if job.state not in HOLDS_NOTHING)
        assert value == (None if unknown else sum(shown.values()))


def test_sums_are_by_source_and_of_what_is_shown_now() -> None:
    board = StatusSummary()
    alice, bob = (TargetKey("kunshan", "member_jobs", f"chemistry/{user}") for user in ("alice", "bob"))
    board.show(alice, MemberFigures(Counts(1, 2, 3, 4, 5), InUse(10, 1, None)))
    board.show(bob, MemberFigures(Counts(10, 0, 0, 0, 0), InUse(5, 0, 1)))
    board.show(TargetKey("driving", "queuing_jobs", "A"), TaskFigures(7))
    totals = board.totals("kunshan")
    assert totals.members == MemberFigures(Counts(11, 2, 3, 4, 5), InUse(15, 1, None))
    assert (totals.queues, totals.tasks) == (None, None)
    board.hide(alice)
    board.hide(alice)
    members = board.totals("kunshan").members
    assert members is not None
    assert members.in_use == InUse(5, 0, 1)
    board.hide(bob)
    assert board.totals("kunshan") == (None, None, None)
    assert board.of(bob) is None


@given(st.lists(st.lists(st.tuples(QUEUES, st.builds(Counts, NUMBERS, NUMBERS)), max_size=3), max_size=4))
def test_a_sum_with_an_unknown_part_is_unknown(users: list[list[tuple[str, Counts]]]) -> None:
    board = StatusSummary()
    for number, queues in enumerate(users):
        statistics = [
            QueueCounts(queue, {JobState(s): n for s, n in counts._asdict().items() if n is not None})
            for queue, counts in dict(queues).items()
        ]
        key = TargetKey("kunshan", "queue_jobs", str(number))
        board.show(key, figures(by_queue(QueueStatistics("test", tuple(statistics)))))
    found = board.totals("kunshan").queues
    if not users:
        assert found is None
        return
    assert found is not None
    for index, state in enumerate(Counts._fields):
        parts = [counts[index] for queues in users for counts in dict(queues).values()]
        assert getattr(found, state) == (None if None in parts else sum(part or 0 for part in parts))
