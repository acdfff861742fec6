"""Commands about regions whose jobs come from the platform's list: one request for all of them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.simulator import Simulator, default_regions
from tests.app.test_live_jobs import configuration
from tests.support.command import Command


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(default_regions(2), clock=lambda: 0.0) as simulator:
        yield simulator


@pytest.fixture
def command(simulator: Simulator, tmp_path: Path) -> Command:
    return Command(tmp_path, configuration(simulator, "live_jobs"))


def ids(simulator: Simulator, *users: str, regions: tuple[str, ...] = ("kunshan", "xian")) -> set[tuple[str, str]]:
    jobs = {name: simulator.regions[name].batch for name in regions}
    return {(name, str(job.id)) for name, batch in jobs.items() for user in users for job in batch.jobs(user)}


CHEMISTRY, PHYSICS = ("test", "alice", "王伟"), ("bob", "carol", "zhang-san")


@pytest.mark.parametrize(
    ("filters", "users", "regions"),
    [
        ([], CHEMISTRY + PHYSICS, ("kunshan", "xian")),
        (["--cluster=xian"], CHEMISTRY + PHYSICS, ("xian",)),
        (["--user=alice", "--user=bob"], ("alice", "bob"), ("kunshan", "xian")),
        (["--group=physics", "--cluster=kunshan"], PHYSICS, ("kunshan",)),
    ],
)
async def test_jobs_list(
    command: Command, simulator: Simulator, filters: list[str], users: tuple[str, ...], regions: tuple[str, ...]
) -> None:
    result = await command("jobs", "list", "--format=json", *filters)
    found = json.loads(result.stdout)["jobs"]
    assert (result.status, result.stderr) == (0, "")
    assert {(row["cluster"], row["id"]) for row in found} == ids(simulator, *users, regions=regions)
    assert all(row["submitted"] for row in found)
    assert {row["started"] is None for row in found if row["state"] == "queued"} == {True}
    assert simulator.platform.requests.counts["live_jobs"] <= 2 * 3


@pytest.mark.parametrize("flag", ["--user=nobody", "--group=nobody", "--cluster=nowhere"])
async def test_a_name_that_is_not_there_is_wrong_usage(command: Command, flag: str) -> None:
    result = await command("jobs", "list", flag)
    assert (result.status, result.stdout) == (2, "")


async def test_a_list_that_fails_is_told_for_each_region(command: Command, simulator: Simulator) -> None:
    simulator.platform.set_quirks(refusal_style="10009")
    simulator.platform.expire_tokens()
    account = simulator.accounts[0]
    simulator.platform.set_login(type(account)("lab", "other", "other", "other", users=account.users))
    result = await command("jobs", "list")
    assert result.status == 1
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["kunshan", "xian"]


async def test_once_and_check_online(command: Command, simulator: Simulator) -> None:
    once = json.loads((await command("once", "--format=json")).stdout)
    rows = {(row["cluster"], row["group"], row["user"]): row["states"] for row in once["members"]}
    assert len(rows) == 2 * len(CHEMISTRY + PHYSICS)
    states = rows["xian", "chemistry", "alice"].values()
    assert sum(state["jobs"] for state in states) == len(ids(simulator, "alice", regions=("xian",)))

    checked = await command("check", "--online")
    assert (checked.status, checked.stderr) == (0, "")
    simulator.platform.set_quirks(show_group_jobs="refused")
    refused = await command("check", "--online")
    assert "does not list the jobs of the groups of account lab" in refused.stderr


async def test_the_lists_of_members_and_of_the_account_tell_the_same(simulator: Simulator, tmp_path: Path) -> None:
    found: list[Any] = []
    for collect in ("live_jobs", "member_jobs"):
        folder = tmp_path / collect
        folder.mkdir()
        text = yaml.safe_load(configuration(simulator, collect))
        result = await Command(folder, yaml.safe_dump(text))("jobs", "list", "--format=json")
        keys = ("cluster", "group", "group_id", "user", "id", "name", "requested", "allocated")
        rows = [{key: row[key] for key in keys} for row in json.loads(result.stdout)["jobs"]]
        found.append(sorted(rows, key=lambda row: (row["cluster"], row["id"])))
    assert found[0] == found[1]
