"""Captures: nothing secret or personal in any file, consistent stand-ins, and answers that can be served again."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.cli.standins import StandIns
from exporter.config import load
from exporter.simulator.replay import Replay, ReplayError, configuration
from tests.e2e.test_accounts import account, cluster, configured, simulated
from tests.support.command import Command

CAPTURES = Path(__file__).parents[1] / "captures"
GROUP = "533686286955839488"


def jwt(**claims: str) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJIUzI1NiJ9.{payload}.UNIQUEsignature17"


TOKEN = jwt(
    computeUser="UNIQUEuser1", user="UNIQUElogin2", userId="11UNIQUE", expireTime="1999999999000", creator="UNIQUE3"
)
# All that an answer may hold and a file must not.
SECRETS: dict[str, Any] = {
    "token": TOKEN,
    "userName": "UNIQUEuser1",
    "clusterUserName": "UNIQUEuser1",
    "fullName": "UNIQUE王小明",
    "accountName": "UNIQUE李四",
    "phone": 13912345678,
    "mobile": "13987654321",
    "tel": "+86-139-UNIQUE",
    "email": "UNIQUE@example.com",
    "homePath": "/public/home/UNIQUE",
    "workDir": "/public/home/UNIQUE/secret-project",
    "outputPath": "relative/UNIQUE/out",
    "jobName": "UNIQUE job",
    "JobManagerAddr": "10.99.88.77",
    "nodeUsed": "UNIQUEnode[1-3]",
    "aclHosts": "UNIQUEnode1,UNIQUEnode2",
    "url": "https://UNIQUE.example.com:65106/hpc",
    "vncSessionInfo": '{"password": "UNIQUEvnc"}',
    "initContentAttr": '{"JobState": "FAILED", "WorkDir": "/home/UNIQUE"}',
    "reason": "asked by UNIQUEuser1 of /home/UNIQUE",
    "msg": "no permission for UNIQUEuser1 13912345678",
    "queue": "UNIQUEaccessKey0123456789abcdefgh",
    "groupId": 533686286955839488,
    "groupDisplayName": "UNIQUEgroup",
    "UNIQUE key": 1,
    "unheard": "UNIQUE of a kind that no page names",
    "nested": [{"name": "UNIQUE person"}, ["UNIQUE"], {"owner": "UNIQUEuser1"}],
    "accessKey": "UNIQUEak",
    "secretKey": "UNIQUEsk",
    "password": "UNIQUEpw",
}
NEVER = ("UNIQUE", "王小明", "李四", "13912345678", "13987654321", "10.99.88.77", GROUP, "secret-project")


async def answer(request: web.Request) -> web.Response:
    if request.path.endswith("/tokens"):
        rows = [{"clusterId": "0", "clusterName": "ac", "token": TOKEN}, {"clusterId": 11112, "token": TOKEN + "\n"}]
        return web.json_response({"code": "0", "data": rows})
    if request.path.endswith("/center"):
        return web.Response(
            text="<html>UNIQUE gateway</html>", content_type="text/html", headers={"X-UNIQUE": "UNIQUE"}
        )
    headers = {"Retry-After": "7", "Set-Cookie": "UNIQUE", "Server": "UNIQUE/1"}
    return web.json_response({"code": "0", "msg": SECRETS["msg"], "data": [SECRETS]}, headers=headers)


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


async def test_nothing_secret_is_in_any_file(tmp_path: Path) -> None:
    server = TestServer(app := web.Application())
    app.add_routes([web.route("*", "/{any:.*}", answer)])
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")
    section = {
        "name": "kunshan", "cluster_id": 11112, "hpc_url": url, "ac_url": url, "account": "UNIQUElogin2", "users": ["UNIQUEuser1"],
        "collect": ["queue_jobs", "schedulers", "member_jobs", "queue_capacity", "storage_quota", "job_history"],
        "members": [{"group_id": int(GROUP), "group": "UNIQUEgroup", "users": ["UNIQUEuser1"]}],
    }  # fmt: skip
    login = {
        "name": "UNIQUElogin2",
        "user": "UNIQUElogin2",
        "access_key": "UNIQUEak",
        "secret_key": "UNIQUEsk",
        "url": url,
    }
    text = configured([login | {"token_url": f"{url}/api/user/v3/tokens", "collect": ["account"]}], [section])
    captured = await Command(tmp_path, text)("capture", "--output=captured", "--with-refusals")
    await server.close()
    assert captured.status == 0, captured.stderr
    found = files(tmp_path / "captured")
    assert len(found) > 10
    for name, content in found.items():
        assert not [never for never in NEVER if never in content], f"{name}: {content}"
        decoded = "".join(part.decode(errors="replace") for part in parts(content))
        assert not [never for never in NEVER if never in decoded], name
    everything = "\n".join(found.values())
    assert "user-" in everything
    assert '"Retry-After": "7"' in everything
    assert "bytes of text/html, no JSON" in everything


def parts(content: str) -> list[bytes]:
    """Return the parts of tokens, decoded."""
    words = [part for word in content.split('"') if word.count(".") == 2 for part in word.split(".")]
    decoded = []
    for word in words:
        try:
            decoded.append(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4)))
        except ValueError:
            continue
    return decoded


async def test_a_capture_is_served_again_and_passes_the_check(tmp_path: Path) -> None:
    """Users, groups and ids are the same everywhere; ids keep form and length."""
    async with simulated() as simulator:
        (region,) = simulator.regions.values()
        members = [{"group_id": int(GROUP), "group": "chemistry", "users": ["alice"]}]
        collect = ["queue_jobs", "schedulers", "member_jobs", "region_cores", "queue_capacity"]
        text = configured(
            [account(simulator, collect=["account"])],
            [cluster(region, users=["test"], members=members, collect=collect) | {"ac_url": simulator.platform.url}],
        )
        captured = await Command(tmp_path, text)("capture", "--output=captured", "--keep-job-names")
        assert captured.status == 0, captured.stderr
        again = await Command(tmp_path, text)("capture", "--output=captured")
        assert (again.status, "is there and not empty" in again.stderr) == (2, True)
    found = files(tmp_path / "captured")
    [groups] = [json.loads(content) for name, content in found.items() if "groups" in name]
    ids = {row["groupId"] for row in groups["response"]["body"]["data"]}
    assert all(isinstance(each, int) and len(str(each)) == len(GROUP) and str(each) != GROUP for each in ids)
    replayed = yaml.safe_load(found["replay.yml"])
    assert replayed["clusters"][0]["members"][0]["group_id"] in {str(each) for each in ids}
    assert "clusterUserName in" in found["summary.md"]
    checked = await check_of(tmp_path / "captured", tmp_path)
    assert checked.stdout.endswith("6 of 6 targets work\n"), checked.stdout


async def check_of(folder: Path, tmp_path: Path) -> Any:
    """Return the online check of a capture that is served again."""
    replay = Replay(folder)
    app = web.Application()
    app.add_routes(replay.routes())
    server = TestServer(app)
    await server.start_server()
    url = str(server.make_url("")).rstrip("/")
    try:
        text = configuration(replay, url)
        (tmp_path / "replayed.yml").write_text(text, encoding="utf-8")
        load(tmp_path / "replayed.yml")
        return await Command(tmp_path, text)("check", "--online")
    finally:
        await server.close()


@pytest.mark.parametrize(
    "folder", sorted(path for path in CAPTURES.iterdir() if path.is_dir()), ids=lambda path: path.name
)
async def test_the_samples_of_a_captured_folder(folder: Path, tmp_path: Path) -> None:
    """Each folder in tests/captures has an `expected.prom` with the samples that it stands for."""
    replay = Replay(folder)
    app = web.Application()
    app.add_routes(replay.routes())
    server = TestServer(app)
    await server.start_server()
    try:
        text = configuration(replay, str(server.make_url("")).rstrip("/"))
        once = await Command(tmp_path, text)("once", "--format=prometheus")
    finally:
        await server.close()
    assert once.status == 0, once.stderr
    lines = sorted(
        line for line in once.stdout.splitlines() if line.startswith("hpc_") and not line.startswith("hpc_exporter_")
    )
    expected = folder / "expected.prom"
    assert lines == expected.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"asked_with": "own"}'])
def test_a_folder_that_holds_no_capture_is_said_so(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "replay.yml").write_text("")
        (tmp_path / "1.json").write_text(content)
    with pytest.raises(ReplayError, match="holds no capture"):
        Replay(tmp_path)


def test_stand_ins_are_consistent_and_keep_the_form() -> None:
    stand_ins = StandIns(b"key")
    row = stand_ins.value({"groupId": 533686286955839488, "jobId": "900_[1-4]", "clusterId": "11112.0", "n": -1})
    again = stand_ins.value({"groupId": "533686286955839488", "jobId": "900", "clusterId": 11112})
    assert str(row["groupId"]) == again["groupId"]
    assert row["jobId"] == f"{again['jobId']}_[1-4]"
    assert row["clusterId"] == f"{again['clusterId']}.0"
    kept = {
        "code": "0",
        "jobState": "statR",
        "startTime": "2026-05-26 17:09:07",
        "wallTimeReq": "1-00:00:00",
        "y": 12,
        "z": None,
    }
    assert stand_ins.value(kept) == kept
    assert (
        stand_ins.target("https://a/hpc/openapi/v2/view/queue/jobs?userName=bob")
        == "/hpc/openapi/v2/view/queue/jobs?userName=user-1"
    )
    assert stand_ins.value({"clusterUserName": "bob"}) == {"clusterUserName": "user-1"}
