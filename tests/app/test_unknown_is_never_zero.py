"""A value that a region did not send, or not readably, gives no sample. A zero was sent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.app.running import ready
from tests.e2e.region import Answers, cluster, configuration, envelope, job, queue, scripted_region

POLL = {"interval": "100ms", "retries": 0}


def queue_jobs(samples: Mapping[str, float], name: str = "debug") -> dict[str, float]:
    """State and number of a queue's jobs."""
    start = f'hpc_queue_jobs{{hpc_cluster="kunshan",user="test",queue="{name}",state="'
    return {series.removeprefix(start)[:-2]: n for series, n in samples.items() if series.startswith(start)}


def member(samples: Mapping[str, float], what: str) -> dict[str, float]:
    start = f'hpc_member_{what}{{hpc_cluster="kunshan",group="chemistry",user="test",state="'
    return {series.removeprefix(start)[:-2]: n for series, n in samples.items() if series.startswith(start)}


async def answered(folder: Path, **answers: Any) -> dict[str, float]:
    """Return the samples after one round of polls that were answered so."""
    bodies: Answers = {endpoint: envelope(data) for endpoint, data in answers.items()}
    async with scripted_region(bodies) as region, ready(folder, configuration(cluster(region.url))) as exporter:
        return await exporter.samples()


async def test_a_number_of_jobs_that_cannot_be_read_is_absent(tmp_path: Path) -> None:
    row = queue("debug", R=2, H=1)
    row["values"][1]["metricValue"] = "many"
    samples = await answered(tmp_path, queue_jobs=[row])
    assert queue_jobs(samples) == {"running": 2, "held": 1, "suspended": 0, "other": 0}
    assert samples['hpc_exporter_records_rejected_total{source="kunshan",collector="queue_jobs"}'] == 1


async def test_a_sum_with_a_part_that_cannot_be_read_is_absent(tmp_path: Path) -> None:
    """Two schedulers have a queue of one name; of one of them a number is missing."""
    broken = queue("debug", R=1, Q=1)
    broken["values"][0]["metricValue"] = None
    samples = await answered(tmp_path, queue_jobs=[queue("debug", R=2, Q=2), broken])
    assert queue_jobs(samples) == {"queued": 3, "held": 0, "suspended": 0, "other": 0}


async def test_a_queue_whose_row_cannot_be_read_is_not_empty(tmp_path: Path) -> None:
    """It was seen before, and it is in the answer, with an unknown number of jobs."""
    good = [queue("debug", R=2), queue("normal", R=3)]
    async with scripted_region({"queue_jobs": envelope(good)}) as region:
        text = configuration(cluster(region.url, members=[], collect=["queue_jobs"]), poll=POLL)
        async with ready(tmp_path, text) as exporter:
            region.answers["queue_jobs"] = envelope([{"name": "debug", "values": "?"}, queue("normal", R=4)])
            samples = await exporter.shows(
                lambda samples: queue_jobs(samples, "normal")["running"] == 4, "the new data"
            )
            assert queue_jobs(samples).get("running") != 0


async def test_an_amount_that_was_not_sent_is_absent(tmp_path: Path) -> None:
    with_null = job("1", gpuNumReq=None)
    without = job("2", status="statQ")
    del without["cpuCore"]
    samples = await answered(tmp_path, member_jobs=[with_null, without])
    assert member(samples, "jobs") == {"running": 1, "queued": 1, "held": 0, "suspended": 0}
    assert member(samples, "requested_gpus") == {"queued": 0}
    assert member(samples, "allocated_cpus") == {"running": 2}
    assert member(samples, "requested_nodes") == {"running": 1, "queued": 1}


async def test_a_job_that_cannot_be_read_spares_its_neighbours(tmp_path: Path) -> None:
    samples = await answered(tmp_path, member_jobs=[job("1"), job("2", cpuCore="two"), 7, job("3")])
    assert member(samples, "jobs")["running"] == 3
    assert "running" not in member(samples, "allocated_cpus"), "a sum without the second job's cores would be too small"
    assert member(samples, "requested_nodes")["running"] == 3
    assert samples['hpc_exporter_records_rejected_total{source="kunshan",collector="member_jobs"}'] == 2


@pytest.mark.parametrize("endpoint", ["schedulers", "queue_jobs", "member_jobs"])
async def test_a_list_of_which_no_row_can_be_read_is_a_failed_poll(tmp_path: Path, endpoint: str) -> None:
    samples = await answered(tmp_path, **{endpoint: [7, {"text": "no id, no name"}]})
    up = {
        series: value
        for series, value in samples.items()
        if f'collector="{endpoint}"' in series and "target_up{" in series
    }
    assert set(up.values()) == {0}
    assert samples[f'hpc_exporter_poll_failures_total{{source="kunshan",collector="{endpoint}",reason="decode"}}'] == 1


async def test_a_value_that_cannot_be_read_leaves_queues_that_went_away_at_zero(tmp_path: Path) -> None:
    async with scripted_region({"queue_jobs": envelope([queue("debug", R=2), queue("normal", R=3)])}) as region:
        text = configuration(cluster(region.url, members=[], collect=["queue_jobs"]), poll=POLL)
        async with ready(tmp_path, text) as exporter:
            odd = {"metricName": None, "metricValue": 2}
            region.answers["queue_jobs"] = envelope([{"name": "debug", "values": [odd]}])
            samples = await exporter.shows(
                lambda samples: queue_jobs(samples, "normal")["running"] == 0, "the new data"
            )
            assert queue_jobs(samples) == {}


async def test_members_whose_group_and_user_share_a_slash_are_two_targets(tmp_path: Path) -> None:
    members = [
        {"group_id": "533686286955839488", "group": "a/b", "users": ["c"]},
        {"group_id": "533686286955839489", "group": "a", "users": ["b/c"]},
        {"group_id": "533686286955839490", "group": "a%2Fb", "users": ["c"]},
    ]
    async with scripted_region({"member_jobs": envelope([job("1")])}) as region:
        text = configuration(cluster(region.url, members=members, collect=["member_jobs"]))
        async with ready(tmp_path, text) as exporter:
            samples = await exporter.samples()
            status = await exporter.status()
    targets = {"a%2Fb/c", "a/b/c", "a%252Fb/c"}
    assert {target["target"] for target in status["targets"]} == targets
    for target in targets:
        labels = f'{{source="kunshan",collector="member_jobs",target="{target}"}}'
        assert samples[f"hpc_exporter_target_up{labels}"] == 1
    for group, user in (("a/b", "c"), ("a", "b/c"), ("a%2Fb", "c")):
        assert samples[f'hpc_member_jobs{{hpc_cluster="kunshan",group="{group}",user="{user}",state="running"}}'] == 1


async def test_an_unknown_state_is_counted_as_unknown(tmp_path: Path) -> None:
    samples = await answered(tmp_path, member_jobs=[job("1", status="statZZ"), job("2")])
    assert member(samples, "jobs") == {"running": 1, "queued": 0, "held": 0, "suspended": 0, "unknown": 1}
    assert samples['hpc_exporter_unknown_states_total{source="kunshan",collector="member_jobs"}'] == 1


async def test_numbers_may_come_as_text(tmp_path: Path) -> None:
    row = queue("debug")
    row["values"][0]["metricValue"] = "12"
    samples = await answered(tmp_path, queue_jobs=[row], member_jobs=[job("1", cpuCore="64")])
    assert queue_jobs(samples)["running"] == 12
    assert member(samples, "allocated_cpus")["running"] == 64


async def test_before_the_first_success_there_is_nothing(tmp_path: Path) -> None:
    nonsense: Answers = dict.fromkeys(("queue_jobs", "schedulers", "member_jobs"), b"{}")
    async with scripted_region(nonsense) as region, ready(tmp_path, configuration(cluster(region.url))) as exporter:
        assert len(region.requests) == 3
        assert await exporter.domain() == {'hpc_up{hpc_cluster="kunshan"}': 0}
