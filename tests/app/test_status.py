"""The status of the whole application."""

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from exporter.app import application
from exporter.app.joblist import JobSelection
from exporter.app.status import Health, Selection, health_by_source
from exporter.config import Config
from exporter.errors import ConfigurationError
from exporter.polling import Target, TargetKey, TargetStatus
from exporter.polling.health import SourceHealth
from tests.app.running import ready, running
from tests.e2e.process import eventually
from tests.e2e.region import Handler, cluster, configuration, envelope, job, queue, scripted_region
from tests.support.installations import nothing
from tests.web.test_status_api import SCHEMA, closed

ANSWERS: dict[str | tuple[str, str], bytes | Handler] = {
    "queue_jobs": envelope([queue("debug", R=2, Q=5), queue("idle")]),
    "member_jobs": envelope([job("1", cpuCore=32, dcuNumUsed=4), job("2", status="statQ"), job("3", status="statC")]),
}


async def test_queues_members_and_totals_of_a_region(tmp_path: Path) -> None:
    async with scripted_region(dict(ANSWERS)) as region, ready(tmp_path, configuration(cluster(region.url))) as made:
        status: dict[str, Any] = await made.status()
        jsonschema.validate(status, closed(json.loads(SCHEMA.read_text())))
        by_endpoint = {target["collector"]: target for target in status["targets"]}
        zeros = {"held": 0, "suspended": 0, "other": 0}
        assert by_endpoint["queue_jobs"]["queues"] == [
            {"queue": "debug", "running": 2, "queued": 5, **zeros},
            {"queue": "idle", "running": 0, "queued": 0, **zeros},
        ]
        member = {
            "jobs": {"running": 1, "queued": 1, "held": 0, "suspended": 0, "other": 1},
            "in_use": {"cpus": 32 + 2, "gpus": 0, "dcus": 4},
        }
        assert by_endpoint["member_jobs"]["member"] == member
        (source,) = status["sources"]
        assert source["queues"] == {"running": 2, "queued": 5, **zeros}
        assert source["members"] == member
        assert source["state"] == "up"


BUSY = {"interval": "100ms", "stale_after": "1s", "retries": 0}


async def test_single_jobs_are_shown_only_where_they_may_be(tmp_path: Path) -> None:
    """As long as the setting says so, and no longer than the region's data."""

    async def listed() -> list[tuple[Any, ...]]:
        page = await made.app.status_as(lambda status: status["job_page"], Selection(jobs=JobSelection()))
        return [(job["id"], job["state"], job["since_basis"]) for job in page.facts()["jobs"]]

    answers = dict(ANSWERS)
    async with scripted_region(answers) as region:
        off, on = (
            configuration(cluster(region.url), poll=BUSY, per_job={"enabled": enabled, "max_jobs": 0})
            for enabled in (False, True)
        )
        async with ready(tmp_path, off) as made:
            assert (await listed(), (await made.status())["jobs"]) == (
                [],
                {"enabled": False, "total": None, "missing": []},
            )
            await made.reload(on)
            every = [("2", "queued", "first_seen"), ("1", "running", "first_seen"), ("3", "completed", None)]
            await eventually(partial(is_so, listed, every), "the jobs are listed")
            await made.reload(off)
            assert await listed() == []
            await made.reload(on)
            await eventually(partial(is_so, listed, every), "the jobs are listed again")
            assert (await made.status())["jobs"]["missing"] == []
            answers["member_jobs"] = b"nonsense"
            await eventually(partial(is_so, listed, []), "stale jobs are gone")
            assert (await made.status())["jobs"] == {"enabled": True, "total": 0, "missing": ["kunshan"]}


async def is_so(ask: Callable[[], Awaitable[Any]], expected: Any) -> bool:
    return bool(await ask() == expected)


async def test_a_rejected_reload_is_told_until_one_works(tmp_path: Path) -> None:
    async with scripted_region() as region, running(tmp_path, configuration(cluster(region.url))) as made:
        succeeded = (await made.status())["config"]["last_successful_reload"]
        made.file.write_text("nonsense: 1")
        with pytest.raises(ConfigurationError) as caught:
            await made.app.reload()
        config = (await made.status())["config"]
        assert (config["last_reload_error"], config["last_successful_reload"]) == (str(caught.value), succeeded)
        assert succeeded is not None
        await made.reload(configuration(cluster(region.url)))
        assert (await made.status())["config"]["last_reload_error"] is None


async def test_a_region_that_is_gone_takes_its_numbers_along(tmp_path: Path) -> None:
    async with scripted_region(dict(ANSWERS)) as region, ready(tmp_path, configuration(cluster(region.url))) as made:
        await made.reload(configuration(cluster(region.url, name="hefei", cluster_id=2)))
        assert [source["name"] for source in (await made.status())["sources"]] == ["hefei"]
        assert made.app._display.figures.totals("kunshan") == (None, None, None)


@pytest.mark.real_time
async def test_many_status_requests_leave_threads_for_polls_and_scrapes(tmp_path: Path) -> None:
    """Answers of regions are read, and scrapes compressed, by the same threads."""
    async with running(tmp_path, configuration(cluster("http://127.0.0.1:9"))) as made:
        done = threading.Event()
        requests = [asyncio.create_task(made.app.status_as(lambda _: done.wait(200), Selection())) for _ in range(100)]
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(100):
                assert await asyncio.to_thread(lambda: "a scrape") == "a scrape"
        finally:
            done.set()
        assert all(await asyncio.gather(*requests))


@pytest.mark.real_time
async def test_a_status_that_is_no_longer_wanted_when_its_turn_comes_is_not_made(tmp_path: Path) -> None:
    async with running(tmp_path, configuration(cluster("http://127.0.0.1:9"))) as made:
        done, wanted, begun = threading.Event(), True, list[int]()

        def slowly(_status: dict[str, Any]) -> bool:
            begun.append(1)
            return done.wait(200)

        statuses = [asyncio.create_task(made.app.status_as(slowly, Selection(), lambda: wanted)) for _ in range(9)]
        await eventually(lambda: len(begun) == application.STATUS_THREADS, "as many threads as there are")
        wanted = False
        done.set()
        found = await asyncio.gather(*statuses, return_exceptions=True)
        assert [type(each) for each in found] == [bool] * 2 + [ConnectionAbortedError] * 7
        assert len(begun) == 2


async def test_the_effective_configuration_is_made_once_and_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With thousands of users it takes seconds."""
    threads: list[threading.Thread] = []

    def effective(_config: Config) -> str:
        threads.append(threading.current_thread())
        return f"made {len(threads)} times"

    monkeypatch.setattr(application, "effective_yaml", effective)
    async with running(tmp_path, configuration(cluster("http://127.0.0.1:9"))) as made:
        texts = await asyncio.gather(*(made.app.effective_config() for _ in range(100)))
        assert set(texts) == {"made 1 times"}
        assert threads[0] is not threading.main_thread()
        await made.reload(configuration(cluster("http://127.0.0.1:9", name="hefei", cluster_id=2)))
        assert await made.app.effective_config() == "made 2 times"


# Whether a target is optional, and its last poll: whether it worked, None before the first one, "absent" without the endpoint.
KINDS = [(optional, last) for optional in (False, True) for last in (True, False, None)] + [(True, "absent")]


@pytest.mark.parametrize("number", range(4))
def test_a_source_answers_where_its_metric_says_so(number: int) -> None:
    for targets in itertools.product(KINDS, repeat=number):
        health, statuses = SourceHealth(), []
        for place, (optional, last) in enumerate(targets):
            key = TargetKey("kunshan", "queue_jobs", str(place))
            statuses.append(TargetStatus(Target(key, 60.0, 180.0, nothing, nothing, optional=optional)))
            health.add(key, optional=optional)
            if last == "absent":
                statuses[-1].absent = True
                health.record(key, None)
            elif last is not None:
                statuses[-1].up = bool(last)
                health.record(key, bool(last))
        assert health_by_source(statuses).get("kunshan", Health()).answers is health.status.up, targets
