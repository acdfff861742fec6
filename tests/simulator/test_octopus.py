"""The simulated Octopus project: pages, tokens and errors as documented, fed by the batch system."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from exporter.simulator import (
    BatchSystem,
    Fault,
    OctopusProject,
    OctopusQuirks,
    Simulator,
    State,
    default_project,
    default_projects,
)
from exporter.simulator.api_base import World
from exporter.simulator.octopus import ERRORS

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
        (), projects=default_projects(), speed_up=60, clock=hands, wall_clock=hands, iam_token_lifetime=3600.0
    ) as simulator:
        yield Client(simulator.projects["driving"], session)


async def test_the_queue_is_what_waits_in_the_batch_system(client: Client) -> None:
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


async def test_the_largest_page_is_a_matter_of_the_deployment(client: Client) -> None:
    client.project.max_limit = 100
    assert (await client.get(limit=101))[0] == 400
    assert (await client.get(limit=100))[0] == 200


async def test_a_login_gives_a_token_in_a_header_and_its_end_in_the_body(client: Client, hands: Any) -> None:
    status, body, headers = await client.log_in()
    assert status == 201
    expires = datetime.fromisoformat(body["token"]["expires_at"]).timestamp()
    assert expires == hands.time + 3600
    assert (await client.get(token=headers["X-Subject-Token"]))[0] == 200
    hands.time += 3600
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


@pytest.mark.parametrize(
    ("spelling", "message"), [("error_code", "error_msg"), ("errorCode", "errorMsg"), ("code", "message")]
)
async def test_every_error_can_be_ordered_in_every_spelling(client: Client, spelling: Any, message: str) -> None:
    client.project.writer.quirks = OctopusQuirks(spelling=spelling)
    for code, (status, text) in ERRORS.items():
        client.project.faults.add(Fault(kind="error", status=status, code=code, retry_after=3, times=1))
        answered, body, headers = await client.get()
        assert (answered, body) == (status, {spelling: code, message: text})
        assert headers["Retry-After"] == "3"
        assert (await client.get())[0] == 200


async def test_a_fault_can_be_ordered_for_one_page_of_one_queue(client: Client) -> None:
    client.project.faults.add(Fault(kind="status", status=502, user="PROCESSOR", offset=200))
    client.project.faults.add(Fault(kind="status", status=503, endpoint="iam"))
    assert (await client.get(limit=200))[0] == 200
    assert (await client.get(queue_type="INTERNAL", cluster_type=None, cluster_id=None, offset=200))[0] == 200
    client.project.faults.clear()
    client.project.faults.add(Fault(kind="error", status=502, code="octopus.400102", user="PROCESSOR", offset=200))
    assert (await client.get(limit=200, offset=200))[0] == 502


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("iso", {"current_time": "2023-11-14T22:13:20.000000Z"}),
        ("milliseconds", {"current_time": 1_700_000_000_000}),
        ("text", {"current_time": "1700000000000"}),
        ("absent", {}),
    ],
)
async def test_the_time_in_all_its_forms(client: Client, form: Any, expected: dict[str, Any]) -> None:
    client.project.writer.quirks = OctopusQuirks(time_form=form)
    assert (await client.get())[1]["meta_info"] == expected


async def test_a_queue_can_be_given_and_moved_between_its_pages(client: Client) -> None:
    key = ("INTERNAL", "", "")
    client.project.rows[key] = [{"id": n} for n in range(6)]

    def first_leaves(moved: tuple[str, str, str]) -> None:
        del client.project.rows[moved][0]

    client.project.after_page = first_leaves
    ids = []
    for offset in (0, 2, 4):
        _, body, _ = await client.get(queue_type="INTERNAL", cluster_type=None, cluster_id=None, limit=2, offset=offset)
        ids += [row["id"] for row in body["payload"]["list"]]
    assert ids == [0, 1, 3, 4]


async def test_the_truth_and_the_requests_are_told_over_http_as_for_a_region(client: Client) -> None:
    await client.get()
    async with client.session.get(f"{client.project.url}/simulator/requests") as response:
        assert (await response.json())["counts"] == {"queuing_jobs": 1}
    async with client.session.post(f"{client.project.url}/simulator/tokens/expire") as response:
        assert response.status == 204
    assert (await client.get())[0] == 401
    async with client.session.get(f"{client.project.url}/simulator/truth") as response:
        assert (await response.json())["jobs"]


async def test_regions_and_projects_of_one_simulator_have_ports_of_their_own(hands: Any) -> None:
    async with Simulator(projects=default_projects(2), clock=hands, wall_clock=hands) as simulator:
        assert list(simulator.projects) == ["driving", "driving-2"]
        urls = [region.hpc_url for region in simulator.regions.values()]
        urls += [project.url for project in simulator.projects.values()]
        assert len(set(urls)) == 3


def test_equal_seeds_give_equal_queues(hands: Any) -> None:
    one, same, other = (
        OctopusProject(default_project(), World(seed, clock=hands, wall_clock=hands)) for seed in (1, 1, 2)
    )
    for queue in one.spec.queues:
        assert one.queued(queue) == same.queued(queue) != other.queued(queue)


def test_the_queues_stay_bounded_and_are_not_always_empty() -> None:
    """A day of the default project, hour by hour."""
    spec = replace(default_project().batch, truth_kept_for=0.0)
    batch = BatchSystem(spec, 1, 0.0)
    lengths: dict[str, list[int]] = {"processor": [], "internal": []}
    for hour in range(1, 25):
        batch.advance_to(3600.0 * hour)
        for queue, seen in lengths.items():
            jobs = [job for user in spec.users for job in batch.jobs(user.name)]
            seen.append(sum(job.queue == queue and job.state is State.QUEUED for job in jobs))
    assert 200 < max(lengths["processor"]) <= 330
    assert 0 < max(lengths["internal"]) <= 120
    assert any(one != other for one, other in pairwise(lengths["internal"]))
