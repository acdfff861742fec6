"""The history of a region: which rows are requested, and what a row says."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from aiohttp import web

from exporter.records import EndedJob, JobState
from exporter.sources.scnet.job_history import MOST_INCOMPLETE, OVERLAP
from exporter.tracking import TrackingService
from tests.support.collecting import REGION, Answer, Polled, assembled, collecting, envelope
from tests.support.http import Network

ACCOUNT = """
accounts: [{{name: lab, user: alice, access_key: a, secret_key: s, token_url: {url}/api/tokens, url: {url}}}]
clusters:
  - name: kunshan
    cluster_id: 11112
    hpc_url: {url}
    account: lab
    users: [test]
    members: [{{group_id: 533686286955839488, users: [test]}}]
    collect: [member_jobs, job_history]
"""
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
SCHEDULERS = envelope([{"id": "77", "text": "slurm", "JobManagerType": "SLURM"}])


async def poll(*answers: Answer) -> Polled:
    async with collecting(REGION, "job_history") as history:
        return await history.poll(SCHEDULERS, *answers)


async def rows_of(answer: Any) -> Sequence[EndedJob]:
    polled = await poll(envelope(answer))
    assert (polled.error, polled.rejected) == ("", 0)
    rows: Sequence[EndedJob] = polled.records.rows
    return rows


async def test_a_row() -> None:
    (row,) = await rows_of({"total": "1", "list": [ROW]})
    job = row.job
    assert (row.user, row.scheduler, row.ended) == ("test", "77", QUEUED + 98)
    assert (job.id, job.state, job.queue) == ("63436", JobState.COMPLETED, "comp")
    assert (job.submitted, job.started) == (QUEUED, QUEUED + 7)
    assert (job.allocated_cpus, job.allocated_gpus, job.allocated_dcus) == (4, 0, 2)


async def test_no_rows() -> None:
    assert await rows_of(None) == ()


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        ({"jobState": "TIMEOUT"}, {"state": JobState.TIMEOUT}),
        ({"jobState": "WONDERFUL"}, {"state": JobState.UNKNOWN, "raw_state": "WONDERFUL", "started": QUEUED + 7}),
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
async def test_one_odd_field_costs_that_field(odd: dict[str, Any], expected: dict[str, Any]) -> None:
    polled = await poll(envelope({"total": 1, "list": [ROW | odd]}))
    (row,) = polled.records.rows
    assert {name: getattr(row.job, name) for name in expected} == expected


async def test_rows_without_an_id_an_end_or_a_user_are_counted() -> None:
    rows = [ROW, ROW | {"jobEndTime": "soon"}, ROW | {"jobId": None}, ROW | {"clusterUserName": None}, "not a row"]
    polled = await poll(envelope({"total": 5, "list": rows}))
    assert (len(polled.records.rows), polled.rejected) == (1, 4)
    polled = await poll(envelope({"total": 4, "list": rows[1:]}))
    assert polled.error == "decode: none of the answer's 4 rows can be read"


@pytest.mark.parametrize("status", [404, 405])
async def test_a_region_without_the_endpoint(status: int) -> None:
    assert (await poll(Answer(b"", status))).error.startswith(f"http: HTTP {status}: this region does not have")


async def test_a_row_that_was_missed_is_requested_once_more() -> None:
    """A new row shifts the others while they are read: one comes twice, and the new one is seen at the next poll."""
    rows = [ROW | {"jobId": str(number)} for number in range(7)]
    new = [ROW | {"jobId": "new"}, *rows]
    pages = [
        envelope({"total": 7, "list": rows[:4]}),
        envelope({"total": 8, "list": new[4:]}),
        envelope({"total": 8, "list": []}),
    ]
    async with collecting(REGION, "job_history") as history:
        first = await history.poll(SCHEDULERS, *pages)
        assert {row.job.id for row in first.records.rows} == {str(number) for number in range(7)}
        queries = [parse_qs(path.partition("?")[2]) for path in first.requests[1:]]
        assert first.records.until < moment(queries[0], "endTime") - 60
        again = await history.poll(envelope({"total": 8, "list": new}))
        assert "new" in {row.job.id for row in again.records.rows}
    assert [query["start"] for query in queries] == [["0"], ["4"], ["8"]]
    assert {query["strClusterNameList"][0] for query in queries} == {"77"}
    assert (queries[0]["timeType"], queries[0]["isQueryByQueueTime"]) == (["CUSTOM"], ["false"])


async def test_a_list_that_ignores_the_window_counts_no_ends_of_long_ago() -> None:
    """They would count again as soon as they are no longer remembered."""
    rows = [ROW | {"jobId": str(days), "jobEndTime": china(-86_400.0 * days)} for days in (0, 2, 30)]
    assert [row.job.id for row in await rows_of({"total": 3, "list": rows})] == ["0"]


async def test_a_region_that_always_promises_more_than_it_has_is_taken_at_what_it_gives() -> None:
    """Else each poll would request all of a day."""
    pages = (envelope({"total": 9, "list": [ROW]}), envelope({"total": 9, "list": []}))
    until, windows = [], set()
    async with collecting(REGION, "job_history") as history:
        history.follow(TrackingService())
        for number in range(MOST_INCOMPLETE):
            polled = await history.poll(*(() if number else (SCHEDULERS,)), *pages)
            until.append(polled.records.until)
            windows |= {moment(parse_qs(path.partition("?")[2]), "startTime") for path in polled.requests[-2:]}
    assert set(until[1:-1]) == {until[0]}
    assert until[-1] >= until[0] + OVERLAP
    assert len(windows) == 2, "no further back with every poll"


def moment(query: dict[str, list[str]], name: str) -> float:
    """Return the time that a query names."""
    return datetime.fromisoformat(query[name][0]).replace(tzinfo=ZoneInfo("Asia/Shanghai")).timestamp()


async def test_the_platform_s_list_where_the_region_has_none(network: Network) -> None:
    """In pages of its own size, of this region only; without group jobs where these are rejected."""
    rows = [ROW | {"jobId": str(number)} for number in range(5)]
    rows.append(ROW | {"jobId": "elsewhere", "clusterId": 20078})
    wanted: list[dict[str, Any]] = []
    group_jobs = True

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/tokens"):
            tokens = [{"clusterId": each, "clusterName": "x", "token": f"token-{each}"} for each in ("0", "11112")]
            return web.Response(body=envelope(tokens).body)
        if request.path.endswith("/cluster"):
            return web.Response(body=SCHEDULERS.body)
        if request.path.endswith("/historyjobs"):
            return web.Response(status=404)
        assert request.path == "/ac/openapi/v2/jobs/history/page-list"
        assert request.headers["token"] == "token-0"
        body = await request.json()
        wanted.append(body)
        if body["showGroupJobs"] and not group_jobs:
            return web.json_response({"code": "10009", "msg": "no permission"})
        start = (body["page"] - 1) * min(body["size"], 2)
        return web.Response(body=envelope({"total": len(rows), "records": rows[start : start + 2]}).body)

    components = assembled(ACCOUNT.format(url=await network.serve(answer)))
    target = next(each for each in components.regions["kunshan"].targets() if each.key.collector == "job_history")
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


def test_a_history_without_a_list_of_jobs_is_warned_of() -> None:
    config = REGION[: REGION.index("    collect:")] + "    collect: [job_history]\n"
    assert any("job_history counts nothing without one of" in warning for warning in assembled(config).warnings)
