"""The lists of single jobs, live and ended, against the truth of the batch system."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import pytest

from exporter.simulator import Fault, Simulator, State
from exporter.simulator.tokens import PLATFORM_CLUSTER_ID

CHINA = timezone(timedelta(hours=8))
HOUR = 3600.0
LIVE, ENDED = "/ac/openapi/v2/jobs/monitor/page-list", "/ac/openapi/v2/jobs/history/page-list"
# The record that was captured from the platform.
LIVE_EXAMPLE = {
    "clusterId": 20078, "clusterName": "华中三区", "jobId": "63436", "jobName": "sleep_0526_170904", "jobManagerId": "1615443225",
    "jobManagerName": "whcs", "jobManagerType": "SLURM", "clusterUserName": "ac1npa3sf2", "queue": "whhcnormal",
    "jobQueueTime": "2026-05-26 17:09:07", "jobStartTime": "2026-05-26 17:09:14", "jobState": "statR", "priority": "1256",
    "jobRunTime": "00:01:31", "nodeUsed": "b08r1n14", "reason": "None", "requeue": "0", "wallTimeReq": "1-00:00:00",
    "nodeNumUsed": 1, "procNumUsed": 1, "dcuNumUsed": 0, "gpuNumUsed": 0, "jobQueueTimeUsed": 7,
}  # fmt: skip


class Lists:
    """The lists, as a region's administrator and the platform's login see them."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.region, self.platform = simulator.regions["kunshan"], simulator.platform
        self._session = session
        self._token = self.region.token("test")
        self._platform = self.region._office.issue(compute_user="", user="lab", cluster_id=PLATFORM_CLUSTER_ID)

    async def page(self, path: str, token: str = "", **wanted: Any) -> Any:
        headers = {"token": token or self._platform}
        async with self._session.post(self.platform.url + path, json=wanted, headers=headers) as response:
            return await response.json()

    async def pages(self, path: str, **wanted: Any) -> list[Any]:
        rows: list[Any] = []
        total = 1
        while len(rows) < total:
            data = (await self.page(path, page=len(rows) // 100 + 1, size=100, **wanted))["data"]
            rows, total = rows + data["records"], data["total"]
        return rows

    async def get(self, path: str, token: str = "", **query: Any) -> Any:
        url = f"{self.region.hpc_url}/hpc/openapi/v2/{path}"
        async with self._session.get(url, params=query, headers={"token": token or self._token}) as response:
            return await response.json()


@pytest.fixture
def lists(simulator: Simulator, session: aiohttp.ClientSession) -> Lists:
    return Lists(simulator, session)


def moment(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA).timestamp()


def china(at: float) -> str:
    return datetime.fromtimestamp(at, CHINA).strftime("%Y-%m-%d %H:%M:%S")


async def test_live_jobs_of_the_group_come_in_pages_with_their_true_times(lists: Lists) -> None:
    rows = await lists.pages(LIVE, showGroupJobs=True)
    batch = lists.region.batch
    jobs = {str(job.id): job for user in batch.spec.users for job in batch.jobs(user.name)}
    assert {row["jobId"] for row in rows} == set(jobs)
    assert len({row["clusterUserName"] for row in rows}) > 3
    for row in rows:
        job = jobs[row["jobId"]]
        assert row.keys() == LIVE_EXAMPLE.keys()
        assert (row["clusterId"], row["queue"], row["clusterUserName"]) == (11112, job.queue, job.user)
        assert moment(row["jobQueueTime"]) == int(job.queued)
        if job.state is State.RUNNING:
            assert moment(row["jobStartTime"]) == int(job.runs[-1].started)
        if job.state is State.QUEUED:
            assert row["reason"] in ("Priority", "Resources")
            assert moment(row["jobStartTime"]) > lists.region.batch.now
    assert {"Priority", "Resources", "None"} <= {row["reason"] for row in rows}


async def test_without_the_group_or_where_that_is_ignored_only_the_logins_own_jobs_are_listed(lists: Lists) -> None:
    assert {row["clusterUserName"] for row in await lists.pages(LIVE)} == {"test"}
    lists.platform.set_quirks(show_group_jobs="ignored")
    assert {row["clusterUserName"] for row in await lists.pages(LIVE, showGroupJobs=True)} == {"test"}
    lists.platform.set_quirks(show_group_jobs="refused")
    assert (await lists.page(LIVE, showGroupJobs=True))["code"] == "10009"
    assert (await lists.page(LIVE, token=lists.region.token("test")))["code"] == "911406"


async def test_everything_of_a_job_is_shown_on_request(lists: Lists) -> None:
    for row in await lists.pages(LIVE, showAllData=True):
        job = next(job for job in lists.region.batch.jobs("test") if str(job.id) == row["jobId"])
        assert (row["procNumReq"], row["cpuCore"]) == (job.requested.cores, job.allocated.cores)
        assert "vncSessionInfo" in row


async def test_pages_are_as_short_as_the_platform_likes(lists: Lists) -> None:
    lists.platform.set_quirks(largest_page=7, rows_under="items")
    data = (await lists.page(LIVE, size=100, showGroupJobs=True))["data"]
    assert (len(data["items"]), data["pages"]) == (7, -(-data["total"] // 7))


async def test_every_end_has_one_row_a_while_after_it(lists: Lists, hands: Any) -> None:
    began = lists.region.batch.now
    hands.time += 6 * 60  # six hours
    rows = await lists.pages(ENDED, showGroupJobs=True, startTime=china(began), endTime=china(began + 24 * HOUR))
    until = lists.region.batch.now - 45
    wanted = Counter(
        (str(job.id), int(ended))
        for job in lists.region.batch.truth()
        for ended in {at for at in (job.ended, *(run.ended for run in job.runs)) if at is not None}
        # An exiting job leaves its nodes when it ends: these two are one moment.
        if began <= ended <= until
    )
    assert Counter((row["jobId"], int(moment(row["jobEndTime"]))) for row in rows) == wanted
    assert len(wanted) > 100
    assert {"statC", "TIMEOUT", "statRQ", "statDE"} <= {row["jobState"] for row in rows}
    for row in rows:
        if row["jobStartTime"]:
            assert int(row["cpuNuclearSec"]) <= row["procNumUsed"] * (
                moment(row["jobEndTime"]) - moment(row["jobStartTime"]) + 1
            )


async def test_the_regions_history_is_that_of_the_platform(lists: Lists) -> None:
    query: dict[str, Any] = {
        "strClusterNameList": "1638523853",
        "timeType": "CUSTOM",
        "isQueryByQueueTime": "false",
        "limit": 100,
    }
    window: dict[str, Any] = {
        "startTime": china(lists.region.batch.now - HOUR),
        "endTime": china(lists.region.batch.now),
    }
    answer = await lists.get("historyjobs", **query, **window)
    rows = await lists.pages(ENDED, showGroupJobs=True, **window)
    assert answer["data"]["list"] == rows[:100]
    assert answer["data"]["total"] == len(rows)
    own = await lists.get("historyjobs", token=lists.region.token("alice"), **query)
    assert {row["clusterUserName"] for row in own["data"]["list"]} == {"alice"}
    assert (await lists.get("historyjobs"))["code"] == "10003"


async def test_own_jobs_are_those_of_the_tokens_user(lists: Lists) -> None:
    answer = await lists.get(
        "jobs", token=lists.region.token("alice"), strClusterIDList="1638523853", start=0, limit=200
    )
    jobs = {str(job.id): job for job in lists.region.batch.jobs("alice")}
    rows = answer["data"]["list"]
    assert (answer["data"]["total"], {row["jobId"] for row in rows}) == (len(jobs), set(jobs))
    assert {row["queue"] for row in rows} == {job.queue for job in jobs.values()}
    assert (await lists.get("jobs", strJobOwner="alice"))["code"] == "10008"
    assert (await lists.get("jobs", strClusterIDList="7"))["data"]["list"] == []


@pytest.mark.parametrize(
    ("endpoint", "ask"),
    [
        ("live_jobs", lambda lists: lists.page(LIVE)),
        ("platform_history", lambda lists: lists.page(ENDED)),
        ("own_jobs", lambda lists: lists.get("jobs")),
        ("job_history", lambda lists: lists.get("historyjobs", strClusterIDList="1638523853")),
    ],
)
async def test_each_list_has_faults(lists: Lists, endpoint: Any, ask: Callable[[Lists], Any]) -> None:
    for api in (lists.region, lists.platform):
        api.faults.add(Fault(kind="error", endpoint=endpoint, code="10013", times=1))
    assert [(await ask(lists))["code"] for _ in range(2)] == ["10013", "0"]
