"""Every kind of fault, seen by a real client."""

import asyncio
import contextlib
import json
import time
from email.utils import formatdate
from pathlib import Path
from random import Random
from typing import Any, get_args

import aiohttp
import msgspec
import pytest

from exporter.simulator import Fault, Region, Simulator, State
from exporter.simulator.control import COMMANDS
from exporter.simulator.faults import KINDS, Faults, Kind, RegionEndpoint, read_faults

Answer = tuple[int, dict[str, str], bytes]


class Client:
    def __init__(self, region: Region, session: aiohttp.ClientSession) -> None:
        self.region = region
        self.session = session
        self.token = region.token("alice")

    async def get(self, path: str = "/hpc/openapi/v2/view/queue/jobs?userName=alice") -> Answer:
        url, headers = self.region.hpc_url + path, {"token": self.token}
        async with self.session.get(url, headers=headers, allow_redirects=False) as response:
            return response.status, dict(response.headers), await response.read()

    async def delete(self, job_id: int) -> Any:
        url, form = (
            f"{self.region.hpc_url}/hpc/openapi/v2/jobs",
            {
                "jobMethod": "5",
                "strJobInfoMap": f"1638523853,alice:{job_id}:",
            },
        )
        async with self.session.delete(url, data=form, headers={"token": self.token}) as response:
            return await response.json()


@pytest.fixture
def client(region: Region, session: aiohttp.ClientSession) -> Client:
    return Client(region, session)


async def test_a_fault_strikes_as_often_as_ordered_and_then_the_right_answer_is_back(client: Client) -> None:
    right = await client.get()
    client.region.faults.add(Fault(kind="status", status=502, times=2))
    assert [(await client.get())[0] for _ in range(3)] == [502, 502, 200]
    assert (await client.get())[2] == right[2]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(kind="wrong_shape"), {"code": "0", "msg": "success", "data": {"unexpected": [1, None]}}),
        (Fault(kind="wrong_shape", data="x"), {"code": "0", "msg": "success", "data": "x"}),
        (Fault(kind="code", code="10001", data="no"), {"code": "10001", "msg": "internal error", "data": "no"}),
        (Fault(kind="code", code="424242"), {"code": "424242", "msg": "error", "data": None}),
        (Fault(kind="null_form"), None),
        (Fault(kind="null_form", null_form="data_absent"), {"code": "0", "msg": "success"}),
        (Fault(kind="refused"), {"code": "911406", "msg": "token is not accepted", "data": None}),
    ],
)
async def test_wrong_answers_in_a_good_envelope(client: Client, fault: Fault, expected: object) -> None:
    client.region.faults.add(fault)
    status, _, body = await client.get()
    assert (status, json.loads(body)) == (200, expected)


async def test_stopping_closes_waiting_connections(session: aiohttp.ClientSession) -> None:
    simulator = Simulator()
    await simulator.start()
    client = Client(simulator.regions["kunshan"], session)
    client.region.faults.add(Fault(kind="hang"))
    waiting = asyncio.create_task(client.get())
    while not client.region.requests.in_flight:  # noqa: ASYNC110 - the log has no event to wait for
        await asyncio.sleep(0.01)
    began = time.monotonic()
    await simulator.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await waiting
    assert time.monotonic() - began < 50


async def test_a_delete_can_take_effect_before_it_fails(client: Client) -> None:
    job = next(job for job in client.region.batch.jobs("alice") if job.state is State.QUEUED)
    client.region.faults.add(Fault(kind="disconnect", endpoint="delete", after=True))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.delete(job.id)
    assert job.state is State.DELETED


async def test_a_delete_can_say_that_it_worked_and_do_nothing(client: Client) -> None:
    job = next(job for job in client.region.batch.jobs("alice") if job.state is State.QUEUED)
    client.region.faults.add(Fault(kind="no_effect", endpoint="delete"))
    assert (await client.delete(job.id))["code"] == "0"
    assert job.state is State.QUEUED


async def test_a_fault_strikes_only_its_endpoint_and_user(client: Client) -> None:
    region = client.region
    region.faults.add(Fault(kind="status", endpoint="schedulers"))
    assert ((await client.get())[0], (await client.get("/hpc/openapi/v2/cluster"))[0]) == (200, 500)
    region.faults.clear()
    region.faults.add(Fault(kind="status", user="test"))
    members = f"/ac/openapi/v2/clusters/11112/groups/{region.spec.groups[0].id}/clusterUserNames/%s/jobs"
    assert ((await client.get(members % "alice"))[0], (await client.get(members % "test"))[0]) == (200, 500)
    client.token = region.token("test")
    assert (await client.get("/hpc/openapi/v2/cluster"))[0] == 500


@pytest.fixture
def faults(hands: Any) -> Faults:
    return Faults(Random(1), hands)  # noqa: S311 - repeatable, not secret


def test_a_fault_strikes_with_its_probability_and_repeatably(hands: Any) -> None:
    def run() -> list[bool]:
        faults = Faults(Random(1), hands)  # noqa: S311 - repeatable, not secret
        faults.add(Fault(kind="hang", probability=0.3))
        return [faults.take("schedulers", "alice")[1] is not None for _ in range(1000)]

    assert run() == run()
    assert 240 < sum(run()) < 360


async def test_faults_are_ordered_listed_and_cleared_over_http(client: Client) -> None:
    url = f"{client.region.hpc_url}/simulator/faults"
    session = client.session
    async with session.post(url, json={"kind": "status", "status": 503, "times": 2}) as response:
        assert response.status == 201
    async with session.post(url, json=[{"kind": "hang", "endpoint": "schedulers"}, {"kind": "empty"}]) as response:
        assert response.status == 201
    assert (await client.get())[0] == 503
    async with session.get(url) as response:
        orders = await response.json()
    assert [(order["fault"]["kind"], order["left"]) for order in orders] == [
        ("status", 1),
        ("hang", None),
        ("empty", None),
    ]
    async with session.delete(url) as response:
        assert response.status == 204
    assert (await client.get())[0] == 200


async def test_the_truth_and_the_requests_are_told_over_http(client: Client) -> None:
    await client.get()
    async with client.session.get(f"{client.region.hpc_url}/simulator/truth") as response:
        truth = await response.json()
    expected = client.region.batch.truth()
    assert [job["id"] for job in truth["jobs"]] == [job.id for job in expected]
    assert truth["jobs"] == json.loads(msgspec.json.encode(expected))
    assert truth["time"] == client.region.batch.now
    async with client.session.get(f"{client.region.hpc_url}/simulator/requests") as response:
        told = await response.json()
    assert told["counts"] == {"queue_jobs": 1}
    assert [record["endpoint"] for record in told["requests"]] == ["queue_jobs"]


async def test_every_kind_of_fault_leaves_the_server_in_order(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """After any fault the next request gets the right answer, no request stays in flight, and no error is logged."""
    right = (await client.get())[2]
    for kind in get_args(Kind):
        client.region.faults.add(Fault(kind=kind, times=1, seconds=0.05, mebibytes=1))
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            await asyncio.wait_for(client.get(), 0.5)
        client.region.faults.clear()
        assert (await client.get())[2] == right, kind
    while client.region.requests.in_flight:  # noqa: ASYNC110 - the log has no event to wait for
        await asyncio.sleep(0.01)
    assert [record.message for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


async def test_a_status_can_be_sent_with_retry_after_in_seconds_or_as_a_date(client: Client, hands: Any) -> None:
    for fault in (
        Fault(kind="status", status=429, retry_after=7, times=1),
        Fault(kind="status", status=503, retry_after=90, retry_after_as_date=True, times=1),
        Fault(kind="status", status=500, times=1),
    ):
        client.region.faults.add(fault)
    answers = [await client.get() for _ in range(3)]
    assert [status for status, _, _ in answers] == [429, 503, 500]
    assert [headers.get("Retry-After") for _, headers, _ in answers] == [
        "7",
        formatdate(hands.time + 90, usegmt=True),
        None,
    ]


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        (Fault(kind="empty"), lambda _: b""),
        (Fault(kind="broken_json"), lambda right: right[: len(right) // 2] + b"<"),
        (Fault(kind="huge", mebibytes=1), lambda right: b" " * 2**20 + right),
        (Fault(kind="drip", seconds=0.1), lambda right: right),
        (Fault(kind="delay", seconds=0.1), lambda right: right),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
async def test_a_fault_changes_no_more_of_the_body_than_its_kind_says(client: Client, fault: Fault, sent: Any) -> None:
    right = (await client.get())[2]
    client.region.faults.add(fault)
    started = time.monotonic()
    status, _, body = await client.get()
    assert (status, body) == (200, sent(right))
    assert fault.kind not in ("drip", "delay") or time.monotonic() - started >= 0.08


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [
        ("disconnect", aiohttp.ServerDisconnectedError, None),
        ("truncated", aiohttp.ClientPayloadError, 200),
        ("hang", TimeoutError, None),
    ],
)
async def test_a_fault_of_the_connection_is_logged_and_leaves_no_request_in_flight(
    client: Client, kind: Kind, error: type[Exception], status: int | None
) -> None:
    client.region.faults.add(Fault(kind=kind))
    with pytest.raises(error):
        await asyncio.wait_for(client.get(), 0.2 if kind == "hang" else 60)
    log = client.region.requests
    while log.in_flight:  # noqa: ASYNC110 - the log has no event to wait for
        await asyncio.sleep(0.01)
    assert {record.status for record in log} == {status}


async def test_a_redirect_leads_to_the_given_location(client: Client) -> None:
    client.region.faults.add(Fault(kind="redirect", location="https://elsewhere.example.com/x"))
    status, headers, _ = await client.get()
    assert (status, headers["Location"]) == (302, "https://elsewhere.example.com/x")


def test_a_fault_strikes_in_its_time_and_is_forgotten_when_used_up(faults: Faults, hands: Any) -> None:
    start = hands.time
    faults.add(Fault(kind="hang", since=start + 10, until=start + 20, times=2))
    struck = []
    for offset in (0, 20, 10, 19, 15):
        hands.time = start + offset
        struck.append(faults.take("schedulers", "alice")[1] is not None)
    assert struck == [False, False, True, True, False]
    assert faults.orders == []


async def test_the_simulator_lists_what_it_serves_and_what_can_be_ordered(client: Client) -> None:
    async with client.session.get(f"{client.region.hpc_url}/simulator") as response:
        overview = await response.json()
    assert overview["name"] == "kunshan"
    assert set(overview["endpoints"].values()) <= set(get_args(RegionEndpoint))
    assert overview["endpoints"]["GET /hpc/openapi/v2/view/queue/jobs"] == "queue_jobs"
    assert set(overview["kinds"]) == set(get_args(Kind)) == set(KINDS)
    assert overview["fields"]["probability"] == 1.0
    for command in overview["commands"]:
        method, path = command.split()
        if method == "GET":
            async with client.session.get(client.region.hpc_url + path) as response:
                assert response.status == 200
    page = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text(encoding="utf-8")
    assert not [kind for kind, does in KINDS.items() if f"| `{kind}` | {does} |\n" not in page]
    assert not [command for command in COMMANDS if command.split()[1] not in page]


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("1m30s", 90), ("2", None), ("1.5h", 5400)])
def test_durations_of_faults(text: str, seconds: float | None) -> None:
    body = json.dumps({"kind": "delay", "seconds": text}).encode()
    if seconds is None:
        with pytest.raises(msgspec.ValidationError, match="is not a duration"):
            read_faults(body)
    else:
        assert read_faults(body) == [Fault(kind="delay", seconds=seconds)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "truncated"),
        (b'{"kind": "fire"}', "fire"),
        (b'{"kind": "hang", "endpoints": "x"}', "endpoints"),
        (b"[1]", "Expected `object`"),
        (b'{"kind": "delay", "seconds": "soon"}', "seconds: 'soon' is not a duration"),
        (b'{"kind": "delay", "seconds": ""}', "is not a duration"),
        (b'{"kind": "delay", "seconds": null}', "Expected `float`"),
    ],
)
async def test_a_mistake_in_a_fault_ordered_over_http_is_named(client: Client, body: bytes, message: str) -> None:
    async with client.session.post(f"{client.region.hpc_url}/simulator/faults", data=body) as response:
        assert response.status == 400
        assert message in (await response.json())["error"]
    assert client.region.faults.orders == []
