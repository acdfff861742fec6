"""The command `simulate`."""

import signal
import socket
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
import yaml

from exporter.cli import simulate
from exporter.cli.main import main
from exporter.simulator import Quirks, Simulator, default_projects, default_regions
from tests.e2e.process import eventually
from tests.support.command import Command


async def code(session: aiohttp.ClientSession, url: str, token: str) -> str:
    async with session.get(url, headers={"token": token}) as response:
        return str((await response.json())["code"])


async def test_the_configuration_names_users_members_and_tokens_that_work(session: aiohttp.ClientSession) -> None:
    async with Simulator(default_regions(2), speed_up=60) as simulator:
        text = simulate.configuration(simulator)
        document = yaml.safe_load(text)
        assert [cluster["name"] for cluster in document["clusters"]] == ["kunshan", "xian"]
        for cluster in document["clusters"]:
            users = [user if isinstance(user, dict) else {"name": user} for user in cluster["users"]]
            assert [user["name"] for user in users] == ["test", "alice", "王伟", "bob", "carol", "zhang-san", "erin"]
            for user in users:
                url = f"{cluster['hpc_url']}/hpc/openapi/v2/view/queue/jobs?userName={quote(user['name'])}"
                assert await code(session, url, user.get("token", cluster["token"])) == "0"
            for group in cluster["members"]:
                for user in group["users"]:
                    path = f"{cluster['cluster_id']}/groups/{group['group_id']}/clusterUserNames/{quote(user)}/jobs"
                    url = f"{cluster['ac_url']}/ac/openapi/v2/clusters/{path}"
                    assert await code(session, url, cluster["token"]) == "0"
        assert [group["group"] for group in document["clusters"][0]["members"]] == ["chemistry", "physics"]


async def test_the_configuration_has_the_platforms_login() -> None:
    async with Simulator() as simulator:
        document = yaml.safe_load(simulate.configuration(simulator))
        account = simulator.accounts[0]
        assert document["accounts"][0] == {
            "name": "lab",
            "user": "lab",
            "access_key": account.access_key,
            "secret_key": account.secret_key,
            "token_url": simulator.token_url,
            "collect": ["account"],
        }


async def test_regions_of_a_strict_platform_are_asked_with_its_login() -> None:
    async with Simulator(quirks=Quirks(strict_platform=True)) as simulator:
        region = yaml.safe_load(simulate.configuration(simulator))["clusters"][0]
        assert (region["account"], region["ac_url"]) == (simulator.accounts[0].user, simulator.platform.url)
    assert "token" not in region


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_a_configuration_and_serves_until_a_signal(
    session: aiohttp.ClientSession, tmp_path: Path, number: signal.Signals
) -> None:
    running = await Command(tmp_path, "").start("simulate", "--seed=3")
    await eventually(lambda: "INTERNAL" in running.said(), "it prints a configuration")
    cluster = yaml.safe_load(running.said())["clusters"][0]
    assert await code(session, f"{cluster['hpc_url']}/hpc/openapi/v2/cluster", cluster["token"]) == "0"
    running.process.send_signal(number)
    ended = await running.ended()
    assert ended.status == 0
    assert f"hpc-exporter simulate: region kunshan at {cluster['hpc_url']}\n" in ended.stderr
    assert f"ready; GET {cluster['hpc_url']}/simulator lists" in ended.stderr


async def test_it_writes_the_configuration_to_a_file_if_told_so(tmp_path: Path) -> None:
    path = tmp_path / "simulated.yml"
    running = await Command(tmp_path, "").start(
        "simulate", f"--config-output={path}", "--regions=2", "--listen-address=[::1]:0"
    )
    await eventually(path.exists, "it writes the configuration")
    running.process.terminate()
    assert (await running.ended()).stdout == ""
    clusters = yaml.safe_load(path.read_text())["clusters"]
    assert len({cluster["hpc_url"] for cluster in clusters}) == 2
    assert all(cluster["hpc_url"].startswith("http://[::1]:") for cluster in clusters)


def test_a_place_that_cannot_be_used_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for flag, message in (
            (f"--listen-address=127.0.0.1:{taken.getsockname()[1]}", "address already in use"),
            (f"--config-output={tmp_path / 'missing' / 'exporter.yml'}", "missing/exporter.yml"),
            (f"--replay={tmp_path}", "holds no capture"),
        ):
            assert main(["simulate", flag]) == 1
            assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--listen-address=0.0.0.0:80", "0.0.0.0 is not a loopback address"),
        ("--listen-address=127.0.0.1", "'127.0.0.1' is not HOST:PORT"),
        ("--listen-address=127.0.0.1:65536", "'127.0.0.1:65536' is not HOST:PORT"),
        ("--speed-up=0", "'0' is not a number above 0"),
        ("--speed-up=nan", "'nan' is not a number above 0"),
        ("--speed-up=fast", "'fast' is not a number above 0"),
        ("--regions=0", "'0' is not a number of 1 or more"),
        ("--seed=x", "'x' is not a whole number"),
    ],
)
def test_wrong_usage_is_explained(word: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main(["simulate", word])
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


async def test_the_configuration_names_the_queues_of_the_projects_and_a_login_that_works(
    session: aiohttp.ClientSession,
) -> None:
    async with Simulator((), projects=default_projects(2)) as simulator:
        document = yaml.safe_load(simulate.configuration(simulator))
    assert [project["name"] for project in document["octopus"]] == ["driving", "driving-2"]
    async with Simulator(default_regions(1), projects=default_projects(1)) as simulator:
        project = yaml.safe_load(simulate.configuration(simulator))["octopus"][0]
        assert project["queues"] == [
            {"queue_type": "PROCESSOR", "cluster_type": "MODELARTS", "cluster_id": "pool-1"},
            {"queue_type": "INTERNAL"},
        ]
        iam = project["iam"]
        user = {"domain": {"name": iam["domain"]}, "name": iam["user"], "password": iam["password"]}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": iam["project"]}}}}
        async with session.post(f"{iam['url']}/v3/auth/tokens", json=body) as response:
            token = response.headers["X-Subject-Token"]
        url = f"{project['base_url']}/v1.0/{project['project_id']}/data/queuing-jobs"
        async with session.get(url, params=project["queues"][0], headers={"X-Auth-Token": token}) as response:
            assert response.status == 200


async def test_it_serves_captured_answers(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "captures" / "simulated"
    running = await Command(tmp_path, "").start("simulate", f"--replay={folder}")
    await eventually(lambda: "time_zone" in running.said(), "it prints a configuration")
    url = yaml.safe_load(running.said())["clusters"][0]["hpc_url"]
    assert await code(session, f"{url}/hpc/openapi/v2/cluster", "any") == "0"
    async with session.get(f"{url}/hpc/openapi/v2/jobs") as response:
        assert response.status == 404
    running.process.terminate()
    assert (await running.ended()).status == 0


async def test_without_projects_the_configuration_has_none() -> None:
    async with Simulator() as simulator:
        assert "octopus" not in yaml.safe_load(simulate.configuration(simulator))
