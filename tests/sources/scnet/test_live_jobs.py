"""The platform's list of live jobs: its pages and forms, what each region shows of it, and what is missing."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from exporter.app import Components, components
from exporter.errors import PollError
from exporter.metrics.format import Format
from exporter.polling import Target
from exporter.sources.decoding import read_row
from exporter.sources.scnet import live_jobs
from exporter.sources.scnet.live_jobs import CHECKED, LiveJob, live_job, outcome_of
from exporter.sources.scnet.pages import MAX_PAGES
from tests.support.collecting import assembled
from tests.support.http import Network

SECRET = "vnc-password-of-a-session"
TIME, AT = "2026-05-26 17:09:14", 1779786554
# The record that was captured.
CAPTURED: dict[str, Any] = {
    "clusterId": 11112, "clusterName": "昆山", "jobId": "63436", "jobName": "sleep", "jobManagerId": "1615443225",
    "jobManagerName": "whcs", "jobManagerType": "SLURM", "clusterUserName": "alice", "queue": "normal",
    "jobQueueTime": "2026-05-26 17:09:07", "jobStartTime": TIME, "jobState": "statR", "priority": "1256",
    "jobRunTime": "00:01:31", "nodeUsed": "b08r1n14", "reason": "None", "requeue": "0", "wallTimeReq": "1-00:00:00",
    "nodeNumUsed": 1, "procNumUsed": 1, "dcuNumUsed": 0, "gpuNumUsed": 0, "jobQueueTimeUsed": 7,
}  # fmt: skip


def row(job_id: Any = 1, **fields: Any) -> dict[str, Any]:
    return CAPTURED | {"jobId": job_id, "workDir": "/secret", "vncSessionInfo": SECRET} | fields


class PlatformPages:
    """A platform whose list of live jobs is `rows`, in pages of at most `largest`."""

    def __init__(self, rows: list[Any], largest: int = 100) -> None:
        self.rows = rows
        self.largest = largest
        self.requests: list[dict[str, Any]] = []
        self.further: dict[str, Any] = {}
        self.answer: Callable[[dict[str, Any]], Any] = self.page
        self.logins = 0
        # The answers of members' own lists, by user.
        self.lists: dict[str, tuple[int, Any]] = {}
        self.asked: list[str] = []

    def page(self, wanted: dict[str, Any]) -> Any:
        size = min(wanted["size"], self.largest)
        start = (wanted["page"] - 1) * size
        total = {"total": len(self.rows), "pages": 1}
        return {"code": "0", "data": total | {"records": self.rows[start : start + size]} | self.further}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/tokens"):
            self.logins += 1
            rows = [{"clusterId": id_, "clusterName": "x", "token": f"token-{id_}"} for id_ in ("0", "11112", "11136")]
            return web.json_response({"code": "0", "data": rows})
        if request.method == "GET":
            user = request.path.split("/")[-2]
            self.asked.append(user)
            status, answer = self.lists.get(user, (404, {}))
            return web.json_response(answer, status=status)
        assert (request.method, request.path) == ("POST", "/ac/openapi/v2/jobs/monitor/page-list")
        assert request.headers["token"] == "token-0"
        wanted = await request.json()
        self.requests.append(wanted)
        answer = self.answer(wanted)
        return answer if isinstance(answer, web.StreamResponse) else web.Response(text=json.dumps(answer))


CONFIG = """
accounts: [{{name: lab, user: alice, access_key: a, secret_key: s, token_url: {url}/api/user/v3/tokens}}]
clusters:
  - {{name: kunshan, cluster_id: 11112, hpc_url: {url}, account: lab, collect: [live_jobs], members: [{members}]}}
  - {{name: xian, cluster_id: 11136, hpc_url: {url}, account: lab, collect: [live_jobs]}}
per_job: {{enabled: true}}
"""
MEMBERS = "{group_id: 533686286955839488, group: chemistry, users: [alice, bob]}"


class Regions:
    """Both regions, polled as often as a test likes."""

    def __init__(self, assembly: Components) -> None:
        self._assembly = assembly
        self.targets: dict[str, Target] = {
            name: target for name, region in assembly.regions.items() for target in region.targets()
        }

    @property
    def warnings(self) -> list[str]:
        return self._assembly.warnings

    async def poll(self, *names: str) -> dict[str, Any]:
        """Poll regions at the same moment; what each poll found, or its error."""

        async def poll(name: str) -> Any:
            target = self.targets[name]
            try:
                found = await target.poll()
            except PollError as error:
                return f"{error.reason}: {error}"
            await target.publish(found)
            return found

        wanted = names or tuple(self.targets)
        return dict(zip(wanted, await asyncio.gather(*map(poll, wanted)), strict=True))

    async def samples(self, *families: str) -> dict[str, float]:
        text = (await self._assembly.context.display.exposition.body(Format.TEXT, compress=False)).decode()
        return {
            " ".join([name.removeprefix("hpc_"), *labels.values()]): value
            for family in text_string_to_metric_families(text)
            if family.name.removeprefix("hpc_") in families
            for name, labels, value, *_ in family.samples
            if value
        }


@asynccontextmanager
async def regions(network: Network, platform: PlatformPages, members: str = "") -> AsyncIterator[Regions]:
    assembly = assembled(CONFIG.format(url=await network.serve(platform.serve), members=members))
    try:
        yield Regions(assembly)
    finally:
        await assembly.close()


async def test_one_call_is_made_for_all_regions_of_the_account(network: Network) -> None:
    """With the platform's token, for all members, from long ago; each region shows its own jobs."""
    waiting = row(2, jobState="statQ", reason="Priority", clusterUserName="bob", procNumUsed=8)
    platform = PlatformPages([row(1), waiting, row(3, clusterId=11136, queue="gpu"), row(4, clusterId=99)])
    async with regions(network, platform, MEMBERS) as both:
        await both.poll()
        assert await both.samples("jobs", "pending_jobs", "member_jobs") == {
            "jobs kunshan chemistry normal running": 1,
            "jobs kunshan chemistry normal queued": 1,
            "jobs xian  gpu running": 1,
            "pending_jobs kunshan chemistry bob priority": 1,
            "member_jobs kunshan chemistry alice running": 1,
            "member_jobs kunshan chemistry bob queued": 1,
            "member_jobs xian  alice running": 1,
        }
        assert await both.samples("job_submit_timestamp_seconds", "job_start_timestamp_seconds") == {
            "job_submit_timestamp_seconds kunshan alice 1": AT - 7,
            "job_submit_timestamp_seconds kunshan bob 2": AT - 7,
            "job_submit_timestamp_seconds xian alice 3": AT - 7,
            "job_start_timestamp_seconds kunshan alice 1": AT,
            "job_start_timestamp_seconds xian alice 3": AT,
        }
    (wanted,) = platform.requests
    assert wanted["showGroupJobs"] is True
    assert (wanted["page"], wanted["size"], wanted["startTime"][:4]) == (1, 100, "2000")
    assert platform.logins == 1


async def test_rows_that_move_while_pages_are_read_are_not_lost_and_count_once(network: Network) -> None:
    """One that is on the first page ends after that was read: the first row of the second page moves to the first."""
    platform = PlatformPages([row(number) for number in range(150)])

    def answer(wanted: dict[str, Any]) -> Any:
        page = platform.page(wanted)
        if len(platform.requests) == 1:
            del platform.rows[0]
        return page

    platform.answer = answer
    async with regions(network, platform) as both:
        found = (await both.poll("kunshan"))["kunshan"]
    (listing,) = found.listings.values()
    assert {job.id for job in listing.jobs} == {str(number) for number in range(1, 150)}
    assert listing.complete


async def test_rows_that_the_total_promises_and_no_page_has_make_every_list_incomplete(network: Network) -> None:
    platform = PlatformPages([row(1), row(2)])
    platform.further = {"total": 5}
    async with regions(network, platform, MEMBERS) as both:
        found = (await both.poll("kunshan"))["kunshan"]
    assert found.rejected > 0
    assert [(len(listing.jobs), listing.complete) for listing in found.listings.values()] == [(2, False), (0, False)]


async def test_a_platform_that_repeats_a_page_is_left(network: Network) -> None:
    platform = PlatformPages([])
    platform.answer = lambda _: {"code": "0", "data": {"total": 1000, "records": [row(n) for n in range(100)]}}
    async with regions(network, platform) as both:
        found = (await both.poll("kunshan"))["kunshan"]
    assert found.rejected == 900
    assert len(platform.requests) == 4 < MAX_PAGES


@pytest.mark.parametrize(
    ("odd", "rejected"),
    [
        (row(2, clusterId=None), {"kunshan": 1, "xian": 1}),
        (row(None), {"kunshan": 1, "xian": 0}),
        (row(2, clusterUserName=""), {"kunshan": 1, "xian": 0}),
        (row(2, clusterUserName=None, clusterId="11136"), {"kunshan": 0, "xian": 1}),
        (7, {"kunshan": 1, "xian": 1}),
        (None, {"kunshan": 1, "xian": 1}),
    ],
)
async def test_a_row_that_cannot_be_read_makes_its_region_incomplete(
    network: Network, odd: Any, rejected: dict[str, int]
) -> None:
    async with regions(network, PlatformPages([row(1), odd]), MEMBERS) as both:
        found = await both.poll()
    assert {name: listed.rejected for name, listed in found.items()} == rejected
    assert len(next(iter(found["kunshan"].listings.values())).jobs) == 1


@pytest.mark.parametrize("data", [None, {"total": 0, "records": []}])
async def test_no_jobs_are_no_jobs_of_configured_members(network: Network, data: Any) -> None:
    platform = PlatformPages([])
    platform.answer = lambda _: {"code": "0", "data": data}
    async with regions(network, platform, MEMBERS) as both:
        found = await both.poll()
    assert [listing.jobs for listing in found["kunshan"].listings.values()] == [(), ()]
    assert all(listing.complete for listing in found["kunshan"].listings.values())
    assert dict(found["xian"].listings) == {}


async def test_all_members_are_none_until_the_platform_told_them(network: Network, tmp_path: Path) -> None:
    """Their groups are not known before, and a job that changes its group would begin anew."""
    platform = PlatformPages([row(1)])
    text = CONFIG.format(url=await network.serve(platform.serve), members="").replace("members: []", "members: all")
    file = tmp_path / "exporter.yml"
    file.write_text(text)
    assembly = components.assembled(*components.load_with_tls(file))
    found = await Regions(assembly).poll("kunshan")
    await assembly.close()
    assert dict(found["kunshan"].listings) == {}


async def test_a_user_whose_jobs_are_gone_is_still_there(network: Network) -> None:
    platform = PlatformPages([row(1, clusterId=11136)])
    async with regions(network, platform) as both:
        both.targets = {"xian": both.targets["xian"]}
        await both.poll()
        platform.rows.clear()
        while len(platform.requests) < 2:  # until the answer is no longer shared
            await asyncio.sleep(0.05)
            found = await both.poll()
    assert [(followed.member.user, listing.jobs) for followed, listing in found["xian"].listings.items()] == [
        ("alice", ())
    ]


REFUSALS = {
    "not allowed": ({"code": "10009", "msg": "x"}, 200),
    "no permission": ({"code": "10008", "msg": "x"}, 200),
    "parameter": ({"code": "10004", "msg": "x"}, 200),
    "forbidden": ("<html>", 403),
}


@pytest.mark.parametrize(("answer", "status"), REFUSALS.values(), ids=REFUSALS)
async def test_where_the_jobs_of_the_group_are_refused_the_owners_remain_and_it_is_said(
    network: Network, answer: Any, status: int
) -> None:
    platform = PlatformPages([row(1)])

    def refusing(wanted: dict[str, Any]) -> Any:
        if not wanted["showGroupJobs"]:
            return platform.page(wanted)
        return web.Response(text=json.dumps(answer) if isinstance(answer, dict) else answer, status=status)

    platform.answer = refusing
    async with regions(network, platform, MEMBERS) as both:
        with capture_logs() as lines:
            found = await both.poll()
            await both.poll()
        assert sum("does not list the jobs" in line["event"] for line in lines) == 2, "once for each region"
        # Nothing is known of bob: that is not that he has no jobs.
        assert [followed.member.user for followed in found["kunshan"].listings] == ["alice"]
        assert await both.samples("member_jobs") == {"member_jobs kunshan chemistry alice running": 1}
        assert all("does not list the jobs of the groups of account lab" in text for text in both.warnings)
        assert len(both.warnings) == 2
    # Not again with every poll.
    assert Counter(wanted["showGroupJobs"] for wanted in platform.requests)[False] == 1


def members_list(*states: str) -> tuple[int, Any]:
    return 200, {"code": "0", "data": [{"id": str(number), "status": state} for number, state in enumerate(states, 7)]}


@pytest.mark.parametrize(
    ("rows", "bob", "said"),
    [
        ([row(1)], members_list("statC", "statQ"), "a member's own list has jobs that this one leaves out"),
        ([], members_list("statR"), "a member's own list has jobs that this one leaves out"),
        ([row(1)], (200, {"code": "10008", "msg": "x"}), "the list of a member was refused"),
        ([row(1)], (403, "<html>"), "the list of a member was refused"),
        # Nothing says that jobs of bob are missing: then he has none.
        ([row(1)], members_list("statC"), ""),
        ([row(1)], members_list(), ""),
        ([row(1)], (404, {}), ""),
        ([row(1)], (200, {"code": "0", "data": 7}), ""),
        ([row(1)], (503, {}), ""),
    ],
)
async def test_a_platform_that_lists_only_own_jobs_without_a_word_says_nothing_about_others(
    network: Network, monkeypatch: pytest.MonkeyPatch, rows: list[Any], bob: tuple[int, Any], said: str
) -> None:
    monkeypatch.setattr(live_jobs, "SHARED_FOR", 0.0)
    platform = PlatformPages(rows)
    platform.lists = {"alice": members_list(), "bob": bob}
    async with regions(network, platform, MEMBERS) as both:
        found = (await both.poll("kunshan"))["kunshan"]
        listed = {followed.member.user: len(listing.jobs) for followed, listing in found.listings.items()}
        assert listed == {"alice": len(rows)} | {"bob": 0} if not said else listed.items() <= {"alice": 1}.items()
        warnings = [text for text in both.warnings if "showGroupJobs" in text]
        assert [said in text for text in warnings] == [True] * bool(said)
        # As soon as jobs of others are listed, that is over.
        platform.rows.append(row(2, clusterUserName="bob"))
        platform.rows.append(row(3))
        platform.lists.clear()
        while [followed.member.user for followed in found.listings] != ["alice", "bob"] or both.warnings:
            found = (await both.poll("kunshan"))["kunshan"]


async def test_whether_others_are_left_out_is_asked_rarely_and_only_where_it_is_not_clear(network: Network) -> None:
    users = [f"user{number}" for number in range(50)]
    platform = PlatformPages([row(1)])
    platform.lists = dict.fromkeys(users, members_list())
    async with regions(network, platform, MEMBERS.replace("bob", ", ".join(users))) as both:
        for _ in range(3):
            await both.poll()
        assert len(platform.asked) == CHECKED
    platform.rows, platform.asked = [row(1, clusterId=11136), row(2, clusterId=11136, clusterUserName="carol")], []
    async with regions(network, platform, MEMBERS) as both:
        found = (await both.poll())["kunshan"]
        assert (len(found.listings), platform.asked) == (2, []), "the platform lists jobs of several users elsewhere"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"code": "10001", "msg": "x"}, "upstream: "),
        ({"code": "10009", "msg": "x"}, "auth: "),
        (404, "http: HTTP 404: this region does not have /ac/openapi/v2/jobs/monitor/page-list"),
        (405, "http: HTTP 405: this region does not have"),
        ({"code": "0", "data": {"records": 7, "vnc": SECRET}}, "decode: the answer is not a page of jobs"),
        (
            {"code": "0", "data": {"total": 1, "records": [{"vncSessionInfo": SECRET}]}},
            "decode: none of the answer's 1",
        ),
        ({"vncSessionInfo": SECRET}, "decode: the answer is not a page of jobs"),
    ],
)
async def test_a_failure_is_that_of_every_region_and_repeats_nothing(network: Network, answer: Any, error: str) -> None:
    platform = PlatformPages([])
    platform.answer = lambda _: web.Response(status=answer, text=SECRET) if isinstance(answer, int) else answer
    async with regions(network, platform, MEMBERS) as both:
        found = await both.poll()
        assert await both.samples("member_jobs") == {}
    assert found.keys() == {"kunshan", "xian"}
    for message in found.values():
        assert message.startswith(error)
        assert SECRET not in message


CHINA = ZoneInfo("Asia/Shanghai")


def read(row: dict[str, Any]) -> LiveJob:
    return read_row(msgspec.Raw(json.dumps(row).encode()), LiveJob)


AMOUNTS = ("requested_nodes", "requested_cpus", "requested_gpus", "allocated_cpus", "allocated_gpus", "allocated_dcus")
WAITS = {"jobState": "statQ"}
ALL = {"nodeNumReq": 2, "procNumReq": 64, "gpuNumReq": 8, "cpuCore": 66, "gpuNum": 8}


@pytest.mark.parametrize(
    ("fields", "amounts"),
    [
        ({"procNumUsed": 4, "gpuNumUsed": 1}, (None, None, None, 4, 1, 0)),
        (ALL, (2, 64, 8, 66, 8, 0)),
        (WAITS | {"procNumUsed": 4, "gpuNumUsed": 0}, (1, 4, None, 0, 0, 0)),
        (WAITS | ALL, (2, 64, 8, 0, 0, 0)),
        ({"procNumUsed": "4", "gpuNumUsed": "N/A", "dcuNumUsed": -1}, (None, None, None, 4, None, None)),
    ],
)
def test_amounts(fields: dict[str, Any], amounts: tuple[int | None, ...]) -> None:
    job = live_job(read(row(**fields)), CHINA)
    assert tuple(getattr(job, name) for name in AMOUNTS) == amounts


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "completed"),
        ({"reason": "NonZeroExitCode"}, "failed"),
        ({"initContentAttr": '{"JobState": "FAILED"}'}, "failed"),
        ({"initContentAttr": '{"JobState": "TIMEOUT"}'}, "timeout"),
        ({"initContentAttr": '{"JobState": "RUNNING"}'}, "completed"),
        ({"initContentAttr": "{"}, "completed"),
        ({"initContentAttr": "[" * 100_000}, "completed"),
        ({"initContentAttr": '{"JobState": 7}'}, "completed"),
        ({"initContentAttr": 7}, "completed"),
    ],
)
def test_a_completed_job_has_ended_but_may_have_failed(fields: dict[str, Any], state: str) -> None:
    assert outcome_of(read(row(jobState="statC", **fields))) == state


async def test_jobs_of_one_id_at_two_schedulers_are_two(network: Network) -> None:
    async with regions(network, PlatformPages([row(1), row(1, jobManagerId=7), row(1)])) as both:
        found = (await both.poll("kunshan"))["kunshan"]
    (listing,) = found.listings.values()
    assert {job.id for job in listing.jobs} == {"1", "1@7"}
