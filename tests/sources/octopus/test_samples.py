"""Tables: what a listing and the counters say -> the exact lines of a queue."""

from dataclasses import dataclass

import pytest

from exporter.metrics.render import Chunks
from exporter.sources.octopus import samples as octopus
from exporter.sources.octopus.records import QueueContent, QueueListing, Requested
from exporter.sources.octopus.samples import QueueCounters, QueueLabels
from exporter.tracking.histogram import Histogram

LABELS = QueueLabels("driving", "PROCESSOR", "MODELARTS", "pool-1")
QUEUE = 'project="driving",queue_type="PROCESSOR",cluster_type="MODELARTS",cluster_id="pool-1"'
EMPTY = QueueContent({}, Requested(0, 0, 0), None)


def text(chunks: Chunks) -> str:
    """The lines of all families in the order of their names, for comparison with a literal."""
    return b"".join(chunks[family] for family in sorted(chunks, key=lambda family: family.name)).decode()


def listing(content: QueueContent | None, length: int | None, *, complete: bool = True) -> QueueListing:
    return QueueListing(length, content, frozenset(), complete=complete, certain=complete)


@dataclass
class Case:
    promise: str
    listing: QueueListing
    expected: str


CASES = [
    Case(
        "an empty queue is known to ask for nothing",
        listing(EMPTY, 0),
        f"""\
octopus_queue_length{{{QUEUE}}} 0
octopus_queue_listing_complete{{{QUEUE}}} 1
octopus_queued_requested_cpu_cores{{{QUEUE}}} 0
octopus_queued_requested_memory_bytes{{{QUEUE}}} 0
octopus_queued_unread_resource_specs{{{QUEUE}}} 0
""",
    ),
    Case(
        "kinds are written in a fixed order, escaped, empty where the API says nothing",
        listing(
            QueueContent(
                {("b", 'a "\\\n', "2Core_8GiB"): 2, ("", "", ""): 1}, Requested(4.5, 2**34, 1), 1640966400.123
            ),
            3,
        ),
        f"""\
octopus_queue_length{{{QUEUE}}} 3
octopus_queue_listing_complete{{{QUEUE}}} 1
octopus_queued_jobs{{{QUEUE},job_type="",processor="",resource_spec=""}} 1
octopus_queued_jobs{{{QUEUE},job_type="b",processor="a \\"\\\\\\n",resource_spec="2Core_8GiB"}} 2
octopus_queued_oldest_rank_timestamp_seconds{{{QUEUE}}} 1640966400.123
octopus_queued_requested_cpu_cores{{{QUEUE}}} 4.5
octopus_queued_requested_memory_bytes{{{QUEUE}}} 17179869184
octopus_queued_unread_resource_specs{{{QUEUE}}} 1
""",
    ),
    Case(
        "of a queue that was not read as a whole only the length is known",
        listing(None, 450, complete=False),
        f"octopus_queue_length{{{QUEUE}}} 450\noctopus_queue_listing_complete{{{QUEUE}}} 0\n",
    ),
    Case(
        "a length that the API does not say is not shown",
        listing(None, None, complete=False),
        f"octopus_queue_listing_complete{{{QUEUE}}} 0\n",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.promise)
def test_listings(case: Case) -> None:
    assert text(octopus.queue(LABELS, case.listing, None)) == case.expected


def test_counters_stand_beside_a_listing_that_tells_little() -> None:
    waits = Histogram((60.0, 3600.0), [0, 0, 0])
    for seconds in (30.0, 90.5, 7200.0):
        waits.observe(seconds)
    chunks = octopus.queue(LABELS, listing(None, None, complete=False), QueueCounters(5, 3, waits.view()))
    assert text(chunks) == (
        f"""\
octopus_job_observed_queue_seconds_bucket{{{QUEUE},le="60.0"}} 1
octopus_job_observed_queue_seconds_bucket{{{QUEUE},le="3600.0"}} 2
octopus_job_observed_queue_seconds_bucket{{{QUEUE},le="+Inf"}} 3
octopus_job_observed_queue_seconds_sum{{{QUEUE}}} 7320.5
octopus_job_observed_queue_seconds_count{{{QUEUE}}} 3
octopus_queue_arrivals_total{{{QUEUE}}} 5
octopus_queue_departures_total{{{QUEUE}}} 3
octopus_queue_listing_complete{{{QUEUE}}} 0
"""
    )


def test_the_order_of_the_rows_does_not_show() -> None:
    kinds = {("a", "", ""): 1, ("b", "", ""): 2}
    turned = dict(reversed(kinds.items()))
    one, other = (QueueContent(jobs, Requested(0, 0, 3), None) for jobs in (kinds, turned))
    assert octopus.queue(LABELS, listing(one, 3), None) == octopus.queue(LABELS, listing(other, 3), None)
