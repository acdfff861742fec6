"""A region that misbehaves: what was known stays until it is too old, and nothing is ever invented."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from exporter.cli import simulate
from exporter.simulator import Fault, Region, Simulator
from tests.app.running import Running, running
from tests.e2e.process import DOMAIN, eventually
from tests.e2e.region import Answers, cluster, configuration, envelope, job, queue, scripted_region
from tests.support.clock import FakeClock

Polled = Callable[..., str]

UP = 'hpc_up{hpc_cluster="kunshan"}'
RUNNING = 'hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="running"}'
LAST_SUCCESS = (
    'hpc_exporter_target_last_success_timestamp_seconds{source="kunshan",collector="queue_jobs",target="test"}'
)
FAILURES = 'hpc_exporter_poll_failures_total{source="kunshan",collector="queue_jobs",reason="%s"}'
# Families that the tracker concludes from several polls, a little after them.
TRACKED = ("_total", "_bucket", "_sum", "_count", "_oldest_queued_timestamp_seconds")
ENDPOINTS = ("queue_jobs", "schedulers", "member_jobs")


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """One region, in which time stands still."""
    async with Simulator(clock=lambda: 0.0) as simulator:
        yield simulator


@pytest.fixture
def region(simulator: Simulator) -> Region:
    return simulator.regions["kunshan"]


@pytest.fixture
def polled(simulator: Simulator) -> Polled:
    """Return the simulator's own configuration with other settings of `poll`."""
    clusters = "\nclusters:" + simulate.configuration(simulator).partition("\nclusters:")[2]
    # Optional endpoints answer a 404 in another way: they are not there.
    clusters = re.sub(r"collect: .*", "collect: [schedulers, queue_jobs, member_jobs]", clusters)

    def configuration(interval: str = "200ms", stale_after: str = "1h", timeout: str = "2s") -> str:
        poll = f"{{interval: {interval}, stale_after: {stale_after}, timeout: {timeout}, retries: 0, max_body: 16MiB}}"
        return f"poll: {poll}{clusters}"

    return configuration


async def known(exporter: Running) -> dict[str, float]:
    """Return the region's last data: the gauges, without those about polls."""
    return domain(await exporter.samples())


def domain(samples: dict[str, float]) -> dict[str, float]:
    return {series: value for series, value in samples.items() if is_known(series)}


def is_known(series: str) -> bool:
    family = series.partition("{")[0]
    return bool(DOMAIN.match(family)) and family != "hpc_up" and not family.endswith(TRACKED)


async def all_fail(exporter: Running, rounds: int = 1) -> None:
    await eventually(
        lambda: all(status.failures >= rounds for status in exporter.app.scheduler.statuses),
        f"every target failed {rounds} times",
    )


async def all_work(exporter: Running) -> None:
    await eventually(lambda: all(status.up for status in exporter.app.scheduler.statuses), "every target works")


FAULTS = {
    "broken JSON": (Fault(kind="broken_json"), "decode"),
    "another shape": (Fault(kind="wrong_shape", data="unexpected"), "decode"),
    "an empty body": (Fault(kind="empty"), "decode"),
    "a huge body": (Fault(kind="huge", mebibytes=65), "decode"),
    "HTTP 500": (Fault(kind="status", status=500), "http"),
    "HTTP 404": (Fault(kind="status", status=404), "http"),
    "HTTP 429": (Fault(kind="status", status=429, retry_after=1), "throttled"),
    "HTTP 429 with a date": (Fault(kind="status", status=429, retry_after=1, retry_after_as_date=True), "throttled"),
    "a redirect": (Fault(kind="redirect"), "http"),
    "a rejected token": (Fault(kind="refused"), "auth"),
    "an internal error": (Fault(kind="code", code="10001"), "upstream"),
    "an error with data": (Fault(kind="code", code="10001", data=[]), "upstream"),
    "an unlisted error": (Fault(kind="code", code="99999"), "upstream"),
    "a frozen user": (Fault(kind="code", code="10007"), "rejected"),
    "no answer": (Fault(kind="hang"), "timeout"),
    "a lost connection": (Fault(kind="disconnect"), "connection"),
    "half an answer": (Fault(kind="truncated"), "connection"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_failed_poll_changes_nothing_of_what_is_known(
    tmp_path: Path, region: Region, polled: Polled, name: str
) -> None:
    """No zero, no gap; `hpc_up` and the reason tell; after it the targets work as if nothing had been."""
    fault, reason = FAULTS[name]
    # Megabytes for each target take their time on a busy machine.
    timeout = {"hang": "300ms", "huge": "20s"}.get(fault.kind, "2s")
    async with running(tmp_path, polled(timeout=timeout)) as exporter:
        await all_work(exporter)
        before = await known(exporter)
        assert before
        region.faults.add(fault)
        await all_fail(exporter)
        samples = await exporter.samples()
        assert await known(exporter) == before
        assert samples[UP] == 0
        assert samples[FAILURES % reason] >= 1
        region.faults.clear()
        await all_work(exporter)
        assert await known(exporter) == before
        assert (await exporter.samples())[UP] == 1


def stale_of(samples: Mapping[str, float]) -> set[float]:
    return {value for series, value in samples.items() if series.startswith("hpc_exporter_target_stale")}


@pytest.mark.parametrize("name", ["broken JSON", "HTTP 500", "a rejected token", "an internal error"])
async def test_data_leaves_when_its_last_success_is_too_old(
    tmp_path: Path, region: Region, polled: Polled, name: str
) -> None:
    async with running(tmp_path, polled(stale_after="500ms")) as exporter:
        await all_work(exporter)
        region.faults.add(FAULTS[name][0])
        await eventually(lambda: region.faults.orders, "the fault is on order")
        # On a busy machine data is stale before any poll fails.
        samples = await exporter.shows(lambda samples: stale_of(samples) == {1} and samples[UP] == 0, "all is stale")
        assert not any(map(is_known, samples))
        assert {target["state"] for target in (await exporter.status())["targets"]} == {"stale"}
        region.faults.clear()
        await all_work(exporter)
        assert await known(exporter)


@pytest.mark.parametrize("form", ["null", "data_null", "data_absent", "data_empty"])
async def test_no_jobs_is_a_zero_in_every_form(tmp_path: Path, region: Region, polled: Polled, form: Any) -> None:
    """Here, and only here, null is zero: the region said so with success."""
    async with running(tmp_path, polled()) as exporter:
        await all_work(exporter)
        before = {series for series in await known(exporter) if series.startswith("hpc_queue_jobs")}
        assert before
        region.faults.add(Fault(kind="null_form", endpoint="queue_jobs", null_form=form))
        samples = await exporter.shows(lambda samples: not any(samples[series] for series in before), "empty queues")
        assert {series for series in samples if series.startswith("hpc_queue_jobs")} == before
        assert samples[UP] == 1


async def test_one_endpoint_that_fails_spares_the_others(tmp_path: Path, region: Region, polled: Polled) -> None:
    async with running(tmp_path, polled(stale_after="500ms")) as exporter:
        await all_work(exporter)
        region.faults.add(Fault(kind="status", endpoint="queue_jobs"))
        samples = await exporter.shows(lambda samples: not has(samples, "hpc_queue_jobs"), "no queues")
        assert has(samples, "hpc_member_jobs")
        assert has(samples, "hpc_scheduler_info")
        assert samples[UP] == 1, "the region answers"
        targets = (
            samples['hpc_exporter_targets{source="kunshan"}'],
            samples['hpc_exporter_targets_up{source="kunshan"}'],
        )
        assert targets[0] > targets[1] > 0


def has(samples: dict[str, float], family: str) -> bool:
    return any(series.startswith(family + "{") for series in samples)


async def test_a_region_that_hangs_spares_the_others(tmp_path: Path) -> None:
    """The request slots are shared: one dead region must not hold them all."""

    async def hang(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    users = [f"user{number}" for number in range(40)]
    async with (
        scripted_region(dict.fromkeys(ENDPOINTS, hang)) as dead,
        scripted_region({"queue_jobs": envelope([queue("debug", R=2)])}) as alive,
    ):
        regions = [
            cluster(dead.url, name="dead", users=users, members=[]),
            cluster(alive.url, name="alive", members=[], collect=["queue_jobs"]),
        ]
        poll = {"interval": "300ms", "timeout": "1s", "retries": 0, "max_concurrency": 4}
        async with running(tmp_path, configuration(*regions, poll=poll)) as exporter:
            ok = 'hpc_up{hpc_cluster="alive"}'
            await exporter.shows(lambda samples: samples.get(ok) == 1, "the living region")
            await eventually(lambda: len(dead.requests) >= 10, "the dead region was tried again and again")
            asked = len(alive.requests)
            await eventually(lambda: len(alive.requests) >= asked + 5, "the living region is polled on")
            assert (await exporter.samples())[ok] == 1


async def test_a_region_that_is_not_there_at_the_start(tmp_path: Path) -> None:
    """It starts, is ready after the first tries, and says it once when it breaks and once when it recovers."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    poll = {"interval": "200ms", "timeout": "2s", "retries": 0}
    text = configuration(cluster(f"http://127.0.0.1:{port}"), poll=poll)
    with capture_logs() as lines:
        async with running(tmp_path, text) as exporter:
            assert not exporter.app.ready
            await exporter.ready()
            await all_fail(exporter, rounds=3)
            samples = await exporter.samples()
            assert {series: value for series, value in samples.items() if DOMAIN.match(series)} == {UP: 0}
            broken = [line for line in lines if line["log_level"] == "warning"]
            assert [(line["event"], line["source"]) for line in broken] == [("polling failed", "kunshan")]
            assert f"cannot connect to 127.0.0.1:{port}" in broken[0]["error"]
            assert not [line for line in lines if line["event"] == "polling recovered"]

            async with scripted_region({"queue_jobs": envelope([queue("debug", R=2)])}, port=port):
                await all_work(exporter)
                samples = await exporter.samples()
                assert samples[UP] == 1
                assert has(samples, "hpc_queue_jobs")
            recovered = [line for line in lines if line["event"] == "polling recovered"]
            assert [(line["log_level"], line["targets"]) for line in recovered] == [("info", 3)]


async def test_a_target_that_keeps_failing_is_asked_less_often_and_recovers(
    tmp_path: Path, region: Region, polled: Polled
) -> None:
    async with running(tmp_path, polled(interval="100ms")) as exporter:
        await all_work(exporter)
        region.faults.add(Fault(kind="status", status=500))
        await all_fail(exporter, rounds=5)
        pauses = [
            status.next_poll - status.last_attempt
            for status in exporter.app.scheduler.statuses
            if status.next_poll and status.last_attempt and status.failures >= 5
        ]
        assert all(pause >= 0.8 for pause in pauses)
        # A busy machine may delay some between the two moments.
        assert median(pauses) <= 1.01
        region.faults.clear()
        await all_work(exporter)
        region.requests.clear()
        await eventually(lambda: region.requests.counts["schedulers"] >= 5, "it is asked in its own rhythm again")
        assert all(status.failures == 0 for status in exporter.app.scheduler.statuses)


async def test_a_retry_after_is_kept(tmp_path: Path) -> None:
    """Asked to come back in 2 seconds, no target of the region asks sooner."""
    seen: list[float] = []

    async def throttle(_request: web.Request) -> web.Response:
        seen.append(asyncio.get_running_loop().time())
        if len(seen) == 1:
            return web.Response(status=429, headers={"Retry-After": "2"})
        return web.Response(body=envelope(None))

    async with scripted_region(dict.fromkeys(ENDPOINTS, throttle)) as region:
        # One request at a time: what was sent before the answer came could not know of it.
        poll = {"interval": "100ms", "timeout": "2s", "retries": 0, "max_concurrency": 1}
        async with running(tmp_path, configuration(cluster(region.url), poll=poll)) as exporter:
            await eventually(lambda: len(seen) >= 4, "it is asked again")
            assert seen[1] - seen[0] >= 1.95
            await all_work(exporter)


async def test_a_wall_clock_that_jumps_makes_nothing_old_or_young(tmp_path: Path) -> None:
    """Ages are measured on a clock that cannot be set; the time of day is only shown."""
    clock = FakeClock()
    async with scripted_region({"queue_jobs": envelope([queue("debug", R=2)])}) as region:
        poll = {"interval": "60s", "stale_after": "3m", "retries": 0}
        async with running(tmp_path, configuration(cluster(region.url), poll=poll), clock) as exporter:

            async def another_round(seconds: float) -> dict[str, float]:
                asked = len(region.requests)
                await clock.advance(seconds)
                await eventually(lambda: len(region.requests) >= asked + 3, "three requests")
                await eventually(
                    lambda: not any(status.in_flight for status in exporter.app.scheduler.statuses), "ended"
                )
                return await exporter.samples()

            first = await another_round(2)
            assert first[RUNNING] == 2
            for jump in (-86_400.0, 365 * 86_400.0, -3600.0):
                clock.jump(jump)
                assert await known(exporter) == domain(first)
                samples = await another_round(91)
                assert domain(samples) == domain(first)
                assert samples[LAST_SUCCESS] == pytest.approx(clock.now(), abs=91)

            region.answers = dict.fromkeys(ENDPOINTS, b"broken")
            clock.jump(-86_400)
            await another_round(91)
            assert RUNNING in await exporter.samples()
            await another_round(120)
            assert RUNNING not in await exporter.samples()


async def test_an_unknown_state_is_logged_once_for_each_spelling(tmp_path: Path) -> None:
    answers: Answers = {
        "queue_jobs": envelope([{"name": "debug", "values": [{"metricName": "X", "metricValue": 1}]}]),
        "member_jobs": envelope([job("1", status="statZZ"), job("2", status="statZZ"), job("3", status="LOST")]),
    }
    async with scripted_region(answers) as region:
        with capture_logs() as lines:
            text = configuration(cluster(region.url), poll={"interval": "100ms", "retries": 0})
            async with running(tmp_path, text) as exporter:
                polls = 'hpc_exporter_polls_total{source="kunshan",collector="member_jobs"}'
                await exporter.shows(lambda samples: samples.get(polls, 0) > 3, "some polls")
                await exporter.reload(configuration(cluster(region.url), poll={"interval": "110ms", "retries": 0}))
                await exporter.shows(lambda samples: samples.get(polls, 0) > 6, "some polls after the reload")
    states = [
        (line["source"], line["collector"], line["state"]) for line in lines if "an unknown state" in line["event"]
    ]
    assert sorted(states) == [
        ("kunshan", "member_jobs", "LOST"),
        ("kunshan", "member_jobs", "statZZ"),
        ("kunshan", "queue_jobs", "X"),
    ]
