"""Single jobs for people: which are shown, in which order, and since when each waits or runs."""

from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.app.joblist import ORDERS, SLICE, JobSelection, job_facts, select_jobs
from exporter.records import Job, JobState
from exporter.sources.display import MemberJobs
from exporter.tracking import Phase, TrackedJob

NOW = 1_790_000_000.0
QUEUED, RUNNING = JobState.QUEUED, JobState.RUNNING


def member(user: str, *jobs: Job, source: str = "kunshan", group: str = "chemistry") -> MemberJobs:
    return MemberJobs(source, group, user, "7", jobs)


def shown(listed: list[MemberJobs], **wanted: Any) -> list[str]:
    """Return the ids of the jobs that a selection gives."""
    return [entry.job.id for entry in select_jobs(listed, {}, NOW, JobSelection(**wanted)).entries]


LISTED = [
    member("alice", Job("2", "relax", QUEUED, submitted=NOW - 50), Job("10", "Train", RUNNING, started=NOW - 500)),
    member("bob", Job("3", "md", QUEUED, queue="gpu", submitted=NOW - 900), Job("4", "", QUEUED), source="xian"),
    member("user10", Job("5", "x", JobState.COMPLETED, started=NOW - 1, ended=NOW), group=""),
    member("user2", Job("6", "y", JobState.HELD, reason="held", submitted=NOW - 90_000)),
]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        ({}, "6 3 2 4 10 5"),
        ({"descending": True}, "5 10 4 2 3 6"),
        ({"limit": 2}, "6 3"),
        ({"limit": 2, "offset": 4}, "10 5"),
        ({"offset": 99}, ""),
        ({"states": frozenset({"queued", "held"})}, "6 3 2 4"),
        ({"source": "xian"}, "3 4"),
        ({"user": "alice"}, "2 10"),
        ({"user": "alic"}, ""),
        ({"group": "chemistry", "queue": "gpu"}, "3"),
        ({"text": "TRAIN alice"}, "10"),
        ({"text": "gpu xian"}, "3"),
        ({"text": "nobody"}, ""),
        ({"sort": "job"}, "2 3 4 5 6 10"),
        ({"sort": "user", "states": frozenset({"held", "completed"})}, "6 5"),
        ({"sort": "submitted", "limit": 3}, "6 3 2"),
    ],
)
def test_jobs_are_selected_and_the_longest_waiting_one_comes_first(wanted: dict[str, Any], ids: str) -> None:
    assert " ".join(shown(LISTED, **wanted)) == ids


@given(st.lists(st.integers(0, 50), max_size=60), st.booleans(), st.integers(1, 7), st.data())
def test_the_pages_together_are_everything_once_and_sorted(
    cpus: list[int], descending: bool, limit: int, data: st.DataObject
) -> None:
    """Sorted in slices, merged, and in pages: the same as sorted in one go."""
    jobs = [Job(str(number), "", RUNNING, allocated_cpus=each) for number, each in enumerate(cpus)]
    cut = data.draw(st.integers(0, len(jobs)))
    listed = [member("a", *jobs[:cut]), member("b", *jobs[cut:])]
    wanted = JobSelection(sort="cpus", descending=descending, limit=limit)
    pages = [
        select_jobs(listed, {}, NOW, replace(wanted, offset=offset)).entries for offset in range(0, len(jobs), limit)
    ]
    expected = sorted(jobs, key=lambda job: job.allocated_cpus or 0, reverse=descending)
    assert [entry.job for entry in chain.from_iterable(pages)] == expected


def test_more_than_a_slice_is_in_order() -> None:
    jobs = [Job(str(number), "", QUEUED, submitted=NOW - number * 7919 % 10_007) for number in range(2 * SLICE + 5)]
    page = select_jobs([member("a", *jobs)], {}, NOW, JobSelection(limit=10**9))
    waits = [entry.since or 0.0 for entry in page.entries]
    assert waits == sorted(waits)
    assert (page.matching, page.total, len(page.entries)) == (2 * SLICE + 5,) * 3


def test_every_order_takes_jobs_of_which_nothing_is_known() -> None:
    bare = [member("", Job("1", "", state), Job("2", "9", state), source="", group="") for state in JobState]
    for sort in ORDERS:
        assert len(shown(bare + LISTED, sort=sort)) == 2 * len(JobState) + 6


WAITS = TrackedJob(QUEUED, Phase.WAIT, None, NOW - 100)
RUNS = TrackedJob(RUNNING, Phase.RUN, None, NOW - 100)
HOUR = 3600.0


@pytest.mark.parametrize(
    ("state", "submitted", "started", "known", "since", "basis"),
    [
        (QUEUED, -600, None, None, -600, "reported"),
        (RUNNING, -600, -500, None, -500, "reported"),
        # Times that cannot be: in the future, by the wrong zone.
        (QUEUED, 8 * HOUR, None, None, None, None),
        (RUNNING, -600, 8 * HOUR, None, None, None),
        (QUEUED, 8 * HOUR, None, WAITS, -100, "first_seen"),
        (QUEUED, None, None, WAITS, -100, "first_seen"),
        (QUEUED, None, None, TrackedJob(QUEUED, Phase.WAIT, NOW - 130, NOW - 100), -130, "polls"),
        (
            QUEUED,
            -9999,
            None,
            TrackedJob(QUEUED, Phase.WAIT, NOW - 130, NOW - 150, submitted=NOW - 150),
            -150,
            "reported",
        ),
        (RUNNING, None, None, RUNS, -100, "first_seen"),
        (RUNNING, None, None, TrackedJob(RUNNING, Phase.RUN, NOW - 70, NOW - 40), -70, "polls"),
        (RUNNING, None, -70, TrackedJob(RUNNING, Phase.RUN, NOW - 70, NOW - 40, reported=True), -70, "reported"),
        # Listed in another state than the tracker has taken in yet.
        (RUNNING, -600, -5, WAITS, None, None),
        (JobState.SUSPENDED, None, None, RUNS, -100, "first_seen"),
        (JobState.SUSPENDED, -600, -500, None, None, None),
        (JobState.UNKNOWN, None, None, None, None, None),
        (JobState.COMPLETED, -600, -500, TrackedJob(JobState.COMPLETED, Phase.ENDED, None, NOW), None, None),
    ],
)
def test_since_when_it_waits_or_runs(  # noqa: PLR0917 - a table
    state: JobState,
    submitted: float | None,
    started: float | None,
    known: TrackedJob | None,
    since: float | None,
    basis: str | None,
) -> None:
    def at(offset: float | None) -> float | None:
        return None if offset is None else NOW + offset

    of_alice = member("alice", Job("7_[1-4]", "", state, submitted=at(submitted), started=at(started)))
    tracked = {of_alice.key: {"7_[]": known}} if known is not None else {}
    (entry,) = select_jobs([of_alice], tracked, NOW, JobSelection()).entries
    assert (entry.since, entry.basis) == (at(since), basis)


def test_nothing_invisible_is_in_the_facts() -> None:
    evil = "a\u202eb\x1b[2Jc\x00"
    job = Job(f"1{evil}", evil, JobState.UNKNOWN, raw_state=evil, queue=evil)
    (entry,) = select_jobs([member(evil, job, group=evil)], {}, NOW, JobSelection()).entries
    assert all(text.isprintable() for text in job_facts(entry).values() if isinstance(text, str))
