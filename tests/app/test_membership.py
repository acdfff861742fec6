"""Members that the platform tells: found out at the start, followed every hour, kept where a refresh fails."""

import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.app.membership import HOUR, PAUSE_AFTER_FAILURE
from exporter.config import load
from exporter.errors import ConfigurationError
from exporter.polling import Shard
from exporter.simulator import Fault, Simulator
from tests.app.running import Running, ready, running
from tests.e2e.process import eventually
from tests.e2e.test_accounts import account, cluster, configured, simulated
from tests.support.clock import FakeClock
from tests.support.command import Command

# Commands are tried, and the clock of the application is moved by the tests.
pytestmark = pytest.mark.real_time

CHEMISTRY, PHYSICS = 533686286955839488, 533686286955839489
EVERYBODY = {"chemistry/test", "chemistry/alice", "chemistry/王伟", "physics/bob", "physics/carol", "physics/zhang-san"}


@pytest.fixture
async def platform() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


def text(simulator: Simulator, members: Any = "all", **more: Any) -> str:
    (region,) = simulator.regions.values()
    section = cluster(region, users=["test"], collect=["member_jobs"], members=members, **more)
    return configured([account(simulator, url=simulator.platform.url)], [section | {"ac_url": simulator.platform.url}])


def polled(exporter: Running) -> set[str]:
    return {status.key.target for status in exporter.app.scheduler.statuses}


def moves(simulator: Simulator, user: str, group: str) -> None:
    """Let a user be in another group from now on."""
    (region,) = simulator.regions.values()
    users = tuple(replace(each, group=group) if each.name == user else each for each in region.spec.users)
    region.spec = replace(region.spec, users=users)
    region._users = {each.name: each for each in users}


async def asked_again(simulator: Simulator, clock: FakeClock, seconds: float) -> None:
    """Let time pass until the platform was asked for groups once more."""
    before = simulator.platform.requests.counts["groups"]

    async def asked() -> bool:
        await clock.advance(seconds)
        return simulator.platform.requests.counts["groups"] > before

    await eventually(asked, "the platform was asked again")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ("all", EVERYBODY),
        ([{"group_id": PHYSICS, "users": "all"}], {f"{PHYSICS}/{user}" for user in ("bob", "carol", "zhang-san")}),
        (
            [
                {"group_id": PHYSICS, "group": "p", "users": "all"},
                {"group_id": CHEMISTRY, "group": "c", "users": ["test"]},
            ],
            {"p/bob", "p/carol", "p/zhang-san", "c/test"},
        ),
        (
            [
                {"group_id": PHYSICS, "group": "p", "users": "all"},
                {"group_id": PHYSICS, "group": "p", "users": ["bob"]},
            ],
            {"p/bob", "p/carol", "p/zhang-san"},
        ),
        ([{"group_id": 7, "users": "all"}], set()),
    ],
)
async def test_all_members_are_polled(tmp_path: Path, platform: Simulator, members: Any, expected: set[str]) -> None:
    async with ready(tmp_path, text(platform, members)) as exporter:
        await eventually(lambda: polled(exporter) == expected, "all members are polled")
        assert {target["target"] for target in (await exporter.status())["targets"]} == expected
        samples = await exporter.samples()
    assert sum(value for name, value in samples.items() if name.startswith("hpc_exporter_target_up{")) == len(expected)
    checked = await Command(tmp_path, text(platform, members))("check", "--online")
    if expected:
        assert checked.stdout.endswith(f"{len(expected)} of {len(expected)} targets work\n"), checked.stdout


async def test_new_members_are_polled_and_gone_ones_leave_within_an_hour(tmp_path: Path, platform: Simulator) -> None:
    clock = FakeClock(time.time())
    async with running(tmp_path, text(platform), clock) as exporter:
        await eventually(lambda: polled(exporter) == EVERYBODY, "all members are polled")
        moves(platform, "carol", "")
        moves(platform, "erin", "physics")
        platform.platform.faults.add(Fault(kind="status", status=500, endpoint="groups", times=3))
        after = EVERYBODY - {"physics/carol"} | {"physics/erin"}

        async def hour_later() -> bool:
            await clock.advance(HOUR / 4)
            return polled(exporter) != EVERYBODY

        await eventually(hour_later, "others are polled")
        assert polled(exporter) == after


async def test_members_are_asked_for_as_soon_as_a_reload_wants_them(tmp_path: Path, platform: Simulator) -> None:
    async with ready(tmp_path, text(platform, [{"group_id": PHYSICS, "users": ["bob"]}])) as exporter:
        await exporter.reload(text(platform))
        await eventually(lambda: polled(exporter) == EVERYBODY, "all members are polled")


async def test_a_failed_refresh_keeps_the_members_and_says_so(tmp_path: Path, platform: Simulator) -> None:
    clock = FakeClock(time.time())
    async with running(tmp_path, text(platform), clock) as exporter:
        await eventually(lambda: polled(exporter) == EVERYBODY, "all members are polled")
        for fault in (
            Fault(kind="status", status=404, endpoint="groups"),
            Fault(kind="wrong_shape", data=[7], endpoint="groups"),
            Fault(kind="code", code="10008", endpoint="groups"),
        ):
            platform.platform.faults.clear()
            platform.platform.faults.add(fault)
            before = clock.now()
            # The first time after an hour, and then much sooner.
            await asked_again(platform, clock, HOUR if fault.status == 404 else PAUSE_AFTER_FAILURE / 2)
            assert fault.status == 404 or clock.now() - before < HOUR
            assert polled(exporter) == EVERYBODY
        await eventually(lambda: exporter.app._members.problems(exporter.app._loaded), "the failure is known")
        assert "the members of the groups of account lab could not be asked" in str(
            (await exporter.status())["config"]["warnings"]
        )
        # A reload keeps them as well.
        await exporter.reload(text(platform).replace('"retries": 0', '"retries":  0'))
        assert polled(exporter) == EVERYBODY


async def test_whoever_is_in_a_row_that_cannot_be_read_stays(tmp_path: Path, platform: Simulator) -> None:
    clock = FakeClock(time.time())
    physics = {"groupId": PHYSICS, "groupDisplayName": "physics", "groupUsersInfos": [{"clusterUserName": "erin"}]}
    kept = EVERYBODY | {"physics/erin"}
    async with running(tmp_path, text(platform), clock) as exporter:
        await eventually(lambda: polled(exporter) == EVERYBODY, "all members are polled")
        for rows, expected in (([physics, 7], kept), ([physics, 7], kept), ([physics | {"groupUsersInfos": [7, {"clusterUserName": "bob"}]}], kept),
                               ([physics], {"physics/erin"})):  # fmt: skip
            platform.platform.faults.clear()
            platform.platform.faults.add(Fault(kind="code", code="0", data=rows, endpoint="groups"))
            before = exporter.app._members._known["lab"]
            await asked_again(platform, clock, HOUR)
            await eventually(lambda before=before: exporter.app._members._known["lab"] is not before, "it was answered")  # type: ignore[misc]
            groups = exporter.app._members._known["lab"]
            assert {f"{group.name}/{user}" for group in groups for user in group.members} == expected
            assert len(groups) == len(set(groups)), "what is kept does not grow from hour to hour"
            await eventually(lambda expected=expected: polled(exporter) == expected, f"{len(expected)} are polled")  # type: ignore[misc]


async def test_without_an_answer_the_rest_is_polled_and_it_gets_ready(tmp_path: Path, platform: Simulator) -> None:
    platform.platform.faults.add(Fault(kind="status", status=500, endpoint="groups"))
    written = text(platform).replace('"member_jobs"', '"member_jobs", "schedulers"')
    async with ready(tmp_path, written) as exporter:
        assert polled(exporter) == {""}
    once = await Command(tmp_path, written)("once")
    assert once.status == 1
    assert "the members of the groups of account lab could not be asked: HTTP 500" in once.stderr
    assert (await Command(tmp_path, written)("check")).status == 0


async def test_shards_agree(tmp_path: Path, platform: Simulator) -> None:
    seen: list[str] = []
    for ordinal in range(3):
        async with ready(tmp_path, text(platform), shard=Shard(ordinal, 3)) as exporter:
            seen += polled(exporter)
    assert sorted(seen) == sorted(EVERYBODY)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\ufeff# physics\r\nbob  # left in May\r\n\n  zhang-san\r\n王伟".encode(), ("bob", "zhang-san", "王伟")),
        (b"".join(b"user%d\n" % number for number in range(10_000)), tuple(f"user{n}" for n in range(10_000))),
        (b"# nobody yet\n", "is empty: write a user's name on each line"),
        (b"bob\nalice\nbob\n", "names bob more than once"),
        ("王伟\n".encode("gbk"), "cannot be read: it is not UTF-8"),
        (None, "cannot be read: there is no such file"),
        (os.mkfifo, "cannot be read: it is not a regular file"),
        (os.mkdir, "cannot be read: it is a directory"),
    ],
)  # fmt: skip
def test_members_stand_in_a_file_of_names(tmp_path: Path, content: Any, expected: str | tuple[str, ...]) -> None:
    file = tmp_path / "physics.txt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        content(file)
    (tmp_path / "exporter.yml").write_text(
        "clusters:\n  - {name: k, cluster_id: 1, hpc_url: 'https://h.example', token: t,"
        " members: [{group_id: 1, users_file: physics.txt}]}\n"
    )
    if isinstance(expected, str):
        with pytest.raises(ConfigurationError, match=f"users_file: the list of users {expected}"):
            load(tmp_path / "exporter.yml")
        return
    (region,) = load(tmp_path / "exporter.yml").clusters
    assert region.members[0].users == expected


def test_the_word_is_written_back(tmp_path: Path) -> None:
    """And it is none for a region without an account, or in another spelling."""
    (tmp_path / "exporter.yml").write_text(
        "accounts: [{name: lab, user: a, access_key: b, secret_key: c}]\n"
        "clusters:\n"
        "  - {name: k, cluster_id: 1, hpc_url: 'https://h.example', account: lab, members: all}\n"
        "  - {name: l, cluster_id: 1, hpc_url: 'https://h.example', account: lab, members: [{group_id: 1, users: all}]}\n"
    )
    dumped = load(tmp_path / "exporter.yml").model_dump(exclude_none=True)
    assert dumped["clusters"][0]["members"] == "all"
    assert dumped["clusters"][1]["members"][0]["users"] == "all"
