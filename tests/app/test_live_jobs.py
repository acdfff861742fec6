"""Live jobs of several regions by one list, in the whole application, against a platform whose truth is known."""

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bench.requests import measured
from exporter.simulator import Fault, Simulator, State, default_regions
from exporter.web.rows import rows_of
from tests.app.running import Running, ready
from tests.docs.pages import ROOT
from tests.e2e.test_accounts import account, cluster

REGIONS = 3


def configuration(simulator: Simulator, collect: str, **changes: Any) -> str:
    clusters = []
    for region in simulator.regions.values():
        groups = {group.name: group.id for group in region.spec.groups}
        members = [
            {"group_id": number, "group": name, "users": [u.name for u in region.spec.users if u.group == name]}
            for name, number in groups.items()
        ]
        clusters.append(cluster(region, users=[], collect=[collect], members=members))
    poll = {"interval": "1s", "stale_after": "1m"}
    return json.dumps({"poll": poll, "accounts": [account(simulator, name="lab")], "clusters": clusters} | changes)


@asynccontextmanager
async def exporter(
    tmp_path: Path, simulator: Simulator, collect: str = "live_jobs", **changes: Any
) -> AsyncIterator[Running]:
    async with ready(tmp_path, configuration(simulator, collect, **changes)) as started:
        yield started


def of_members(samples: dict[str, float]) -> dict[str, float]:
    return {series: value for series, value in samples.items() if series.startswith("hpc_member_")}


async def test_it_shows_the_same_numbers_as_the_lists_of_members(tmp_path: Path) -> None:
    off: Any = {"tracking": {"enabled": False}}
    async with Simulator(default_regions(REGIONS), clock=lambda: 0.0) as simulator:
        (tmp_path / "live").mkdir()
        (tmp_path / "members").mkdir()
        async with exporter(tmp_path / "live", simulator, **off) as live:
            by_one_list = of_members(await live.samples())
        async with exporter(tmp_path / "members", simulator, "member_jobs", **off) as members:
            by_member = of_members(await members.samples())
        regions = simulator.regions.values()
        jobs = [job for each in regions for user in each.spec.users if user.group for job in each.batch.jobs(user.name)]
    # A failed job is listed as completed there, and the reason tells; here it has a state of its own.
    assert by_one_list == by_member
    assert sum(value for series, value in by_one_list.items() if "hpc_member_jobs" in series) == len(jobs) > 100


async def test_the_status_lists_each_member_and_their_queues(tmp_path: Path) -> None:
    async with Simulator(default_regions(2), clock=lambda: 0.0) as simulator, exporter(tmp_path, simulator) as started:
        status = await started.status()
        targets = status["targets"]
        members, queues = rows_of("members", targets), rows_of("queues", targets)
        found = {(row["source"], row["group"], row["user"]): (row["running"], row["queued"]) for row in members}
        wanted = {}
        for region in simulator.regions.values():
            for user in (user for user in region.spec.users if user.group):
                states = Counter(job.state for job in region.batch.jobs(user.name))
                wanted[region.name, user.group, user.name] = (states[State.RUNNING], states[State.QUEUED])
        jobs = simulator.regions["xian"].batch.jobs("alice")
        of_alice = {row["queue"]: row["running"] for row in queues if (row["source"], row["user"]) == ("xian", "alice")}
    assert found == wanted
    assert len({row["key"] for row in (*members, *queues)}) == len(members) + len(queues)
    assert of_alice == {
        queue: sum(job.state is State.RUNNING for job in jobs if job.queue == queue)
        for queue in {job.queue for job in jobs}
    }
    jsonschema.validate(status, json.loads((ROOT / "docs" / "status.schema.json").read_text()))


async def test_members_that_only_the_list_names_are_shown_and_kept(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    async with Simulator(default_regions(1), clock=lambda: 0.0) as simulator:
        document = json.loads(configuration(simulator, "live_jobs", tracking={"state_file": str(state)}))
        (region,) = document["clusters"]
        del region["members"]
        async with ready(tmp_path, json.dumps(document)) as started:
            status = await started.status()
    listed = {row["user"] for row in rows_of("members", status["targets"])}
    with contextlib.closing(sqlite3.connect(state)) as connection:
        kept = {json.loads(key)[-1] for (key,) in connection.execute("SELECT key FROM members")}
    assert len(listed) > 1
    assert kept == listed


async def test_one_request_for_a_page_serves_all_regions_poll_after_poll(tmp_path: Path) -> None:
    async with Simulator(default_regions(REGIONS), clock=lambda: 0.0) as simulator:
        async with exporter(tmp_path, simulator) as started:
            polls = {f'hpc_exporter_polls_total{{source="{name}",collector="live_jobs"}}' for name in simulator.regions}
            await started.shows(
                lambda samples: all(samples.get(each, 0) >= 8 for each in polls), "eight polls of each region"
            )
            samples = await started.samples()
            total = sum(samples[each] for each in polls)
        jobs = sum(len(each.batch.jobs(user.name)) for each in simulator.regions.values() for user in each.spec.users)
        requests = simulator.platform.requests.counts["live_jobs"]
        assert simulator.platform.requests.max_in_flight == 1
    pages = -(-jobs // 100)
    # Not one list for each region, but for a poll or two at the start and where a busy machine is late.
    assert requests <= pages * (total / REGIONS + REGIONS + total / 4)


async def test_a_region_whose_list_fails_goes_stale_alone_in_truth(tmp_path: Path) -> None:
    """All regions of an account depend on its list, but each has a target, an interval and a staleness of its own."""
    async with Simulator(default_regions(2), clock=lambda: 0.0) as simulator, exporter(tmp_path, simulator) as started:
        up = [
            f'hpc_exporter_target_up{{source="{name}",collector="live_jobs",target=""}}' for name in simulator.regions
        ]
        assert [(await started.samples())[each] for each in up] == [1, 1]
        simulator.platform.faults.add(Fault(kind="status", endpoint="live_jobs", status=502))
        samples = await started.shows(lambda found: all(found[each] == 0 for each in up), "both failing")
        assert [samples[f'hpc_up{{hpc_cluster="{name}"}}'] for name in simulator.regions] == [0, 0]
        assert of_members(samples)
        simulator.platform.faults.clear()
        await started.shows(lambda found: all(found[each] == 1 for each in up), "both up")


@pytest.mark.parametrize("quirk", ["refused", "ignored"])
async def test_left_out_jobs_of_the_group_are_said_on_the_status_page(tmp_path: Path, quirk: Any) -> None:
    async with Simulator(default_regions(2), clock=lambda: 0.0) as simulator:
        simulator.platform.set_quirks(show_group_jobs=quirk)
        async with exporter(tmp_path, simulator) as started:
            status = await started.status()
            samples = await started.samples()
    assert sum("showGroupJobs" in warning for warning in status["config"]["warnings"]) == 2
    shown = {series for series in samples if series.startswith("hpc_member_jobs")}
    assert shown
    assert all('user="test"' in series for series in shown)


async def test_a_region_without_the_list_is_not_down(tmp_path: Path) -> None:
    async with Simulator(default_regions(1), clock=lambda: 0.0) as simulator:
        simulator.platform.faults.add(Fault(kind="status", endpoint="live_jobs", status=404))
        async with exporter(tmp_path, simulator) as started:
            status = await started.status()
    assert [target["state"] for target in status["targets"]] == ["absent"]


async def test_a_round_of_polls_takes_a_twentieth_of_the_requests() -> None:
    """Of 50 members in each of six regions; `make bench` prints it."""
    one_by_one, by_one_list = await measured()
    assert one_by_one == 600
    assert 1 < by_one_list <= 30
