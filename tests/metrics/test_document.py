"""A whole answer with every family in it, held against those who read it."""

import gzip
from collections.abc import Callable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.metrics import health, tracking
from exporter.metrics.exposition import Exposition
from exporter.metrics.format import Format, one_each
from exporter.metrics.health import HPC_UP as SCNET_UP
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import TargetKey
from exporter.records import Job, JobListing, JobState
from exporter.sources.collector import catalogue, registry, rendered
from exporter.sources.jobs import jobs_by_queue, member_jobs, per_job
from exporter.sources.octopus import data_jobs, queuing_jobs
from exporter.sources.octopus.project import UP as OCTOPUS_UP
from exporter.sources.octopus.queue_diff import QueueState, QueueTotals
from exporter.sources.octopus.reading import QueueContent, QueueListing, Requested
from exporter.sources.scnet import queue_jobs
from exporter.sources.scnet.region_cores import CPUS
from exporter.sources.scnet.schedulers import INFO
from exporter.sources.scnet.subjects import ACCOUNT_UP
from exporter.sources.tracked import Followed
from exporter.tracking import MemberKey, Tracker, WaitView
from tests.metrics.test_self_metrics import exercise

MEMBER = MemberKey("kunshan", "533686286955839488", "bob")
STRANGE = 'a "b" \\ c\nd 队列 \u2028'
CAPACITY = [
    family
    for name in ("queue_capacity", "user_limits", "storage_quota", "account")
    for family in registry()[name].families
]
OF_SOURCES = (SCNET_UP, OCTOPUS_UP, health.TARGETS, health.TARGETS_UP, health.JOBS_DROPPED)

CONTENT = QueueContent({("FRAME_EXTRACT", STRANGE, "1Core_4GiB"): 2}, Requested(2, 2**33, 0), 1.6e9)
LISTING = QueueListing(2, CONTENT, frozenset({1, 2}), complete=True, certain=True)
TOTALS = QueueTotals()
TOTALS.state = QueueState(complete_at=0.0)
ENDS = data_jobs.Ends(since=0.0, whole=True)


@pytest.fixture
def exposition() -> Exposition:
    """Everything that we render, at least once."""
    exposition = Exposition()
    jobs = tuple(
        Job(str(n), STRANGE, state, 1, 2, 3, 4, 5, 6, 7, "", STRANGE, "priority", 1.6e9, 1.6e9)
        for n, state in enumerate(JobState)
    )
    for owner, chunks in enumerate(
        (
            queue_jobs.rendered("kunshan", "bob", {STRANGE: {JobState.RUNNING: 1, JobState.UNKNOWN: 1}}),
            rendered([INFO("kunshan", "1638523853", STRANGE, "SLURM", value=1), CPUS("kunshan", "used", value=1)]),
            member_jobs("kunshan", "chemistry", "bob", jobs),
            per_job("kunshan", "chemistry", "bob", jobs),
            jobs_by_queue(
                "kunshan", {Followed(TargetKey("kunshan", "own_jobs", "bob"), MEMBER, "chemistry"): JobListing(jobs)}
            ),
            health.target_health(("kunshan", "queue_jobs", "bob"), up=True, stale=False, last_success=1.7e9),
            rendered([ACCOUNT_UP("lab", value=1)]),
            rendered([family(*family.labels, value=1) for family in CAPACITY]),
            *(one_each({family: 1}, ("kunshan",)) for family in OF_SOURCES),
            rendered([family(*family.labels, value=1) for family in (data_jobs.JOBS, data_jobs.ENDED)]),
            data_jobs.histograms("driving", {"data": ENDS}),
            queuing_jobs.rendered(("driving", STRANGE, "", "pool-1"), LISTING, TOTALS),
            tracking.tracked_member("kunshan", "chemistry", STRANGE, tracked(jobs).member(MEMBER)),
            tracking.tracked_group("kunshan", "chemistry", tracked(jobs).group(MEMBER.source, MEMBER.group_id)),
            tracking.waits("kunshan", {MEMBER.group_id: "chemistry"}, tracked_waits()),
        )
    ):
        exposition.put(owner, chunks)
    return exposition


def tracked_waits() -> tuple[WaitView, ...]:
    tracker = Tracker()
    for minute in range(40):
        jobs = (Job(str(minute // 4), STRANGE, (JobState.QUEUED, JobState.RUNNING)[minute % 2], queue=STRANGE),)
        tracker.observe(MEMBER, JobListing(jobs if minute % 4 < 2 and minute > 3 else ()), 60.0 * minute, 60.0)
    return tracker.waits(MEMBER.source, 2400.0)


def tracked(jobs: tuple[Job, ...]) -> Tracker:
    tracker = Tracker()
    for at in (0.0, 60.0):
        tracker.observe(MEMBER, JobListing(jobs), at, 60.0)
    return tracker


@pytest.fixture
def own() -> SelfMetrics:
    own = SelfMetrics()
    exercise(own)
    return own


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("fmt", Format)
async def test_every_family_of_the_catalogue_stands_once_in_one_document(
    exposition: Exposition, own: SelfMetrics, fmt: Format, compress: bool
) -> None:
    body = await exposition.body(fmt, compress=compress, own=own.render(fmt, exposition.series))

    text = (gzip.decompress(body) if compress else body).decode()
    parse = parse_text if fmt is Format.TEXT else parse_openmetrics
    parsed = [family.name + "_total" * (family.type == "counter") for family in parse(text)]
    assert len(parsed) == len(set(parsed))
    assert {name for name in parsed if not name.startswith("process_")} == catalogue().keys()
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    assert f"hpc_exporter_series {len(lines)}" in lines
    assert text.count("# EOF\n") == (fmt is Format.OPENMETRICS)


async def test_promtool_finds_nothing_to_complain_about(
    exposition: Exposition, own: SelfMetrics, run_real_part: Callable[[list[str], bytes], bytes]
) -> None:
    """Prometheus' own parser reads it, and its own rules of naming are kept."""
    body = await exposition.body(Format.TEXT, compress=False, own=own.render(Format.TEXT, exposition.series))

    # promtool knows the label of bounds of quantiles from summaries alone, and there is no type for bounds.
    assert run_real_part(["promtool", "check", "metrics"], body.replace(b',quantile="', b',level="')) == b""
