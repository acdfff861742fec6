"""Reasons of schedulers -> the closed list."""

from typing import Any

import pytest

from exporter.records import PENDING_REASONS, JobState
from exporter.sources.reasons import pending_reason

WORDS: dict[str | None, tuple[Any, ...]] = {
    "priority": ("Priority", "(Priority)", " priority "),
    "resources": ("Resources", "Licenses", "BurstBufferResources"),
    "limit": (
        *("QOSMaxJobsPerUserLimit", "QOSGrpCpuLimit", "AssocGrpCpuLimit", "AssocMaxJobsLimit", "AssociationJobLimit"),
        *("MaxMemPerLimit", "PartitionTimeLimit", "PartitionNodeLimit", "JobArrayTaskLimit", "AccountingPolicy"),
    ),
    "dependency": ("Dependency", "DependencyNeverSatisfied"),
    "held": (
        *("JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue"),
        *("launch failed requeued held", "job requeued in held state"),
    ),
    "begin_time": ("BeginTime",),
    "nodes_unavailable": (
        *("ReqNodeNotAvail", "ReqNodeNotAvail, UnavailableNodes:a[1-3]", "ReqNodeNotAvail(Unavailable:n1)", "NodeDown"),
        *("PartitionDown", "PartitionInactive"),
        "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    ),
    "other": ("Reservation", "InvalidAccount", "Prolog", "作业排队", "x" * 100_000, "prio"),
    None: (None, "", "None", "(null)", "N/A", "--", 5, True, [], {}),
}


@pytest.mark.parametrize(("word", "reason"), [(word, reason) for reason, words in WORDS.items() for word in words])
def test_a_word_is_sorted_into_the_closed_list(word: Any, reason: str | None) -> None:
    for state in (JobState.QUEUED, JobState.WAITING, JobState.REQUEUED):
        assert pending_reason(state, word) == reason
    for state in (JobState.RUNNING, JobState.COMPLETED, JobState.UNKNOWN):
        assert pending_reason(state, word) is None
    assert pending_reason(JobState.HELD, word) == (reason or "held")


def test_the_list_is_complete() -> None:
    assert set(WORDS) == {*PENDING_REASONS, None}
