"""An answer that is byte for byte the one before is not rendered again, without a visible difference."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.app.running import Running, running
from tests.e2e.region import cluster, configuration, envelope, job, queue, scripted_region

QUEUE = 'hpc_queue_jobs{hpc_cluster="kunshan",user="test",queue="debug",state="running"}'
MEMBER = 'hpc_member_jobs{hpc_cluster="kunshan",group="chemistry",user="test",state="running"}'
STALE = 'hpc_exporter_target_stale{source="kunshan",collector="%s",target="%s"}'
REJECTED = 'hpc_exporter_records_rejected_total{source="kunshan",collector="%s"}'
QUEUES = envelope([queue("debug", R=3)])
JOBS = envelope([job("1"), job("2")])


@pytest.mark.parametrize(
    ("endpoint", "target", "answer", "series"),
    [("queue_jobs", "test", QUEUES, QUEUE), ("member_jobs", "chemistry/test", JOBS, MEMBER)],
)
async def test_data_that_got_too_old_meanwhile_comes_back_with_the_same_answer(
    tmp_path: Path, endpoint: str, target: str, answer: bytes, series: str
) -> None:
    """The region is slow to repeat itself: the data left while it was asked again."""
    slow, answered = asyncio.Event(), asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        if slow.is_set():
            await answered.wait()
        return web.Response(body=answer, content_type="application/json")

    poll = {"interval": "300ms", "stale_after": "700ms"}
    async with (
        scripted_region({endpoint: handler}) as region,
        running(tmp_path, configuration(cluster(region.url), poll=poll)) as exporter,
    ):
        shown = (await exporter.shows(lambda samples: series in samples, "the data"))[series]
        slow.set()
        await exporter.shows(lambda samples: series not in samples, "no data that is too old")
        answered.set()
        fresh = await exporter.shows(
            lambda samples: not samples[STALE % (endpoint, target)], "that the data is fresh again"
        )
        assert fresh[series] == shown


@pytest.mark.parametrize(
    ("endpoint", "flawed"),
    [("queue_jobs", envelope([queue("debug", R=3), "no row"])), ("member_jobs", envelope([job("1"), "no row"]))],
)
async def test_what_cannot_be_read_is_counted_at_every_poll(tmp_path: Path, endpoint: str, flawed: bytes) -> None:
    """The same flaw again is another record that was left out."""
    async with (
        scripted_region({endpoint: flawed}) as region,
        running(tmp_path, configuration(cluster(region.url), poll={"interval": "100ms"})) as exporter,
    ):
        await exporter.shows(lambda samples: samples.get(REJECTED % endpoint, 0) >= 3, "a count of every poll's flaws")


@pytest.mark.parametrize(
    ("endpoint", "answers", "series"),
    [
        ("queue_jobs", [QUEUES, envelope([queue("debug", R=4)])], QUEUE),
        ("member_jobs", [JOBS, envelope([job("1")])], MEMBER),
    ],
)
async def test_an_answer_that_changes_and_changes_back_is_shown_each_time(
    tmp_path: Path, endpoint: str, answers: list[bytes], series: str
) -> None:
    """An answer is compared with the one before it, not with any earlier one."""

    async def change(exporter: Running, answer: bytes, before: float | None) -> float:
        region.answers[endpoint] = answer
        return (await exporter.shows(lambda s: s.get(series) not in (None, before), "the new value"))[series]

    async with (
        scripted_region({endpoint: answers[0]}) as region,
        running(tmp_path, configuration(cluster(region.url), poll={"interval": "100ms"})) as exporter,
    ):
        first = await change(exporter, answers[0], None)
        second = await change(exporter, answers[1], first)
        assert await change(exporter, answers[0], second) == first
