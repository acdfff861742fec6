"""Captures: nothing secret or personal in any file, consistent stand-ins, and answers that can be served again."""

import base64
import json
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.cli.questions import answered
from exporter.cli.simulate import configuration as simulated_configuration
from exporter.cli.standins import StandIns
from exporter.config import load
from exporter.simulator import Fault, Simulator, default_project, default_regions
from exporter.simulator.replay import Replay, ReplayError, configuration
from exporter.sources.collector import collectors_of, registry
from tests.e2e.test_accounts import account, cluster, configured, simulated
from tests.sources.slurm.answers import ENDED, RUNNING, new
from tests.sources.slurm.test_partitions import NEW, NEW_NODES
from tests.support.command import Command, Ended
from tests.support.http import a_network
from tests.support.slurmrestd import TOKEN as TOKEN_OF_SLURM
from tests.support.slurmrestd import FakeSlurmrestd

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
    # Messages and unknown fields about people whom no other field names.
    "message": "用户周九没有权限 (UNIQUE sunqi@UNIQUE.cn, fe80::dead:beef%eth0, 2001:db8::77, 10.99.88.77:8080)",
    "error_msg": "see https://UNIQUE.example.cn/home?user=sunqi&id=533686286955839488 or ~sunqi/run.sh or C:\\Users\\sunqi",
    "error": f"token {TOKEN} of Sunqi was rejected",
    "description": "job 24681357 of sunqi failed in /public/home/sunqi/王五七.sh on node UNIQUEn1",
    "state_reason": "sunqi took 13912345678",
    "contact": {
        "name": "王五七",
        "tel": "0551-65591234",
        "phoneNumber": 65591234,
        "weixin": "zhaoliu",
        "qq": 1612345678,
    },
    "more": [
        {"value": 13912345678.0},
        {"value": "+8613912345678"},
        {"value": "13912345678.0"},
        13912345678,
        "139 1234 5678",
    ],
    "when": ["2026-11-29 13912345678", "13912345678-12:34", "2026-11-29T10:00:00zhaoliu"],
    "zhaoliu": 3,
    "u13912345678": 1,
    "by": {"王五七": 1, "user13987654321": 2, "13912345678": 3},
    "owners": ["sunqi"],
    "jobOwner": "zhaoliu",
    "state": "zhaoliu",
    "clusterName": "王五七的集群 zhaoliu",
    "partition": "zhaoliu_gpu",
    "text": "login.UNIQUE.edu.cn",
    "realName": "王五七",
    "session": "JSESSIONID=UNIQUE; Path=/",
    "json": '[{"phone": 13912345678, "name": "王五七", "unheard": "zhaoliu"}]',
    "gres_detail": ["gpu:sunqi@home:2(IDX:0-1)"],
    "tres_req_str": "cpu=16,mem=1000M,node=1,billing=16",
    "user_id": 1357924680,
    "id": 533686286955839488.0,
    "deep": {"a": {"b": [{"c": {"d": "sunqi", "mail": "zhaoliu@UNIQUE.cn", "ip": "fe80::dead:beef"}}]}},
    "accessKey": "UNIQUEak",
    "secretKey": "UNIQUEsk",
    "password": "UNIQUEpw",
}
NEVER = (
    *(
        "UNIQUE",
        "王小明",
        "李四",
        "王五七",
        "周九",
        "zhaoliu",
        "sunqi",
        "Sunqi",
        "13912345678",
        "13987654321",
        "65591234",
        "1612345678",
        "1357924680",
    ),
    *("10.99.88.77", "dead:beef", "2001:db8", GROUP, "secret-project", "24681357", "139 1234", "eyJ"),
)


async def answer(request: web.Request) -> web.Response:
    if request.path.endswith("/tokens"):
        rows = [{"clusterId": "0", "clusterName": "ac", "token": TOKEN}, {"clusterId": 11112, "token": TOKEN + "\n"}]
        return web.json_response({"code": "0", "data": rows})
    if request.path.endswith("/center"):
        return web.Response(
            text="<html>UNIQUE gateway</html>",
            content_type="text/html",
            headers={"X-UNIQUE": "UNIQUE", "Retry-After": "zhaoliu"},
        )
    headers = {
        "Retry-After": "7",
        "Set-Cookie": "UNIQUE",
        "Server": "UNIQUE/1",
        "Allow": "GET, UNIQUE",
        "Location": "/UNIQUE",
    }
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
        "secret_key_file": "UNIQUEfile",
        "url": url,
    }
    text = configured([login | {"token_url": f"{url}/api/user/v3/tokens", "collect": ["account"]}], [section])
    (tmp_path / "UNIQUEfile").write_text("UNIQUEsk")
    own = {"name": "own", "url": url, "token": TOKEN, "user_name": "UNIQUEuser1", "collect": ["jobs", "partitions"]}
    iam = {"url": url, "domain": "UNIQUEdomain", "user": "UNIQUEuser1", "password": "UNIQUEpassword", "project": "cn"}
    queue = {"queue_type": "PROCESSOR", "cluster_type": "MODELARTS", "cluster_id": "UNIQUE-pool"}
    project = {"name": "driving", "base_url": url, "project_id": "UNIQUEproject", "iam": iam, "queues": [queue]}
    text = json.dumps(json.loads(text) | {"slurm": [own], "octopus": [project]}, ensure_ascii=False)
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
    written = yaml.safe_load(found["replay.yml"])
    assert written["clusters"][0]["members"][0]["group_id"] in {str(each) for each in ids}
    assert re.search(r"name the region's user\? .*: clusterUserName in 6 of 6 rows \([0-9]{3}\)", found["summary.md"])
    checked = await replayed(tmp_path / "captured", tmp_path, "check", "--online")
    assert checked.stdout.endswith("6 of 6 targets work\n"), checked.stdout


async def test_the_exporter_shows_of_a_capture_what_it_showed_of_the_services(tmp_path: Path) -> None:
    """All collectors of all vendors, while the time of the simulation stands still; names may be other ones."""
    projects = (replace(default_project(), other_regions=()),)
    daemon = FakeSlurmrestd()
    daemon.rows |= {
        "jobs": [
            new(),
            new(**RUNNING, job_id=18),
            new(**(ENDED | {"job_id": 19, "job_state": "COMPLETED", "account": "physics"})),
        ],
        "partitions": [NEW],
        "nodes": NEW_NODES,
    }
    async with Simulator(default_regions(1), projects=projects, clock=lambda: 0.0) as simulator, a_network() as network:
        document = yaml.safe_load(simulated_configuration(simulator))
        (region,) = document["clusters"]
        del document["accounts"][1:]
        (lab,) = document["accounts"]
        region["collect"] = [each.name for each in collectors_of("clusters") if not each.lists_jobs or each.default]
        # The same region by the other ways to list jobs, and with nothing but a token.
        others = {
            "live": {"account": lab["name"], "collect": ["live_jobs", "job_history"], "members": region["members"]},
            "a/b 昆山": {"token": region.pop("token"), "collect": ["own_jobs", "queue_jobs"]},
        }
        base = {name: value for name, value in region.items() if name in ("cluster_id", "hpc_url", "ac_url")}
        document["clusters"] += [{"name": name, **base, **more} for name, more in others.items()]
        region["account"] = lab["name"]
        region["users"], region["members"] = region["users"][:1], [region["members"][0] | {"users": ["alice"]}]
        url = await daemon.start(network)
        document["slurm"] = [
            {"name": "cluster", "url": url, "token": TOKEN_OF_SLURM, "collect": ["jobs", "partitions"]}
        ]
        command = Command(tmp_path, yaml.safe_dump(document, allow_unicode=True))
        shown = await command("once", "--format=prometheus")
        captured = await command("capture", "--output=captured", "--with-refusals")
    assert (shown.status, captured.status) == (0, 0), shown.stderr + captured.stderr
    assert "failed" not in captured.stderr
    found = files(tmp_path / "captured")
    names = {each.name for each in registry().values()} | {"token", "center", "groups"}
    assert {json.loads(text)["collector"] for name, text in found.items() if name.endswith(".json")} == names
    refused = {json.loads(text)["collector"] for name, text in found.items() if name.endswith("wrong-token.json")}
    assert refused == names - {"token"}
    asked = [(each["source"], each["asked_with"], each["request"]["target"]) for each in
             (json.loads(text) for name, text in found.items() if name.endswith(".json"))
             if each["collector"] == "schedulers"]  # fmt: skip
    assert len(asked) == len(set(asked)), "what several collectors need is captured once"
    again = await replayed(tmp_path / "captured", tmp_path, "once", "--format=prometheus")
    assert again.status == 0, again.stderr
    before, after = anonymous(shown.stdout), anonymous(again.stdout)
    assert (before - after, after - before) == (Counter(), Counter())


def anonymous(exposition: str) -> Counter[str]:
    """Return the samples of all vendors, without labels whose values have stand-ins."""
    lines = [line for line in exposition.splitlines() if line.startswith(("hpc_", "octopus_"))]
    hidden = re.compile(r'(user|group|account|processor|scheduler_id|cluster_id|path|job_name|source|target)="[^"]*"')
    samples = [hidden.sub("", line) for line in lines]
    return Counter(each for each in samples if "last_success_timestamp" not in each)


async def test_groups_that_cannot_be_asked_are_captured_with_the_rest(tmp_path: Path) -> None:
    async with simulated() as simulator:
        (region,) = simulator.regions.values()
        simulator.platform.faults.add(Fault(kind="code", code="10008", endpoint="groups"))
        section = cluster(region, members="all", collect=["schedulers", "member_jobs"])
        text = configured([account(simulator, url=simulator.platform.url)], [section])
        captured = await Command(tmp_path, text)("capture", "--output=captured")
    assert (captured.status, "failed: the members of the groups of account lab" in captured.stderr) == (0, True)
    found = files(tmp_path / "captured")
    answers = [json.loads(each)["response"]["body"]["code"] for name, each in found.items() if "groups" in name]
    assert set(answers) == {"10008"}
    assert (await replayed(tmp_path / "captured", tmp_path, "check", "--online")).status == 0


async def test_a_host_that_does_not_answer_is_a_failure_and_what_others_answer_is_written(tmp_path: Path) -> None:
    async with simulated() as simulator:
        (region,) = simulator.regions.values()
        # Longer than the name of a file may be.
        living = {**cluster(region, collect=["schedulers"]), "name": "𠀀" * 100}
        dead = {**cluster(region), "name": "dead", "hpc_url": "http://127.0.0.1:9", "ac_url": "http://127.0.0.1:9"}
        dead["collect"] = ["schedulers", "queue_jobs", "region_cores", "user_limits"]
        captured = await Command(tmp_path, configured([account(simulator)], [living, dead]))(
            "capture", "--output=captured"
        )
    assert captured.status == 1
    assert "dead: 4 targets (schedulers, queue_jobs, region_cores, ...) failed: cannot connect to 127.0.0.1:9" in (
        captured.stderr
    )
    assert any("schedulers" in name for name in files(tmp_path / "captured"))


async def replayed(folder: Path, tmp_path: Path, *arguments: str) -> Ended:
    """Run a command with the configuration of a capture that is served again."""
    replay = Replay(folder)
    async with a_network() as network:
        url = await network.serve(replay.serve)
        text = configuration(replay, url)
        (tmp_path / "replayed.yml").write_text(text, encoding="utf-8")
        load(tmp_path / "replayed.yml")
        return await Command(tmp_path, text)(*arguments)


@pytest.mark.parametrize(
    "folder", sorted(path for path in CAPTURES.iterdir() if path.is_dir()), ids=lambda path: path.name
)
async def test_the_samples_of_a_captured_folder(folder: Path, tmp_path: Path) -> None:
    """Each folder in tests/captures has an `expected.prom` with the samples that it stands for."""
    once = await replayed(folder, tmp_path, "once", "--format=prometheus")
    assert once.status == 0, once.stderr
    own = ("hpc_exporter_", "#")
    lines = sorted(line for line in once.stdout.splitlines() if not line.startswith(own))
    expected = folder / "expected.prom"
    if os.environ.get("HPC_EXPORTER_WRITE_GOLDEN"):
        expected.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    assert lines == expected.read_text(encoding="utf-8").splitlines(), (
        "HPC_EXPORTER_WRITE_GOLDEN=1 writes it; read the difference"
    )


@pytest.mark.parametrize(
    "content", [None, "{", "[]", '{"asked_with": "own"}', '{"asked_with": "own", "source": "kunshan"}']
)
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


MEMBERS = "/ac/openapi/v2/clusters/1/groups/2/clusterUserNames/user-1/jobs"


@pytest.mark.parametrize(
    ("target", "body", "said"),
    [
        ("/ac/openapi/v2/groupmembers", {"data": [{"groupUsersInfos": 5}, {"groupUsersInfos": [7]}]}, "in 0 of 2 rows"),
        ("/hpc/openapi/v2/view/queue/jobs?userName=user-1", None, "queue has a job? kunshan: the whole body is null"),
        ("/hpc/openapi/v2/view/queue/jobs?userName=user-1", {"code": "0"}, "queue has a job? kunshan: data is absent"),
        (MEMBERS, {"code": 0, "data": []}, "a member has no job? kunshan: data is an empty list"),
        (MEMBERS, {"code": "0", "data": [{"id": "900_[1-4]", "status": "statQ"}]}, "array numbered? kunshan: 900_[1-4]"),
        (MEMBERS, {"code": "10008", "data": "x"}, "take? kunshan: one that says nothing was not: 10008"),
        ("/v1.0/id/data/queuing-jobs?limit=200", {"meta_info": {"current_time": "2026"}}, "current_time? kunshan: text like"),
        ("/v1.0/id/data/queuing-jobs?limit=200", {"error_code": "octopus.400000"}, "limit 200: HTTP 200 octopus.400000"),
        ("/v1.0/id/data/queuing-jobs?limit=200", "<html>", "current_time? kunshan: absent"),
    ],
)  # fmt: skip
def test_a_question_that_an_answer_settles(target: str, body: Any, said: str) -> None:
    request, response = {"target": target, "headers": {}}, {"status": 200, "headers": {}, "body": body}
    document = {"source": "kunshan", "collector": "x", "asked_with": "own", "request": request, "response": response}
    assert said in "\n".join(answered([document]))
