"""`check --online`, a process: a line a target, the step that failed, and the first thing to do about it."""

import asyncio
import base64
import json
import re
import ssl
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.cli.simulate import configuration as simulated
from exporter.simulator import Simulator
from exporter.sources.collector import registry
from tests.e2e.region import ScriptedRegion, cluster, configuration, envelope, job, scripted_region
from tests.support.command import Command, Ended


@pytest.fixture
async def region() -> AsyncIterator[ScriptedRegion]:
    async with scripted_region() as region:
        yield region


@pytest.fixture
def command(region: ScriptedRegion, tmp_path: Path) -> Command:
    return Command(tmp_path, configuration(cluster(region.url)))


def lines(result: Ended) -> dict[str, str]:
    """Return the line of each target, by collector."""
    found = [line.split(maxsplit=3) for line in result.stdout.splitlines()[1:-1]]
    return {endpoint.rstrip(":"): f"{verdict} {rest}" for verdict, _, endpoint, rest in found}


def token(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2lnbmF0dXJl"


async def never(request: web.Request) -> web.StreamResponse:
    """Answer nothing, until the client has left."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110 - aiohttp sets no event
        await asyncio.sleep(0.05)
    return web.Response()


ALL_WELL = "address ok, connection ok, login ok, permission ok, answer ok, clock "


async def test_all_is_well(command: Command) -> None:
    result = await command("check", "--online")
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == "exporter.yml: the configuration is fine\n3 of 3 targets work\n"
    result = await command("check", "--online", "--verbose")
    assert result.stdout.startswith("exporter.yml: the configuration is fine\nok      kunshan schedulers: ")
    found = lines(result)
    assert list(found) == ["schedulers", "queue_jobs", "member_jobs"]
    assert all(ALL_WELL in line and re.search(r"took \d+\.\d\d s$", line) for line in found.values()), found


async def test_all_collectors_are_listed_with_what_each_needs(command: Command) -> None:
    result = await command("check", "--verbose")
    _, title, *rows = result.stdout.splitlines()
    assert (result.status, result.stderr, title.split()) == (
        0,
        "",
        ["section", "collector", "default", "for", "each", "gives"],
    )
    listed = [re.split(" {2,}", row, maxsplit=4) for row in rows]
    assert sorted(row[1] for row in listed) == sorted(registry())
    sections = [row[0] for row in listed]
    assert sections == sorted(sections)
    assert ["clusters", "live_jobs", "no", "account"] in [row[:4] for row in listed]


EVERYWHERE = ("schedulers", "queue_jobs", "member_jobs")


@pytest.mark.parametrize(
    ("answers", "settings", "said"),
    [
        # Whether the token is any good, this answer does not say.
        ({"queue_jobs": envelope(None, "10001")}, {"poll": {"retries": 5}},
         ["FAILED test: address ok, connection ok, answer FAILED: ", "internal error", "first: try again later"]),
        (dict.fromkeys(EVERYWHERE, envelope(None, "10008")), {},
         ["login FAILED: the token was rejected", "first: put a fresh token into the configuration at exporter.yml:"]),
        ({"member_jobs": envelope(None, "10008")}, {},
         ["login ok, permission FAILED: ", "elsewhere the same token is accepted",
          "first: use the token of an administrator of group 533686286955839488"]),
        ({"queue_jobs": envelope(None, "911009")}, {},
         ["permission FAILED: the region rejected the request: the region does not know this user",
          "first: check the names and ids at exporter.yml:"]),
        ({"queue_jobs": envelope(None, "10007")}, {},
         ["permission FAILED: ", "the user is frozen", "first: settle the bill, or have the user unfrozen"]),
        ({"queue_jobs": b"<html>Welcome to nginx</html>"}, {},
         ["answer FAILED: the answer is not the JSON envelope that the API describes: Welcome to nginx",
          "first: is the address at exporter.yml:"]),
        ({"member_jobs": envelope([job("1"), {"id": None}])}, {},
         ["login ok, permission ok, answer FAILED: 1 record of the answer could not be read"]),
        ({"queue_jobs": never}, {"poll": {"timeout": "300ms"}},
         ["answer FAILED: no complete answer from", "first: raise poll.timeout"]),
        # The port "discard", on which nothing listens.
        ({}, {"hpc_url": "http://127.0.0.1:9"},
         ["FAILED test: address ok, connection FAILED: cannot connect to 127.0.0.1:9: Connection refused; first: check host and port"]),
        ({}, {"hpc_url": "https://hpc.invalid:65106"},
         ["FAILED test: address FAILED: the name of hpc.invalid:65106 cannot be resolved; first: correct the address at exporter.yml:"]),
    ],
    ids=lambda value: value[-1][:40] if isinstance(value, list) else "",
)  # fmt: skip
async def test_a_failure_names_the_step_the_reason_and_the_first_thing_to_do(
    region: ScriptedRegion, tmp_path: Path, answers: dict[Any, Any], settings: dict[str, Any], said: list[str]
) -> None:
    """Each target is asked once, whatever happens."""
    region.answers |= answers
    result = await Command(tmp_path, configuration(cluster(region.url, **settings)))("check", "--online")
    line = lines(result)[next(iter(answers), "queue_jobs") if len(answers) < 2 else "member_jobs"]
    assert (result.status, [words for words in said if words not in line]) == (1, []), line
    assert len(region.requests) <= len(EVERYWHERE)
    assert "a-token-of-tests" not in result.stdout + result.stderr


async def test_a_mistake_in_the_configuration_comes_first(region: ScriptedRegion, command: Command) -> None:
    command.config.write_text(command.config.read_text().replace("interval", "intervall"))
    result = await command("check", "--online")
    assert result.status == 1
    assert "unknown key" in result.stdout
    assert region.requests == []


async def test_a_certificate_of_a_private_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=envelope(None))

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(application, host="localhost")
    await server.start_server(ssl=context)
    try:
        url = str(server.make_url("/")).rstrip("/")
        rejected = await Command(tmp_path, configuration(cluster(url)))("check", "--online")
        tls = {"ca_file": "ca.pem"}
        trusted = await Command(tmp_path, configuration(cluster(url, tls=tls)))("check", "--online", "--verbose")
    finally:
        await server.close()
    line = lines(rejected)["schedulers"]
    assert line.startswith("FAILED address ok, connection ok, TLS FAILED: the TLS certificate of localhost:")
    assert "first: give the region's own CA with tls.ca_file (exporter.yml:" in line
    assert trusted.status == 0
    assert "connection ok, TLS ok, login ok" in lines(trusted)["schedulers"]


async def test_a_token_that_has_expired(region: ScriptedRegion, tmp_path: Path) -> None:
    region.answers = {name: envelope(None, "911406") for name in ("schedulers", "queue_jobs", "member_jobs")}
    (tmp_path / "kunshan-token").write_text(token(expireTime="1685600225615"))
    expired = cluster(region.url, token_file="kunshan-token")
    del expired["token"]
    result = await Command(tmp_path, configuration(expired))("check", "--online")
    line = lines(result)["member_jobs"]
    assert "connection ok, login FAILED: the token expired on 2023-06-01 at 06:17 UTC" in line
    assert f"first: put a fresh token into {tmp_path}/kunshan-token" in line


async def test_the_whole_has_an_end(region: ScriptedRegion, command: Command) -> None:
    region.answers["queue_jobs"] = never
    began = time.monotonic()
    result = await command("check", "--online", "--verbose", "--timeout=1s")
    assert time.monotonic() - began < 100
    assert result.status == 1
    assert lines(result)["queue_jobs"].startswith("FAILED test: answer FAILED: not done when the time was over")
    assert lines(result)["schedulers"].startswith("ok ")


@pytest.mark.parametrize(("ahead", "words"), [(-3600, "ahead of"), (3600, "behind")])
async def test_a_clock_that_is_off(region: ScriptedRegion, command: Command, ahead: int, words: str) -> None:
    async def late(_: web.Request) -> web.StreamResponse:
        return web.Response(body=envelope(None), headers={"Date": formatdate(time.time() + ahead, usegmt=True)})

    region.answers["queue_jobs"] = late
    result = await command("check", "--online")
    assert result.status == 1
    line = lines(result)["queue_jobs"]
    assert re.search(
        rf"answer ok, clock FAILED: this machine's clock is (3[56]\d\d) s {words} the host's; first: set", line
    )


async def test_accounts_and_octopus_are_tried_too(tmp_path: Path) -> None:
    async with Simulator() as simulator:
        text = simulated(simulator)
        result = await Command(tmp_path, text)("check", "--online")
        assert result.status == 0, result.stdout
        account = simulator.accounts[0]
        region = next(iter(simulator.regions.values()))
        parts = {
            "accounts": [
                {
                    "name": "lab",
                    "user": account.user,
                    "access_key": account.access_key,
                    "secret_key": "wrong-secret-key",
                    "token_url": simulator.token_url,
                }
            ]
        }
        wrong = cluster(region.hpc_url, account="lab")
        del wrong["token"]
        rejected = await Command(tmp_path, configuration(wrong, **parts))("check", "--online")
        parts["accounts"][0]["token_url"] = "http://127.0.0.1:1/api"
        unreachable = await Command(tmp_path, configuration(wrong, **parts))("check", "--online")
    line = lines(rejected)["schedulers"]
    # Of the region's own host nothing is known.
    assert line.startswith("FAILED login FAILED: the login of account lab failed: the credential was rejected")
    assert "first: check the user and the keys or the password at exporter.yml:" in line
    line = lines(unreachable)["schedulers"]
    assert line.startswith("FAILED login FAILED: the login of account lab failed: cannot connect to 127.0.0.1:1: ")
    assert "first: check host and port at exporter.yml:" in line


async def test_without_targets_there_is_nothing_to_try(tmp_path: Path) -> None:
    account = {"name": "lab", "user": "alice", "access_key": "a", "secret_key": "s"}
    result = await Command(tmp_path, json.dumps({"accounts": [account]}))("check", "--online")
    assert result.status == 1
    assert "nothing to try" in result.stderr
    assert result.stdout == "exporter.yml: the configuration is valid\n"
    assert "accounts[0]: is not used: no region has it" in result.stderr


async def test_failures_come_first_and_those_alike_share_a_line(region: ScriptedRegion, tmp_path: Path) -> None:
    region.answers["queue_jobs"] = envelope(None, "10001")
    members = [{"group_id": 1, "group": "physics", "users": ["test"]}]
    users = ["test", "a", "b", "c", "d"]
    command = Command(tmp_path, configuration(cluster(region.url, users=users, members=members)))
    result = await command("check", "--online")
    _, shared, summary = result.stdout.splitlines()
    assert shared.startswith("FAILED  kunshan: 5 targets, the first queue_jobs test: address ok, ")
    assert summary == "2 of 7 targets work"
    region.answers["queue_jobs"] = envelope(None, "911406")
    _, shared, *_ = (await command("check", "--online")).stdout.splitlines()
    assert shared.startswith("FAILED  kunshan: 5 targets, the first queue_jobs test: address ok, connection ok, "), (
        shared
    )
    region.answers["queue_jobs"] = envelope(None, "10001")
    result = await command("check", "--online", "--verbose")
    assert [line[:6].strip() for line in result.stdout.splitlines()[1:-1]] == ["FAILED"] * 5 + ["ok"] * 2


async def test_a_host_that_many_sources_need_is_one_line(tmp_path: Path) -> None:
    nothing_listens = "http://127.0.0.1:9"
    accounts = [
        {"name": f"a failed: {number}", "user": f"u{number}", "access_key": f"key-of-{number}", "secret_key": f"secret-of-{number}",
         "token_url": nothing_listens, "url": nothing_listens, "collect": ["account"]}
        for number in range(5)
    ]  # fmt: skip
    projects = [
        {"name": f"p{number}", "base_url": nothing_listens, "project_id": "1", "token": f"token-of-{number}",
         "queues": [{"queue_type": "INTERNAL"}, {"queue_type": "RESIM"}]}
        for number in range(2)
    ]  # fmt: skip
    text = json.dumps({"accounts": accounts, "octopus": projects})
    result = await Command(tmp_path, text)("check", "--online")
    _, of_projects, of_accounts, summary = result.stdout.splitlines()
    assert of_projects.startswith(
        "FAILED  4 targets of 2 sources, the first p0 queuing_jobs INTERNAL: address ok, connection FAILED: cannot connect"
    )
    assert of_accounts.startswith(
        "FAILED  5 targets of 5 sources, the first a failed: 0 account: login FAILED: the login of account a failed: 0 failed: cannot"
    )
    assert summary == "0 of 9 targets work"
