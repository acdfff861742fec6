"""`jobs list`, a process: whose jobs, which of them, and who could not be read."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest
import yaml

from exporter.simulator import Simulator
from tests.e2e.region import ScriptedRegion, cluster, configuration, envelope, job, scripted_region
from tests.sources.slurm.answers import new
from tests.support.command import Command
from tests.support.http import a_network
from tests.support.slurmrestd import TOKEN, FakeSlurmrestd

SCHEMA = Path(__file__).parent.parent.parent / "config" / "jobs-list.schema.json"
MEMBERS = [
    {"group_id": 533686286955839488, "group": "chemistry", "users": ["test", "王伟"]},
    {"group_id": 533686286955839489, "group": "physics", "users": ["bob"]},
]


@pytest.fixture
async def region() -> AsyncIterator[ScriptedRegion]:
    async with scripted_region(
        {
            ("member_jobs", "test"): envelope([job("1", "a job"), job("2", status="statQ", cpuCore=None)]),
            ("member_jobs", "王伟"): envelope([job("3", "分子动力学", "statH"), job("4", status="statXYZ")]),
            ("member_jobs", "bob"): envelope([job("5", procNumReq=64, cpuCore=64)]),
        }
    ) as region:
        yield region


@pytest.fixture
def command(region: ScriptedRegion, tmp_path: Path) -> Command:
    clusters = [cluster(region.url, name, members=MEMBERS) for name in ("kunshan", "xian")]
    return Command(tmp_path, configuration(*clusters))


async def test_all_jobs_of_all_members(command: Command) -> None:
    result = await command("jobs", "list", "--cluster=kunshan")
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout == (
        "cluster  group      user  id  state              nodes  cores  GPUs  DCUs  name\n"
        "kunshan  chemistry  test  1   running                1    2/2     0     0  a job\n"
        "kunshan  chemistry  test  2   queued                 1    ?/2     0     0  job\n"
        "kunshan  chemistry  王伟  3   held                   1    2/2     0     0  分子动力学\n"
        "kunshan  chemistry  王伟  4   unknown (statXYZ)      1    2/2     0     0  job\n"
        "kunshan  physics    bob   5   running                1  64/64     0     0  job\n"
    )


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], ["1", "2", "3", "4", "5"] * 2),
        (["--cluster=xian", "--user=test"], ["1", "2"]),
        (["--cluster=xian", "--user=test", "--user=bob"], ["1", "2", "5"]),
        (["--group=physics"], ["5", "5"]),
        (["--group=533686286955839489", "--cluster=xian"], ["5"]),
        (["--state=queued", "--state=held", "--cluster=xian"], ["2", "3"]),
        (["--state=completed"], []),
    ],
    ids=" ".join,
)
async def test_filters(command: Command, filters: list[str], found: list[str]) -> None:
    result = await command("jobs", "list", "--format=json", *filters)
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, json.loads(SCHEMA.read_text()))
    assert [each["id"] for each in answer["jobs"]] == found
    assert (result.status, answer["ok"]) == (0, True)


async def test_only_members_that_pass_the_filters_are_requested(region: ScriptedRegion, command: Command) -> None:
    await command("jobs", "list", "--user=bob", "--cluster=xian")
    assert region.paths == ["/ac/openapi/v2/clusters/11112/groups/533686286955839489/clusterUserNames/bob/jobs"]


async def test_a_job_in_json(command: Command) -> None:
    result = await command("jobs", "list", "--format=json", "--user=bob", "--cluster=xian")
    assert json.loads(result.stdout)["jobs"] == [
        {
            "cluster": "xian",
            "group": "physics",
            "group_id": "533686286955839489",
            "user": "bob",
            "id": "5",
            "name": "job",
            "state": "running",
            "raw_state": None,
            **dict.fromkeys(("queue", "reason", "submitted", "started", "ended")),
            "requested": {"nodes": 1, "cpus": 64, "gpus": 0, "dcus": 0},
            "allocated": {"cpus": 64, "gpus": 0, "dcus": 0},
        }
    ]


async def test_an_empty_list_is_an_answer(region: ScriptedRegion, command: Command) -> None:
    region.answers["member_jobs", "bob"] = envelope(None)
    result = await command("jobs", "list", "--user=bob")
    assert (result.status, result.stdout, result.stderr) == (0, "no jobs\n", "")


async def test_unreadable_members_are_named(region: ScriptedRegion, command: Command) -> None:
    region.answers["member_jobs", "bob"] = envelope(None, "10008", "权限不足")
    region.answers["member_jobs", "王伟"] = envelope([job("3"), {"id": None}])
    result = await command("jobs", "list", "--cluster=kunshan")
    assert result.status == 1
    assert [row[3] for row in result.rows] == ["1", "2", "3"]
    assert "kunshan physics/bob: the jobs could not be read: the token was rejected: no permission" in result.stderr
    assert "kunshan chemistry/王伟: 1 of the jobs could not be read" in result.stderr
    answer = json.loads((await command("jobs", "list", "--cluster=kunshan", "--format=json")).stdout)
    jsonschema.validate(answer, json.loads(SCHEMA.read_text()))
    assert answer["ok"] is False
    assert [(each["user"], each["unreadable_records"]) for each in answer["unread_members"]] == [
        ("王伟", 1),
        ("bob", None),
    ]
    assert answer["unread_members"][1]["error"]["reason"] == "auth"


async def test_no_readable_member_is_not_no_jobs(region: ScriptedRegion, command: Command) -> None:
    region.answers["member_jobs", "bob"] = b"oops"
    result = await command("jobs", "list", "--user=bob", "--cluster=xian")
    assert result.status == 1
    assert result.stdout == "no jobs that could be read\n"


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (["--cluster=harbin"], "no cluster 'harbin' has configured members; there are: kunshan, xian"),
        (["--user=nobody"], "no user 'nobody' has configured members; there are: test, 王伟, bob"),
        (["--group=math"], "no group 'math'"),
        (["--group=physics", "--user=test"], "no configured member passes"),
        (["--state=asleep"], "there is no state 'asleep'; there are: running, "),
    ],
)
async def test_a_name_that_is_none_is_wrong_usage(command: Command, filters: list[str], said: str) -> None:
    """Nothing would look like no jobs."""
    result = await command("jobs", "list", *filters)
    assert (result.status, result.stdout) == (2, "")
    assert said in result.stderr


async def test_members_are_listed_whether_they_are_polled_or_not(region: ScriptedRegion, tmp_path: Path) -> None:
    command = Command(tmp_path, configuration(cluster(region.url, members=MEMBERS, collect=["queue_jobs"])))
    assert len((await command("jobs", "list", "--user=test")).rows) == 2


async def test_without_members_the_tokens_own_jobs_are_listed_with_what_the_list_tells(tmp_path: Path) -> None:
    async with Simulator(clock=lambda: 0.0) as simulator:
        region = simulator.regions["kunshan"]
        region_of_alice = {
            "name": "kunshan",
            "cluster_id": region.cluster_id,
            "hpc_url": region.hpc_url,
            "token": region.token("alice"),
        }
        command = Command(tmp_path, yaml.safe_dump({"clusters": [region_of_alice]}))
        found = json.loads((await command("jobs", "list", "--user=alice", "--format=json")).stdout)
        table = await command("jobs", "list", "--wide")
        nobody = await command("jobs", "list", "--user=bob")
        now, jobs = region.batch.now, {str(job.id): job for job in region.batch.jobs("alice")}
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    rows = {row["id"]: row for row in found["jobs"]}
    assert rows.keys() == jobs.keys()
    for job_id, row in rows.items():
        job = jobs[job_id]
        started = row["started"] and datetime.fromisoformat(row["started"]).timestamp()
        assert (row["queue"], started) == (job.queue, job.started and int(job.started))
        assert started is None or started <= now
    assert "priority" in {row["reason"] for row in rows.values()}
    assert (table.status, nobody.status) == (0, 2)
    title = " ".join(table.stdout.splitlines()[0].split())
    assert title == "cluster group user id state queue reason started nodes cores GPUs DCUs name"


async def test_an_unknown_state_is_shown_as_the_api_spells_it(command: Command) -> None:
    result = await command("jobs", "list", "--format=json", "--state=unknown", "--cluster=xian")
    assert [(job["state"], job["raw_state"]) for job in json.loads(result.stdout)["jobs"]] == [("unknown", "statXYZ")]


@pytest.mark.parametrize(
    ("filters", "found", "status"),
    [
        ([], {"1", "2", "3_4", "3_5", "9"}, 0),
        (["--cluster=own", "--user=test"], {"2", "3_4", "3_5"}, 0),
        (["--group=physics"], {"1"}, 0),
        (["--cluster=own", "--user=bob"], set(), 2),
        # A cluster that does not answer may have jobs of any name.
        (["--cluster=own", "--cluster=gone", "--user=bob"], set(), 1),
        (["--cluster=own", "--cluster=gone", "--user=test"], {"2", "3_4", "3_5"}, 1),
    ],
)
async def test_jobs_of_slurm_clusters(tmp_path: Path, filters: list[str], found: set[str], status: int) -> None:
    slurmrestd = FakeSlurmrestd()
    slurmrestd.rows["jobs"] = [
        new(job_id=1, account="physics", user_name="alice"),
        new(job_id=2),
        new(job_id=3, array_job_id=3, array_task_string="4-5"),
    ]
    async with a_network() as network, scripted_region({("member_jobs", "test"): envelope([job("9")])}) as region:
        url = await slurmrestd.start(network)
        given = yaml.safe_load(
            configuration(cluster(region.url, "kunshan", members=[{"group_id": 1, "users": ["test"]}]))
        )
        given["slurm"] = [{"name": "own", "url": url, "token": TOKEN}]
        if "--cluster=gone" in filters:
            given["slurm"].append({"name": "gone", "url": "unix:/nowhere", "poll": {"retries": 0}})
        result = await Command(tmp_path, yaml.safe_dump(given))("jobs", "list", "--format=json", *filters)
    assert result.status == status
    assert ("gone" in result.stderr) == (status == 1)
    assert {row["id"] for row in json.loads(result.stdout or '{"jobs": []}')["jobs"]} == found


async def test_jobs_of_slurm_clusters_are_not_deleted(tmp_path: Path) -> None:
    result = await Command(tmp_path, "slurm: [{name: own, url: 'unix:/nowhere'}]")(
        "jobs", "delete", "--cluster=own", "--user=test", "1"
    )
    assert (result.status, result.stderr.splitlines()[-1]) == (
        2,
        "hpc-exporter: own is a Slurm cluster: delete its jobs with scancel",
    )
