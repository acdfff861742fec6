"""The history of a region: which rows are requested, and what a row says."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from exporter.app import assemble
from exporter.errors import DecodeError, NotThereError
from exporter.polling import Target
from exporter.records import EndedJob, JobState
from exporter.sources.scnet.job_history import MOST_INCOMPLETE, OVERLAP
from exporter.tracking import TrackingService
from tests.e2e.region import Answers, ScriptedRegion, cluster, configuration, envelope, scripted_region

QUEUED = float(int(time.time()) - 3600)


def china(seconds: float) -> str:
    """Return the moment `seconds` after the job was queued, as the region writes it."""
    return datetime.fromtimestamp(QUEUED + seconds, ZoneInfo("Asia/Shanghai")).strftime("%Y-%m-%d %H:%M:%S")


ROW = {
    "clusterId": 11112,
    "jobId": "63436",
    "jobName": "sleep",
    "jobmanagerId": 77,
    "clusterUserName": "test",
    "queue": "comp",
    "jobState": "statC",
    "jobExitStatus": 0,
    "jobQueueTime": china(0),
    "jobStartTime": china(7),
    "jobEndTime": china(98),
    "acctTime": "2026-05-26T09:11:30.000+0000",
    "procNumUsed": 4,
    "gpuNumUsed": 0,
    "dcuNumUsed": 2,
    "workDir": "/public/home/test/secret",
}
SCHEDULERS: Answers = {"schedulers": envelope([{"id": "77", "text": "slurm", "JobManagerType": "SLURM"}])}


@asynccontextmanager
async def history(folder: Path, answers: Answers) -> AsyncIterator[tuple[ScriptedRegion, Target]]:
    async with scripted_region(SCHEDULERS | answers) as region:
        path = folder / "exporter.yml"
        path.write_text(configuration(cluster(region.url, collect=["member_jobs", "job_history"])))
        components = assemble(path)
        targets = (target for source in components.sources.values() for target in source.targets())
        yield region, next(target for target in targets if target.key.collector == "job_history")
        await components.close()


async def rows_of(folder: Path, answer: Any) -> Sequence[EndedJob]:
    async with history(folder, {"job_history": envelope(answer)}) as (_, target):
        found = await target.poll()
        assert found.rejected == 0
        return tuple(found.rows)


@pytest.mark.parametrize("name", ["list", "records", "rows", "items"])
async def test_a_row_in_each_form_of_a_page(tmp_path: Path, name: str) -> None:
    (row,) = await rows_of(tmp_path, {"total": "1", name: [ROW]})
    job = row.job
    assert (row.user, row.scheduler, row.ended) == ("test", "77", QUEUED + 98)
    assert (job.id, job.state, job.queue) == ("63436", JobState.COMPLETED, "comp")
    assert (job.submitted, job.started) == (QUEUED, QUEUED + 7)
    assert (job.allocated_cpus, job.allocated_gpus, job.allocated_dcus) == (4, 0, 2)


@pytest.mark.parametrize("answer", [None, [], {"total": 0}, {"total": 0, "list": None}, {"total": 0, "list": []}])
async def test_no_rows(tmp_path: Path, answer: Any) -> None:
    assert await rows_of(tmp_path, answer) == ()


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"jobState": "TIMEOUT"}, {"state": JobState.TIMEOUT}),
        ({"jobState": "WONDERFUL"}, {"state": JobState.UNKNOWN, "raw_state": "WONDERFUL"}),
        ({"jobState": None}, {"state": JobState.UNKNOWN}),
        ({"jobId": 63436.0}, {"id": "63436"}),
        ({"jobStartTime": None}, {"started": None}),
        ({"jobStartTime": ""}, {"started": None}),
        ({"jobStartTime": "0000-00-00 00:00:00"}, {"started": None}),
        ({"jobQueueTime": "1970-01-01 08:00:00"}, {"submitted": None}),
        ({"jobEndTime": int(QUEUED + 98) * 1000}, {"ended": QUEUED + 98}),
        (
            {"jobEndTime": datetime.fromtimestamp(QUEUED + 98, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")},
            {"ended": QUEUED + 98},
        ),
        ({"procNumUsed": "N/A"}, {"allocated_cpus": None}),
        ({"procNumUsed": "4"}, {"allocated_cpus": 4}),
        ({"queue": None}, {"queue": ""}),
    ],
)
async def test_one_odd_field_costs_that_field(tmp_path: Path, odd: dict[str, Any], expected: dict[str, Any]) -> None:
    (row,) = await rows_of(tmp_path, {"total": 1, "list": [ROW | odd]})
    assert {name: getattr(row.job, name) for name in expected} == expected


async def test_rows_without_an_id_or_an_end_are_counted(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"jobEndTime": "soon"}, ROW | {"jobId": None}, "not a row"]
    async with history(tmp_path, {"job_history": envelope({"total": 4, "list": rows})}) as (_, target):
        found = await target.poll()
        assert (len(found.rows), found.rejected) == (1, 3)
    async with history(tmp_path, {"job_history": envelope({"total": 1, "list": rows[1:]})}) as (_, target):
        with pytest.raises(DecodeError, match="none of the answer's 3 rows"):
            await target.poll()


@pytest.mark.parametrize("status", [404, 405])
async def test_a_region_without_the_endpoint(tmp_path: Path, status: int) -> None:
    async def missing(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with history(tmp_path, {"job_history": missing}) as (_, target):
        with pytest.raises(NotThereError):
            await target.poll()


async def test_pages_that_are_shorter_than_asked_and_rows_that_move(tmp_path: Path) -> None:
    """A new row shifts the others while they are read: one comes twice, and one more page has the last."""
    rows = [ROW | {"jobId": str(number)} for number in range(7)]
    queries: list[dict[str, list[str]]] = []

    async def paged(request: web.Request) -> web.Response:
        queries.append(parse_qs(request.query_string))
        if len(queries) == 2:
            rows.insert(0, ROW | {"jobId": "new"})
        start = int(request.query["start"])
        return web.Response(body=envelope({"total": len(rows), "list": rows[start : start + 3]}))

    async with history(tmp_path, {"job_history": paged}) as (_, target):
        found = await target.poll()
        assert {row.job.id for row in found.rows} == {str(number) for number in range(7)}
        # The new row was missed: the time that it belongs to is requested once more.
        assert found.until < queries_end(queries[0])
        again = await target.poll()
        assert "new" in {row.job.id for row in again.rows}
    assert {query["strClusterNameList"][0] for query in queries} == {"77"}
    assert queries[0]["timeType"] == ["CUSTOM"]
    assert queries[0]["isQueryByQueueTime"] == ["false"]


async def test_a_list_that_ignores_the_window_counts_no_ends_of_long_ago(tmp_path: Path) -> None:
    """They would count again as soon as they are no longer remembered."""
    rows = [ROW | {"jobId": str(days), "jobEndTime": china(-86_400.0 * days)} for days in (0, 2, 30)]
    answers: Answers = {"job_history": envelope({"total": 3, "list": rows})}
    async with history(tmp_path, answers) as (_, target):
        found = await target.poll()
    assert ([row.job.id for row in found.rows], found.rejected) == (["0"], 0)


async def test_a_region_that_always_promises_more_than_it_has_is_taken_at_what_it_gives(tmp_path: Path) -> None:
    """Else each poll would request all of a day."""
    async with history(tmp_path, {"job_history": envelope({"total": 9, "list": [ROW]})}) as (region, target):
        polling: Any = target.poll
        polling.__self__._context.tracked.service = TrackingService()
        until = []
        for _ in range(MOST_INCOMPLETE):
            found = await target.poll()
            await target.publish(found)
            until.append(found.until)
        windows = [since_of(path) for path in region.paths if "historyjobs" in path]
    assert set(until[1:-1]) == {until[0]}
    assert until[-1] >= until[0] + OVERLAP
    assert len(set(windows)) == 2, "no further back with every poll"


def since_of(path: str) -> float:
    text = parse_qs(path.partition("?")[2])["startTime"][0]
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()


async def test_the_platform_s_list_where_the_region_has_none(tmp_path: Path) -> None:
    """In pages of its own size, of this region only; without group jobs where these are rejected."""
    rows = [ROW | {"jobId": str(number)} for number in range(5)]
    rows.append(ROW | {"jobId": "elsewhere", "clusterId": 20078})
    wanted: list[dict[str, Any]] = []
    group_jobs = True

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/tokens"):
            tokens = [{"clusterId": each, "clusterName": "x", "token": f"token-{each}"} for each in ("0", "11112")]
            return web.Response(body=envelope(tokens))
        if request.path.endswith("/cluster"):
            return web.Response(body=SCHEDULERS["schedulers"])
        if request.path.endswith("/historyjobs"):
            return web.Response(status=404)
        assert request.path == "/ac/openapi/v2/jobs/history/page-list"
        assert request.headers["token"] == "token-0"
        body = await request.json()
        wanted.append(body)
        if body["showGroupJobs"] and not group_jobs:
            return web.Response(body=envelope(None, code="10009", msg="no permission"))
        start = (body["page"] - 1) * min(body["size"], 2)
        return web.Response(body=envelope({"total": len(rows), "records": rows[start : start + 2]}))

    server = TestServer(web.Application())
    server.app.router.add_route("*", "/{path:.*}", answer)
    await server.start_server(shutdown_timeout=0.1)
    url = str(server.make_url("/")).rstrip("/")
    path = tmp_path / "exporter.yml"
    account = {"name": "lab", "user": "alice", "access_key": "a", "secret_key": "s", "token_url": f"{url}/api/tokens"}
    section = cluster(url, token=None, account="lab", collect=["member_jobs", "job_history"])
    path.write_text(configuration(section, accounts=[account | {"url": url}]))
    components = assemble(path)
    targets = (target for source in components.sources.values() for target in source.targets())
    target = next(target for target in targets if target.key.collector == "job_history")
    try:
        found = await target.poll()
        assert {row.job.id for row in found.rows} == {str(number) for number in range(5)}
        assert {row.scheduler for row in found.rows} == {"77"}
        assert [body["size"] for body in wanted] == [100, 2, 2]
        group_jobs = False
        assert len((await target.poll()).rows) == 5
        assert [body["showGroupJobs"] for body in wanted[3:]] == [True, False, False, False]
    finally:
        await components.close()
        await server.close()


def test_a_history_without_a_list_of_jobs_is_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "exporter.yml"
    path.write_text(configuration(cluster("http://127.0.0.1:9", collect=["job_history"])))
    assert any("job_history counts nothing without one of" in warning for warning in assemble(path).warnings)


def queries_end(query: dict[str, list[str]]) -> float:
    """Return the time until which ends are requested, less what the region's clock may be ahead."""
    text = query["endTime"][0]
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp() - 60
