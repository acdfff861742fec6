"""Accounts that are polled like regions: targets, token, reload, shards, credentials, names."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ConfigurationError
from exporter.polling import Shard
from exporter.simulator import Fault, Simulator
from tests.app.running import ready, running
from tests.e2e.process import eventually
from tests.e2e.test_accounts import EXPIRY, LAB, REFRESHES, account, cluster, configured, logins, simulated
from tests.support.command import Command

BALANCE = 'hpc_account_balance_cny{account="lab"}'
TARGET = '{source="lab",collector="account",target=""}'


@pytest.fixture
async def platform() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


def polled(simulator: Simulator, **more: Any) -> dict[str, Any]:
    return account(simulator, collect=["account"], **more)


async def test_an_account_is_polled_with_the_platforms_token(tmp_path: Path, platform: Simulator) -> None:
    """One login serves it and the regions; all that is known of regions is known of it."""
    (region,) = platform.regions.values()
    text = configured([polled(platform)], [cluster(region)])
    async with ready(tmp_path, text) as exporter:
        samples = await exporter.samples()
        status = await exporter.status()
    assert samples[BALANCE] == 100_000
    assert samples['hpc_account_status{account="lab",status="Normal"}'] == 1
    assert samples['hpc_account_up{account="lab"}'] == samples['hpc_exporter_targets_up{source="lab"}'] == 1
    assert samples[f"hpc_exporter_target_up{TARGET}"] == 1
    assert samples['hpc_exporter_poll_interval_seconds{source="lab",collector="account"}'] == 3600
    assert samples[EXPIRY % ("lab", "")] > 1e9
    assert samples[REFRESHES % "lab"] == 1
    assert logins(platform) == 1
    (source,) = (each for each in status["sources"] if each["name"] == "lab")
    assert (source["kind"], source["state"], len(source["tokens"])) == ("account", "up", 1)


async def test_a_token_that_expires_is_replaced(tmp_path: Path, platform: Simulator) -> None:
    async with ready(tmp_path, configured([polled(platform)], [], interval="100ms")) as exporter:
        platform.platform.expire_tokens()
        samples = await exporter.shows(lambda samples: samples[REFRESHES % "lab"] >= 2, "another token")
    assert not [name for name in samples if name.startswith("hpc_exporter_poll_failures_total") and samples[name]]


async def test_reloads_switch_it_on_and_off_and_keep_what_is_unchanged(tmp_path: Path, platform: Simulator) -> None:
    (region,) = platform.regions.values()
    off = configured([account(platform)], [cluster(region)])
    on = configured([polled(platform)], [cluster(region)])
    async with ready(tmp_path, off) as exporter:
        assert not [name for name in await exporter.samples() if "account" in name or 'source="lab"' in name]
        await exporter.reload(on)
        await exporter.shows(lambda samples: samples.get(BALANCE), "the balance")
        kept = exporter.app.components.sources["lab"]
        await exporter.reload(on.replace('"retries": 0', '"retries":  0'))
        assert exporter.app.components.sources["lab"] is kept
        await exporter.reload(off)
        await exporter.shows(
            lambda samples: not [name for name in samples if "account" in name or 'source="lab"' in name], "no trace"
        )


@pytest.mark.parametrize("total", [1, 2, 5])
async def test_of_several_shards_one_polls_it_and_all_can_log_in(
    tmp_path: Path, platform: Simulator, total: int
) -> None:
    (region,) = platform.regions.values()
    text = configured([polled(platform)], [cluster(region, users=["test"])])
    found, schedulers = 0, 0
    for ordinal in range(total):
        async with ready(tmp_path, text, shard=Shard(ordinal, total)) as exporter:
            samples = await exporter.samples()
            found += BALANCE in samples
            schedulers += any(name.startswith("hpc_scheduler_info") for name in samples)
    assert (found, schedulers) == (1, 1)


async def test_a_new_key_is_tried_immediately(tmp_path: Path, platform: Simulator) -> None:
    key = tmp_path / "secret-key"
    key.write_text("wrong")
    section = polled(platform, secret_key=None, secret_key_file=str(key))
    async with ready(tmp_path, configured([section], [])) as exporter:
        assert (await exporter.samples())['hpc_account_up{account="lab"}'] == 0
        # The same file, written in another way: it is followed under this name from now on.
        section["secret_key_file"] = f"{tmp_path}/./secret-key"
        await exporter.reload(configured([section], []))
        key.write_text(platform.accounts[0].secret_key)
        await exporter.shows(lambda samples: samples.get(BALANCE), "the balance")


@pytest.mark.parametrize(("collect", "mistake"), [(["account"], True), ([], False)])
async def test_an_account_that_is_polled_has_no_regions_name(
    tmp_path: Path, platform: Simulator, collect: list[str], mistake: bool
) -> None:
    (region,) = platform.regions.values()
    text = configured([account(platform, name=region.name, collect=collect)], [cluster(region, account=region.name)])
    expected = pytest.raises(ConfigurationError, match="the name kunshan is given twice") if mistake else nullcontext()
    with expected:
        async with ready(tmp_path, text):
            pass


@pytest.mark.real_time
async def test_the_commands_know_it(tmp_path: Path) -> None:
    poor = replace(LAB, user="poor", access_key="key-of-poor", balance=-3.5)
    async with simulated(accounts=(LAB, poor)) as platform:
        command = Command(tmp_path, configured([polled(platform), polled(platform, at=1)], []))
        checked = await command("check", "--online")
        once = await command("once")
        document = json.loads((await command("once", "--format=json")).stdout)
    assert (checked.status, checked.stderr) == (0, "")
    assert checked.stdout.endswith("2 of 2 targets work\n")
    # A status that an account does not have is not unknown.
    table = r"account +balance CNY +status Normal +status Owe\nlab +100000 +1 +-\npoor +-3\.5 +- +1\n"
    assert re.search(table, once.stdout), once.stdout
    assert [(row["family"], row["value"]) for row in document["values"]] == [
        ("hpc_account_balance_cny", 100_000),
        ("hpc_account_status", 1),
        ("hpc_account_balance_cny", -3.5),
        ("hpc_account_status", 1),
    ]


@pytest.mark.real_time
async def test_check_names_the_credential_that_is_at_fault(tmp_path: Path, platform: Simulator) -> None:
    command = Command(tmp_path, configured([polled(platform, secret_key="wrong")], []))
    checked = await command("check", "--online")
    assert checked.status == 1
    assert "FAILED  lab account: login FAILED: the login of account lab failed" in checked.stdout
    assert "check the user and the keys or the password at " in checked.stdout


async def test_an_account_in_debt_says_so(tmp_path: Path) -> None:
    async with simulated() as simulator:
        simulator.platform.set_login(replace(simulator.accounts[0], balance=-3.5))
        async with ready(tmp_path, configured([polled(simulator)], [])) as exporter:
            samples = await exporter.samples()
    assert samples[BALANCE] == -3.5
    assert samples['hpc_account_status{account="lab",status="Owe"}'] == 1


async def test_a_platform_without_the_endpoint_is_no_failure(tmp_path: Path, platform: Simulator) -> None:
    platform.platform.faults.add(Fault(kind="status", status=404, endpoint="account"))
    async with running(tmp_path, configured([polled(platform)], [])) as exporter:
        await eventually(lambda: exporter.app.ready, "every target was tried")
        samples = await exporter.samples()
        (target,) = (await exporter.status())["targets"]
    assert target["state"] == "absent"
    assert 'hpc_account_up{account="lab"}' not in samples
    assert samples['hpc_exporter_targets{source="lab"}'] == 0


OWN = ["queue_jobs", "storage_quota", "user_limits", "queue_capacity"]


@pytest.mark.real_time
async def test_where_no_users_are_listed_the_tokens_own_is_meant(tmp_path: Path, platform: Simulator) -> None:
    """By the service, and by commands, which poll once and learn the name on the way."""
    (region,) = platform.regions.values()
    text = configured([account(platform)], [cluster(region, collect=OWN)], interval="100ms")
    async with running(tmp_path, text) as exporter:
        await exporter.shows(
            lambda samples: all(
                any(name.startswith(family) for name in samples)
                for family in (
                    'hpc_storage_used_bytes{hpc_cluster="kunshan",user="test"',
                    "hpc_queue_free_nodes{",
                )
            ),
            "what is the owner's",
        )
        users = {target["target"] for target in (await exporter.status())["targets"]}
        await exporter.shows(
            lambda samples: samples['hpc_exporter_targets_up{source="kunshan"}'] == len(OWN), "all targets up"
        )
    assert users == {"test", ""}
    once = await Command(tmp_path, text)("once", "--format=prometheus")
    assert (once.status, once.stderr) == (0, "")
    assert 'hpc_storage_used_bytes{hpc_cluster="kunshan",user="test"' in once.stdout


@pytest.mark.real_time
async def test_once_shows_a_line_for_each_queue_and_each_path(tmp_path: Path, platform: Simulator) -> None:
    """A column for each metric, and for each limit."""
    (region,) = platform.regions.values()
    collect = ["queue_capacity", "storage_quota"]
    text = configured([account(platform)], [cluster(region, users=["test"], collect=collect)])
    once = await Command(tmp_path, text)("once", f"--output={tmp_path / 'table'}")
    assert (once.status, once.stderr) == (0, "")
    tables = [re.split(r" {2,}", line.strip()) for line in (tmp_path / "table").read_text().splitlines()]
    assert ["cluster", "user", "path", "used GB", "quota GB"] in tables
    assert ["kunshan", "test", "/public/home/test", "800", "2000"] in tables
    head = next(line for line in tables if "charge rate" in line)
    gpu = dict(zip(head, next(line for line in tables if line[2:3] == ["gpu"]), strict=True))
    assert (gpu["nodes"], gpu["free cpus"], gpu["enabled"], gpu["limit gpus per node"]) == ("8", "256", "1", "4")


async def test_a_reload_keeps_the_tokens_of_an_account_that_logs_in_as_before(
    tmp_path: Path, platform: Simulator
) -> None:
    """Other settings of its polls need no login, and the login under way stays the only one."""
    (region,) = platform.regions.values()
    clusters = [cluster(region)]
    async with ready(tmp_path, configured([account(platform)], clusters, interval="1h")) as exporter:
        tokens = exporter.app.components.accounts["lab"].tokens
        await exporter.reload(configured([account(platform)], clusters, interval="2h"))
        assert exporter.app.components.accounts["lab"].tokens is tokens
        before = dict(exporter.app.components.sources)
        await exporter.reload(configured([account(platform, secret_key="another")], clusters, interval="2h"))
        assert exporter.app.components.accounts["lab"].tokens is not tokens
        # The region's own section is the same, but it must take its tokens from the new account.
        assert not before.items() & exporter.app.components.sources.items()
    assert logins(platform) == 1
