"""The answers' forms against the examples of the official pages."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from exporter.simulator import Region, Simulator, State
from exporter.simulator.quirks import STATUS

# The pages' examples of data.
QUEUE_EXAMPLE = {
    "name": "debug",
    "values": [
        {"metricName": "R", "metricValue": 2},
        {"metricName": "Q", "metricValue": 0},
        {"metricName": "H", "metricValue": 0},
        {"metricName": "S", "metricValue": 0},
        {"metricName": "O", "metricValue": 0},
    ],
}
SCHEDULER_EXAMPLE = {
    "JobManagerAddr": "10.0.150.45",
    "JobManagerType": "SLURM",
    "id": 1638523853,
    "text": "Cluster",
    "JobManagerPort": "9091",
}
JOB_EXAMPLE = {
    "id": "1466591",
    "name": "COMSOL_GUI_1031_103150",
    "status": "statR",
    "nodeNumReq": 1,
    "cpuCore": 2,
    "procNumReq": 1,
    "gpuNumReq": 0,
    "gpuNum": 0,
    "dcuNumReq": 0,
    "dcuNumUsed": 0,
}

CHEMISTRY, PHYSICS = 533686286955839488, 533686286955839489


class Caller:
    """Asks a region with one user's token."""

    def __init__(self, region: Region, session: aiohttp.ClientSession, user: str) -> None:
        self.region = region
        self.session = session
        self.token = region.token(user)

    async def get(self, url: str) -> Any:
        async with self.session.get(url, headers={"token": self.token}) as response:
            assert response.status == 200
            return json.loads(await response.read())

    async def queues(self, user: str) -> Any:
        return await self.get(f"{self.region.hpc_url}/hpc/openapi/v2/view/queue/jobs?userName={quote(user)}")

    async def schedulers(self) -> Any:
        return await self.get(f"{self.region.hpc_url}/hpc/openapi/v2/cluster")

    async def members(self, user: str, group: int = CHEMISTRY, cluster: int = 11112) -> Any:
        path = f"/ac/openapi/v2/clusters/{cluster}/groups/{group}/clusterUserNames/{quote(user, safe='')}/jobs"
        return await self.get(self.region.ac_url + path)

    async def delete(self, **form: str) -> Any:
        url = f"{self.region.hpc_url}/hpc/openapi/v2/jobs"
        async with self.session.delete(url, data=form, headers={"token": self.token}) as response:
            assert response.status == 200
            return await response.json()


@pytest.fixture
def call(region: Region, session: aiohttp.ClientSession) -> Callable[[str], Caller]:
    return lambda user: Caller(region, session, user)


Call = Callable[[str], Caller]


def form(value: Any) -> Any:
    """Return a value's types and keys, the first item's for a list."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    return type(value)


async def test_queue_statistics_are_of_the_pages_form(call: Call, region: Region) -> None:
    answer = await call("alice").queues("alice")
    assert (answer["code"], answer["msg"]) == ("0", "success")
    assert all(form(row) == form(QUEUE_EXAMPLE) for row in answer["data"])
    counts = {row["name"]: {v["metricName"]: v["metricValue"] for v in row["values"]} for row in answer["data"]}
    assert counts == dict(region.batch.queue_rows("alice"))
    assert counts["normal"]["Q"] > 0


async def test_schedulers_are_those_of_the_pages_example(call: Call) -> None:
    assert await call("alice").schedulers() == {"code": "0", "msg": "success", "data": [SCHEDULER_EXAMPLE]}


async def test_member_jobs_are_of_the_pages_form(call: Call, region: Region) -> None:
    answer = await call("test").members("alice")
    assert (answer["code"], answer["msg"]) == ("0", "success")
    assert all(form(row) == form(JOB_EXAMPLE) for row in answer["data"])
    listed = region.batch.jobs("alice")
    assert [(row["id"], row["status"]) for row in answer["data"]] == [
        (str(job.id), STATUS[job.state]) for job in listed
    ]
    assert [row["cpuCore"] for row in answer["data"]] == [job.allocated.cores for job in listed]


async def test_simulated_time_follows_the_clock(call: Call, region: Region, hands: Any) -> None:
    before = region.batch.now
    hands.time += 10
    await call("test").members("test")
    assert region.batch.now == pytest.approx(before + 600)


@pytest.mark.parametrize(
    ("caller", "member", "code"),
    [
        ("test", ("alice", CHEMISTRY, 11112), "0"),
        ("test", ("bob", PHYSICS, 11112), "0"),
        ("alice", ("alice", CHEMISTRY, 11112), "0"),
        ("alice", ("test", CHEMISTRY, 11112), "10008"),
        ("test", ("bob", CHEMISTRY, 11112), "10008"),
        ("test", ("nobody", CHEMISTRY, 11112), "911009"),
        ("test", ("alice", 533686286955839500, 11112), "10004"),
        ("test", ("alice", CHEMISTRY, 99), "10004"),
    ],
)
async def test_members_are_listed_for_themselves_and_for_administrators(
    call: Call, caller: str, member: tuple[str, int, int], code: str
) -> None:
    assert (await call(caller).members(*member))["code"] == code


async def test_queue_statistics_of_another_user_are_denied_or_empty(call: Call, region: Region) -> None:
    assert (await call("alice").queues("test"))["code"] == "10008"
    region.set_quirks(foreign_queue="empty")
    assert await call("alice").queues("test") == {"code": "0", "msg": "success", "data": None}
    assert (await call("alice").queues("nobody"))["code"] == "911009"
    assert (await call("alice").queues(""))["code"] == "10003"


async def test_delete_really_deletes_and_answers_as_on_the_page(call: Call, region: Region) -> None:
    queued = [job for job in region.batch.jobs("alice") if job.state is State.QUEUED]
    first, second = queued[0].id, queued[1].id
    answer = await call("alice").delete(jobMethod="5", strJobInfoMap=f"1638523853,alice:{first}:")
    message = f"jobManagerId : 1638523853, delete the jobs [alice:{first}:] successfully!"
    assert answer == {"code": "0", "msg": "success", "data": {"1638523853": message}}
    assert [job.state for job in queued[:2]] == [State.DELETED, State.QUEUED]
    both = f"1638523853,alice:{first}:;1638523853,alice:{second}:"
    again = await call("alice").delete(jobMethod="5", strJobInfoMap=both)
    assert again["data"]["1638523853"].endswith("failed!")
    assert queued[1].state is State.DELETED


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "10003"),
        ({"jobMethod": "5"}, "10003"),
        ({"jobMethod": "6", "strJobInfoMap": "1638523853,alice:{id}:"}, "10004"),
        ({"jobMethod": "5", "strJobInfoMap": "1638523853,alice:{id}"}, "10004"),
        ({"jobMethod": "5", "strJobInfoMap": "1638523853,alice:{id}:;"}, "10004"),
        ({"jobMethod": "5", "strJobInfoMap": "99,alice:{id}:"}, "10004"),
        ({"jobMethod": "5", "strJobInfoMap": "1638523853,test:{id}:"}, "0"),
        ({"jobMethod": "5", "strJobInfoMap": "1638523853,alice:x:"}, "0"),
    ],
)
async def test_a_delete_that_is_wrong_or_not_the_callers_deletes_nothing(
    call: Call, region: Region, fields: dict[str, str], code: str
) -> None:
    job = next(job for job in region.batch.jobs("alice") if job.state is State.QUEUED)
    filled = {name: text.replace("{id}", str(job.id)) for name, text in fields.items()}
    answer = await call("alice").delete(**filled)
    assert answer["code"] == code
    assert code != "0" or answer["data"]["1638523853"].endswith("failed!")
    assert job.state is State.QUEUED
    assert all(other.state is not State.DELETED for other in region.batch.jobs("test"))


async def test_the_request_log_holds_requests_as_sent(call: Call, region: Region) -> None:
    caller = call("alice")
    await caller.queues("alice")
    await caller.delete(jobMethod="5", strJobInfoMap="1638523853,alice:1:")
    queue, delete = region.requests
    assert (queue.endpoint, queue.method, queue.status, queue.user) == ("queue_jobs", "GET", 200, "alice")
    assert queue.path == "/hpc/openapi/v2/view/queue/jobs?userName=alice"
    assert delete.body == "jobMethod=5&strJobInfoMap=1638523853%2Calice%3A1%3A"
    assert queue.token == delete.token
    assert queue.token not in caller.token
    assert len(queue.token) == 12
    assert region.requests.counts == {"queue_jobs": 1, "delete": 1}
    assert (region.requests.in_flight, region.requests.max_in_flight) == (0, 1)
    region.requests.clear()
    assert len(region.requests) == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])  # noqa: S104 - refused
async def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(ValueError, match="is not a loopback address"):
        await Simulator().start(host)
