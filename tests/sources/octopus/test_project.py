"""A configured project from its file to the lines of /metrics.

The whole exporter in this process, the project simulated.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
import trustme
from aiohttp import web

from exporter.redaction import redact
from exporter.simulator import Fault, OctopusQuirks
from tests.sources.stepped import INTERVAL, Stepped, stepped
from tests.support.octopus import AtWork

POOL = "{queue_type: PROCESSOR, cluster_type: MODELARTS, cluster_id: pool-1}"


def configuration(at_work: AtWork, queues: str, credential: str = "", url: str = "") -> str:
    spec = at_work.project.spec
    return (
        f"poll: {{interval: {INTERVAL:.0f}s, retries: 0}}\n"
        "octopus:\n"
        "  - name: driving\n"
        f"    base_url: {url or at_work.project.url}\n"
        f"    project_id: {spec.project_id}\n"
        f"    {credential or 'token: ' + at_work.project.token()}\n"
        f"    queues: [{queues}]\n"
    )


def iam(at_work: AtWork, credential: str = "password: simulator-password") -> str:
    spec = at_work.project.spec
    where = f"url: {at_work.project.url}, domain: {spec.domain}, user: {spec.user}, project: {spec.region}"
    return f"iam: {{{where}, {credential}}}"


@asynccontextmanager
async def running(at_work: AtWork, tmp_path: Path, text: str) -> AsyncIterator[Stepped]:
    """Yield the exporter after its first polls."""
    async with stepped(tmp_path, text, at_work.clock) as exporter:
        await exporter.polls()
        yield exporter


@pytest.fixture
def said() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as logs:
        yield logs


# Arrivals and departures


async def test_arrivals_departures_and_time_in_the_queue(at_work: AtWork, tmp_path: Path) -> None:
    at_work.hold((1, 5))
    async with running(at_work, tmp_path, configuration(at_work, "{queue_type: INTERNAL}")) as exporter:
        await exporter.polls()
        at_work.hold((3, 7))
        await exporter.polls()
        at_work.hold((7, 7))
        await exporter.polls()
        assert await exporter.value("octopus_queue_arrivals_total") == 2
        assert await exporter.value("octopus_queue_departures_total") == 6
        # Entry 6 came and went: half an interval, as nearly as can be known.
        assert await exporter.value("octopus_job_observed_queue_seconds_count") == 1
        assert await exporter.value("octopus_job_observed_queue_seconds_sum") == pytest.approx(INTERVAL / 2, rel=0.01)
        assert await exporter.value("octopus_queue_length") == 1


async def test_a_lost_page_and_a_moving_queue_let_nothing_depart(
    at_work: AtWork, tmp_path: Path, said: list[Any]
) -> None:
    at_work.hold((1, 450))
    async with running(at_work, tmp_path, configuration(at_work, "{queue_type: INTERNAL}")) as exporter:
        at_work.project.faults.add(Fault(kind="error", status=502, code="octopus.400102", offset=200, times=2))
        await exporter.polls(2)
        assert await exporter.value("octopus_queue_length") == 450
        assert await exporter.value("octopus_queue_listing_complete") == 0
        assert await exporter.lines("octopus_queued_") == []
        assert await exporter.value("octopus_up") == 1
        await exporter.polls()
        assert await exporter.value("octopus_queue_listing_complete") == 1
        assert await exporter.value("octopus_queue_departures_total") == 0
        assert await exporter.value("octopus_queue_arrivals_total") == 0
        assert (await exporter.value("octopus_queued_requested_cpu_cores")) == 450
    lost = [line for line in said if "read as a whole" in line["event"]]
    assert [(line["log_level"], line["event"]) for line in lost] == [
        ("warning", "a queue was not read as a whole"),
        ("info", "the queue is read as a whole again"),
    ]
    assert lost[0]["reason"].startswith("the page at offset 200 was lost: the service failed (HTTP 502")


async def test_many_pages_that_leave_are_counted_once_a_second_listing_agrees(at_work: AtWork, tmp_path: Path) -> None:
    at_work.hold((1, 450))
    async with running(at_work, tmp_path, configuration(at_work, "{queue_type: INTERNAL}")) as exporter:
        at_work.hold((31, 450))
        await exporter.polls()
        assert await exporter.value("octopus_queue_departures_total") == 0
        await exporter.polls()
        assert await exporter.value("octopus_queue_departures_total") == 30


async def test_what_left_during_a_time_without_data_is_counted_and_not_timed(at_work: AtWork, tmp_path: Path) -> None:
    text = configuration(at_work, "{queue_type: INTERNAL}").replace("retries: 0", "retries: 0, stale_after: 2m")
    async with running(at_work, tmp_path, text) as exporter:
        at_work.hold((1, 2))
        await exporter.polls()
        at_work.project.faults.add(Fault(kind="status", status=503, endpoint="queuing_jobs"))
        await exporter.polls(3)
        at_work.project.faults.clear()
        at_work.hold((2, 2))
        await exporter.polls()
        assert await exporter.value("octopus_queue_departures_total") == 1
        assert await exporter.value("octopus_job_observed_queue_seconds_count") == 0


async def test_before_the_queue_was_known_as_a_whole_nothing_is_counted(at_work: AtWork, tmp_path: Path) -> None:
    at_work.hold((1, 450))
    at_work.project.faults.add(Fault(kind="error", status=502, code="octopus.400102", offset=200))
    async with running(at_work, tmp_path, configuration(at_work, "{queue_type: INTERNAL}")) as exporter:
        assert await exporter.value("octopus_queue_length") == 450
        assert await exporter.lines("octopus_queue_arrivals_total") == []
        at_work.project.faults.clear()
        await exporter.polls()
        assert await exporter.value("octopus_queue_arrivals_total") == 0


async def test_counters_go_on_over_a_reload_that_changes_the_project(at_work: AtWork, tmp_path: Path) -> None:
    at_work.hold((1, 5))
    text = configuration(at_work, "{queue_type: INTERNAL}")
    async with running(at_work, tmp_path, text) as exporter:
        at_work.hold((1, 9))
        await exporter.polls()
        await exporter.reload(text.replace("queues: [", f"queues: [{POOL}, ").replace("60s", "30s"))
        at_work.hold((1, 10))
        await exporter.polls()
        assert await exporter.value("octopus_queue_arrivals_total", queue_type="INTERNAL") == 5
        assert await exporter.value("octopus_queue_arrivals_total", queue_type="PROCESSOR") == 0
        await exporter.reload(text.replace("127.0.0.1", "localhost"))
        await exporter.polls()
        assert await exporter.value("octopus_queue_arrivals_total") == 0, "it may be another project of this name"


# Labels


async def test_queues_of_one_type_are_targets_of_their_own(at_work: AtWork, tmp_path: Path) -> None:
    queues = f"{POOL}, {{queue_type: PROCESSOR}}, {{queue_type: PROCESSOR, cluster_id: a/b}}, {{queue_type: INTERNAL}}"
    at_work.project.faults.add(Fault(kind="delay", seconds=0.01))
    async with running(at_work, tmp_path, configuration(at_work, queues)) as exporter:
        assert [status.key.target for status in exporter.app.scheduler.statuses] == [
            "PROCESSOR/MODELARTS/pool-1",
            "PROCESSOR",
            "PROCESSOR//a%2Fb",
            "INTERNAL",
        ]
        assert all(status.key[:2] == ("driving", "queuing_jobs") for status in exporter.app.scheduler.statuses)
        assert len(await exporter.lines("octopus_queue_length")) == 4
        assert len(await exporter.lines("hpc_exporter_target_up")) == 4
    assert at_work.project.requests.max_in_flight == 1, "whatever the number of queues"


# Errors


async def test_a_400_names_the_place_of_the_queue(at_work: AtWork, tmp_path: Path) -> None:
    at_work.project.faults.add(Fault(kind="error", status=400, code="octopus.400000"))
    async with running(at_work, tmp_path, configuration(at_work, f"{{queue_type: INTERNAL}}, {POOL}")) as exporter:
        errors = [str(status.last_error) for status in exporter.app.scheduler.statuses]
    for error, column in zip(errors, (14, 38), strict=True):
        assert "a parameter is missing or wrong (HTTP 400, code octopus.400000" in error
        assert error.endswith(f"; the queue is at {exporter.file}:7:{column}")


# Clocks


async def test_a_clock_that_is_off_is_said_once_and_so_is_its_end(
    at_work: AtWork, tmp_path: Path, said: list[Any]
) -> None:
    at_work.project.writer.quirks = OctopusQuirks(clock_ahead=90.0)
    queues = f"{{queue_type: INTERNAL}}, {POOL}"
    async with running(at_work, tmp_path, configuration(at_work, queues)) as exporter:
        await exporter.polls(2)
        at_work.project.writer.quirks = OctopusQuirks(clock_ahead=-59.0, time_form="iso")
        await exporter.polls(2)
        at_work.project.writer.quirks = OctopusQuirks(time_form="absent")
        await exporter.polls()
    lines = [line for line in said if "clock" in line["event"]]
    assert [(line["log_level"], line["source"]) for line in lines] == [("warning", "driving"), ("info", "driving")]
    assert lines[0]["ours_ahead_by_seconds"] == -90


# Tokens


async def test_a_login_is_used_and_shown(at_work: AtWork, tmp_path: Path) -> None:
    async with running(at_work, tmp_path, configuration(at_work, "{queue_type: INTERNAL}", iam(at_work))) as exporter:
        await exporter.polls(3)
        assert await exporter.value("octopus_up") == 1
        assert await exporter.value("hpc_exporter_token_refreshes_total", source="driving") == 1
        expiry = await exporter.value("hpc_exporter_token_expiry_timestamp_seconds", source="driving", user="")
        assert expiry == pytest.approx(1_700_000_000 + 24 * 3600, abs=10)
        assert await exporter.value("hpc_exporter_api_requests_total", collector="token", code="201") == 1
        token = await exporter.app.components.projects["driving"].token.current()
        assert redact(f"X-Auth-Token: {token}") == "X-Auth-Token: <secret>"
        assert token not in await exporter.text()


async def test_a_password_that_changes_in_its_file_is_tried_at_once(at_work: AtWork, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("sesame")
    text = configuration(at_work, "{queue_type: INTERNAL}", iam(at_work, "password_file: password"))
    async with running(at_work, tmp_path, text) as exporter:
        await exporter.polls(2)
        assert await exporter.value("octopus_up") == 0
        assert "sesame" not in json.dumps(await exporter.status())
        secret.write_text("simulator-password")
        await two_looks(exporter)
        await exporter.idle()
        assert await exporter.value("octopus_up") == 1


async def test_a_pasted_token_that_is_rejected_is_read_again_from_its_file(at_work: AtWork, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("stale")
    text = configuration(at_work, "{queue_type: INTERNAL}", "token_file: token")
    async with running(at_work, tmp_path, text) as exporter:
        assert await exporter.value("hpc_exporter_poll_failures_total", reason="auth") == 1
        secret.write_text(at_work.project.token())
        await two_looks(exporter)
        await exporter.polls()
        assert await exporter.value("octopus_up") == 1


async def two_looks(exporter: Stepped) -> None:
    """Let the watch over the secret files, which reads in a thread, look twice: it may be reading the old content now."""
    for _ in range(2):
        await exporter.clock.advance(2.5)
        for _ in range(50):
            await asyncio.sleep(0.002)
        await exporter.clock.settle()


# Configuration


async def test_the_project_and_its_iam_are_trusted_as_configured(at_work: AtWork, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/v3/auth/tokens":
            return web.json_response({}, status=201, headers={"X-Subject-Token": "MII"})
        return web.json_response({"payload": {"list": [], "page_info": {"total": 0}}})

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    url = await at_work.network.serve(handler, context)
    text = configuration(at_work, "{queue_type: INTERNAL}", iam(at_work), url).replace(at_work.project.url, url)
    async with running(at_work, tmp_path, text) as exporter:
        assert "certificate" in str(exporter.app.scheduler.statuses[0].last_error)
    trusting = text.replace("    queues:", "    tls: {ca_file: ca.pem}\n    queues:")
    async with running(at_work, tmp_path, trusting) as exporter:
        assert await exporter.value("octopus_up") == 1


async def test_a_reload_during_a_read_of_many_pages_loses_nothing(at_work: AtWork, tmp_path: Path) -> None:
    """The read goes on with the client that it began with, although the project has another one by then."""
    at_work.hold((1, 850))
    arrived, may_go_on = asyncio.Event(), asyncio.Event()
    may_go_on.set()

    async def forward(request: web.Request) -> web.Response:
        if request.query["offset"] == "200":
            arrived.set()
            await may_go_on.wait()
        async with aiohttp.ClientSession() as session:
            headers = {"X-Auth-Token": request.headers["X-Auth-Token"]}
            async with session.get(at_work.project.url + request.raw_path, headers=headers) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

    text = configuration(at_work, "{queue_type: INTERNAL}", url=await at_work.network.serve(forward))
    async with running(at_work, tmp_path, text) as exporter:
        arrived.clear()
        may_go_on.clear()
        while not arrived.is_set():
            await at_work.clock.advance(1.0)
            await asyncio.sleep(0.002)
        (begun,) = exporter.attempts()
        before = exporter.app.components.projects["driving"]
        await exporter.reload(text.replace("retries: 0", "retries: 1"))
        assert exporter.app.components.projects["driving"] is not before
        # The old connections have every chance to be closed before the next page.
        await at_work.clock.settle()
        may_go_on.set()
        await exporter.idle()
        assert exporter.attempts() != [begun]
        assert await exporter.value("octopus_queue_length") == 850
        assert await exporter.value("octopus_queue_listing_complete") == 1
        assert await exporter.value("octopus_queued_requested_cpu_cores") == 850
