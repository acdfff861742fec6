"""The simulated Octopus project: pages, tokens and errors as documented, fed by the batch system."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import pytest

from exporter.simulator import (
    OctopusProject,
    Simulator,
    State,
    default_projects,
)

POOL = {"queue_type": "PROCESSOR", "cluster_type": "MODELARTS", "cluster_id": "pool-1"}
Answer = tuple[int, Any, dict[str, str]]


class Client:
    def __init__(self, project: OctopusProject, session: aiohttp.ClientSession) -> None:
        self.project = project
        self.session = session
        self.token = project.token()

    async def get(self, token: str | None = None, **query: Any) -> Answer:
        url = f"{self.project.url}/v1.0/{self.project.spec.project_id}/data/queuing-jobs"
        headers = {"X-Auth-Token": self.token if token is None else token}
        wanted = {**POOL, **query}
        given = {name: str(value) for name, value in wanted.items() if value is not None}
        async with self.session.get(url, params=given, headers=headers) as response:
            return response.status, await response.json(), dict(response.headers)

    async def get_jobs(self, path: str, token: str | None = None, **query: Any) -> Answer:
        url = f"{self.project.url}/v1.0/{self.project.spec.project_id}/data/{path}"
        headers = {"X-Auth-Token": self.token if token is None else token}
        given = {name: str(value) for name, value in query.items()}
        async with self.session.get(url, params=given, headers=headers) as response:
            return response.status, await response.json(), dict(response.headers)

    async def log_in(self, **changes: Any) -> Answer:
        spec = self.project.spec
        given = {"domain": spec.domain, "name": spec.user, "password": spec.password} | changes
        scope = given.pop("scope", {"name": spec.region})
        user = {"domain": {"name": given["domain"]}, "name": given["name"], "password": given["password"]}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": scope}}}
        async with self.session.post(f"{self.project.url}/v3/auth/tokens", json=body) as response:
            return response.status, await response.json(), dict(response.headers)


@pytest.fixture
async def client(hands: Any, session: aiohttp.ClientSession) -> AsyncIterator[Client]:
    async with Simulator(
        (), projects=default_projects(), speed_up=60, clock=hands, wall_clock=hands, iam_token_lifetime=120.0
    ) as simulator:
        yield Client(simulator.projects["driving"], session)


async def test_the_queue_holds_the_waiting_jobs_of_the_batch_system(client: Client) -> None:
    _, body, _ = await client.get(limit=200)
    batch = client.project.batch
    waiting = {
        job.id
        for team in ("mining", "labelling", "replay")
        for job in batch.jobs(team)
        if job.queue == "processor" and job.state is State.QUEUED
    }
    _, rest, _ = await client.get(limit=200, offset=200)
    rows = body["payload"]["list"] + rest["payload"]["list"]
    assert {row["id"] for row in rows} == waiting
    assert body["payload"]["page_info"] == {"offset": 0, "limit": 200, "total": len(waiting)}
    assert len(waiting) > 200


async def test_rows_come_by_priority_then_by_their_stamp(client: Client) -> None:
    _, body, _ = await client.get(limit=200)
    order = [(-row["priority"], row["rank_stamp"], row["id"]) for row in body["payload"]["list"]]
    assert order == sorted(order)
    assert all(row["queue_type"] == "PROCESSOR" and row["processor_name"] for row in body["payload"]["list"])


async def test_an_internal_queue_names_no_processor(client: Client) -> None:
    _, body, _ = await client.get(queue_type="INTERNAL", cluster_type=None, cluster_id=None, limit=200)
    assert body["payload"]["list"]
    for row in body["payload"]["list"]:
        assert not row.keys() & {"processor_id", "processor_name", "source", "output_type"}


async def test_time_passes_and_entries_come_and_go(client: Client, hands: Any) -> None:
    _, before, _ = await client.get(limit=200)
    hands.time += 60
    _, after, _ = await client.get(limit=200)
    first, second = ({row["id"] for row in body["payload"]["list"]} for body in (before, after))
    assert first - second
    assert second - first


async def test_a_row_stays_the_same_from_page_to_page(client: Client) -> None:
    _, whole, _ = await client.get(limit=50)
    parts = [(await client.get(limit=10, offset=offset))[1]["payload"]["list"] for offset in range(0, 50, 10)]
    assert [row for part in parts for row in part] == whole["payload"]["list"]


async def test_without_a_limit_a_page_has_ten_rows_and_past_the_end_none(client: Client) -> None:
    assert len((await client.get())[1]["payload"]["list"]) == 10
    _, body, _ = await client.get(offset=100_000)
    assert body["payload"]["list"] == []
    assert body["payload"]["page_info"]["total"] > 0


@pytest.mark.parametrize(
    "query",
    [
        {"queue_type": None},
        {"cluster_id": None},
        {"limit": 0},
        {"limit": 201},
        {"limit": -1},
        {"limit": "x"},
        {"offset": -1},
        {"offset": "x"},
    ],
)
async def test_wrong_parameters_are_refused(client: Client, query: dict[str, Any]) -> None:
    status, body, _ = await client.get(**query)
    assert (status, body["error_code"]) == (400, "octopus.400000")


async def test_a_login_gives_a_token_in_a_header_and_its_end_in_the_body(client: Client, hands: Any) -> None:
    status, body, headers = await client.log_in()
    assert status == 201
    expires = datetime.fromisoformat(body["token"]["expires_at"]).timestamp()
    assert expires == hands.time + 120
    assert (await client.get(token=headers["X-Subject-Token"]))[0] == 200
    hands.time += 120
    status, body, _ = await client.get(token=headers["X-Subject-Token"])
    assert (status, body["error_code"]) == (401, "APIG.0301")
    assert "token expires" in body["error_msg"]


@pytest.mark.parametrize("wrong", [{"domain": "x"}, {"name": "x"}, {"password": "x"}, {"password": None}])
async def test_a_wrong_login_is_refused(client: Client, wrong: dict[str, Any]) -> None:
    status, body, headers = await client.log_in(**wrong)
    assert (status, body["error"]["title"]) == (401, "Unauthorized")
    assert "X-Subject-Token" not in headers


async def test_a_login_of_another_form_is_no_login(client: Client) -> None:
    url = f"{client.project.url}/v3/auth/tokens"
    for body in (b"", b"[]", b'{"auth": {"identity": {"methods": ["token"]}}}'):
        async with client.session.post(url, data=body) as response:
            assert response.status == 400


async def test_the_scope_is_a_region_or_the_project_by_its_id(client: Client) -> None:
    by_id = await client.log_in(scope={"id": client.project.spec.project_id})
    assert (await client.get(token=by_id[2]["X-Subject-Token"]))[0] == 200
    assert (await client.log_in(scope={"name": "nowhere"}))[0] == 400
    elsewhere = await client.log_in(scope={"name": "cn-east-3"})
    status, body, _ = await client.get(token=elsewhere[2]["X-Subject-Token"])
    assert (status, body["error_code"]) == (401, "APIG.0307")


async def test_tokens_can_be_expired_and_made_up_ones_open_nothing(client: Client) -> None:
    client.project.expire_tokens()
    assert (await client.get())[1]["error_code"] == "APIG.0301"
    assert "decrypt" in (await client.get(token="made-up"))[1]["error_msg"]
    assert "not found" in (await client.get(token=""))[1]["error_msg"]


@pytest.mark.parametrize(("path", "parameter"), [("jobs", "status"), ("system-jobs", "statuses")])
async def test_data_jobs_are_those_of_the_batch_system(client: Client, path: str, parameter: str) -> None:
    """The queue's entries name them by `job_id`; each status is requested alone, and times are those of the truth."""
    queue = {"jobs": "processor", "system-jobs": "internal"}[path]

    async def jobs(**query: Any) -> tuple[list[dict[str, Any]], int]:
        _, body, _ = await client.get_jobs(path, limit=200, **query)
        return body["payload"]["list"], body["payload"]["page_info"]["total"]

    waiting, total = await jobs(**{parameter: "QUEUING"})
    batch = client.project.batch
    teams = [team.name for team in batch.spec.users]
    open_jobs = {job.id: job for team in teams for job in batch.jobs(team) if job.queue == queue}
    queued = [
        job for job in open_jobs.values() if job.state in (State.QUEUED, State.HELD, State.WAITING, State.REQUEUED)
    ]
    assert total == len(queued)
    assert {row["id"] - 1_000_000 for row in waiting} <= open_jobs.keys()
    assert {row["status"] for row in waiting} == {"QUEUING"}
    assert not any("start_at" in row for row in waiting)
    ended, _ = await jobs(**{parameter: "FINISHED"})
    truth = {ending.job.id: ending for ending in batch.endings(0.0, batch.now) if ending.state is not State.REQUEUED}
    for row in ended:
        ending = truth[row["id"] - 1_000_000]
        assert row["create_at"] <= row["start_at"] <= row["end_at"] == int(ending.ended * 1000)
    since = ended[len(ended) // 2]["create_at"]
    assert {row["create_at"] >= since for row in (await jobs(start_time=since))[0]} == {True}
    assert (await client.get_jobs(path, limit=201))[0] == 400
    assert (await client.get_jobs(path, token="x"))[0] == 401
