"""The list of a token's own user: its pages, its forms, and when it is complete."""

import base64
from typing import Any

import msgspec
import pytest
from aiohttp import web

from exporter.errors import DecodeError
from exporter.records import Job, JobListing, JobState
from exporter.sources.scnet.own_jobs import MAX_PAGES, PAGE_SIZE, own_jobs
from tests.support.collecting import REGION, TOKEN, Answer, Samples, assembled, collecting, envelope, of
from tests.support.http import Network


def row(number: int) -> dict[str, Any]:
    return {"jobId": number, "jobName": f"job{number}", "jobStatus": "statR"}


class Pages:
    """Serves a list by `start` and `limit`, in pages of at most `largest` rows."""

    def __init__(self, rows: list[Any], largest: int = 1000, **page: Any) -> None:
        self.rows = rows
        self.largest = largest
        self.page = page
        self.queries: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        start, limit = int(request.query["start"]), min(self.largest, int(request.query["limit"]))
        data = {"total": len(self.rows), "list": self.rows[start : start + limit], **self.page}
        return web.Response(body=msgspec.json.encode({"code": "0", "data": data}))


async def own(url: str, owner: str | None = None) -> JobListing:
    assembly = assembled(REGION.replace("https://hpc.example.com", url))
    region = assembly.regions["kunshan"]
    try:
        return await own_jobs(region, "1638523853", region.tokens.own, owner)
    finally:
        await assembly.close()


async def listing(network: Network, pages: Pages, owner: str | None = None) -> JobListing:
    return await own(await network.serve(pages.answer), owner)


async def test_one_page(network: Network) -> None:
    pages = Pages([{"jobId": "19", "jobName": "模拟", "jobStatus": "statQ", "procNumUsed": "32", "nodeUsed": "a1"}])
    found = await listing(network, pages, owner="bo b")
    assert found == JobListing(
        (Job("19", "模拟", JobState.QUEUED, requested_cpus=32, allocated_cpus=0, scheduler="1638523853"),)
    )
    assert pages.queries == [
        {"strClusterIDList": "1638523853", "strJobOwner": "bo b", "start": "0", "limit": str(PAGE_SIZE)}
    ]


@pytest.mark.parametrize("largest", [10, 25, 1000])
async def test_a_list_without_a_total_is_read_until_nothing_new_comes(network: Network, largest: int) -> None:
    """A region may give fewer rows than were requested, or all of them whatever was requested."""
    pages = Pages([row(number) for number in range(60)], largest, total=None)
    found = await listing(network, pages)
    assert (len(found.jobs), found.complete) == (60, True)
    assert len(pages.queries) <= 60 // largest + 2


async def test_a_list_that_has_no_pages_is_complete(network: Network) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode({"code": "0", "data": [row(number) for number in range(60)]}))

    found = await own(await network.serve(answer))
    assert (len(found.jobs), found.complete) == (60, True)


@pytest.mark.parametrize("count", [0, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE])
@pytest.mark.parametrize("with_total", [True, False])
async def test_all_pages_are_read(network: Network, count: int, with_total: bool) -> None:
    found = await listing(network, Pages(list(map(row, range(count))), 1000, **({} if with_total else {"total": None})))
    assert [job.id for job in found.jobs] == list(map(str, range(count)))
    # Without a total it is unknown whether a full page was the last one.
    assert found.complete


async def test_a_region_may_give_shorter_pages_than_requested(network: Network) -> None:
    class Short(Pages):
        async def answer(self, request: web.Request) -> web.Response:
            start = int(request.query["start"])
            data = {"total": len(self.rows), "list": self.rows[start : start + 25]}
            return web.Response(body=msgspec.json.encode({"code": "0", "data": data}))

    found = await listing(network, Short(list(map(row, range(60)))))
    assert [job.id for job in found.jobs] == list(map(str, range(60)))
    assert found.complete


@pytest.mark.parametrize("page", [{"total": 5}, {"total": "5"}, {"total": -1}, {"total": "many"}])
async def test_rows_that_the_total_promises_and_are_not_sent_make_it_incomplete(
    network: Network, page: dict[str, Any]
) -> None:
    found = await listing(network, Pages([row(1), row(2)], **page))
    assert len(found.jobs) == 2
    assert not found.complete


async def test_a_server_that_repeats_itself_is_left_and_not_believed(network: Network) -> None:
    class Stuck(Pages):
        async def answer(self, request: web.Request) -> web.Response:
            self.queries.append(dict(request.query))
            rows = list(map(row, range(PAGE_SIZE)))
            return web.Response(body=msgspec.json.encode({"code": "0", "data": {"total": 1000, "list": rows}}))

    pages = Stuck([])
    found = await listing(network, pages)
    assert not found.complete
    assert len(pages.queries) == 2


async def test_there_is_a_last_page(network: Network) -> None:
    found = await listing(network, Pages(list(map(row, range(PAGE_SIZE * MAX_PAGES + 1)))))
    assert len(found.jobs) == PAGE_SIZE * MAX_PAGES
    assert not found.complete


async def test_unreadable_rows_make_it_incomplete(network: Network) -> None:
    found = await listing(network, Pages([row(1), {"jobId": None}, {"jobId": ""}, 7]))
    assert [job.id for job in found.jobs] == ["1"]
    assert found.rejected == 3


@pytest.mark.parametrize("amount", [None, "many", "", -1, "1" * 20])
async def test_cores_that_are_no_number_are_unknown(network: Network, amount: Any) -> None:
    found = await listing(network, Pages([row(1) | {"procNumUsed": amount}]))
    assert found.jobs[0].allocated_cpus is None


@pytest.mark.parametrize("data", [b"{}", b"7", b'"none"', b'{"list": 7}', b'{"total": -1, "list": null}'])
async def test_an_answer_without_a_list_says_nothing(network: Network, data: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b'{"code":"0","data":%s}' % data)

    url = await network.serve(answer)
    with pytest.raises(DecodeError):
        await own(url)


async def test_null_is_an_empty_list(network: Network) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b'{"code":"0","data":null}')

    url = await network.serve(answer)
    assert await own(url) == JobListing(())


@pytest.mark.parametrize(
    "form", ['{"list": %s}', '{"items": %s}', '{"rows": %s}', '{"list": null, "records": %s}', "%s"]
)
async def test_the_list_goes_by_several_names(network: Network, form: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text='{"code":"0","data":' + form % '[{"jobId": 1638523853.0}]' + "}")

    url = await network.serve(answer)
    found = await own(url)
    assert [job.id for job in found.jobs] == ["1638523853"]
    assert found.unknown_states == 1


async def test_a_list_without_a_readable_row_is_a_failure(network: Network) -> None:
    with pytest.raises(DecodeError, match="none of the answer's 2 rows can be read"):
        await listing(network, Pages([{"jobId": None}, 7]))


async def test_one_odd_field_costs_that_field(network: Network) -> None:
    odd = {"jobId": "2", "jobName": 7, "jobStatus": ["statR"], "procNumUsed": {}}
    found = await listing(network, Pages([row(1), odd]))
    assert found.jobs[1] == Job("2", "7", JobState.UNKNOWN, raw_state='["statR"]', scheduler="1638523853")
    assert found.complete


# --- The collector -------------------------------------------------------------------------------------------------------

OWN = (
    REGION.split("    members:")[0]
    + """
    collect: [own_jobs]
per_job: {enabled: true}
"""
)
SCHEDULERS = envelope([{"id": 1638523853}])
TIME = "2026-05-26 17:09:07"  # in China
AT = 1779786547
RUNNING = {"jobId": "1", "jobName": "a", "jobStatus": "statR", "queue": "cpu", "procNumUsed": 4, "jobStartTime": TIME}
QUEUED = {
    "jobId": "2",
    "jobStatus": "statQ",
    "queue": "cpu",
    "procNumUsed": 8,
    "jobStartTime": TIME,
    "reason": "Priority",
}
STARTED = {"job_start_timestamp_seconds 1": AT}
ONE_RUNNING = {"jobs cpu running": 1, "jobs cpu queued": 0}
CASES: dict[str, tuple[dict[str, Any], Samples]] = {
    "running": (RUNNING, ONE_RUNNING | STARTED),
    "an expected start is none": (
        QUEUED,
        {"jobs cpu running": 0, "jobs cpu queued": 1, "pending_jobs priority": 1},
    ),
    "times of a submission, where they come": (
        RUNNING | {"jobQueueTime": "2026-05-26 17:09:00"},
        ONE_RUNNING | STARTED | {"job_submit_timestamp_seconds 1": AT - 7},
    ),
    **{
        f"start {start!r}": (RUNNING | {"jobStartTime": start}, ONE_RUNNING)
        for start in of(None, "", "N/A", "Unknown", 0, [], {"a": 1}, True, "2026-05-26")
    },
    "start in milliseconds": (RUNNING | {"jobStartTime": AT * 1000}, ONE_RUNNING | STARTED),
    "held without a reason": (
        QUEUED | {"jobStatus": "statH", "reason": None},
        {"jobs cpu running": 0, "jobs cpu queued": 0, "jobs cpu held": 1, "pending_jobs held": 1},
    ),
    **{
        f"reason {reason!r}": (QUEUED | {"reason": reason}, {"jobs cpu running": 0, "jobs cpu queued": 1})
        for reason in of(None, "None", 7, [])
    },
    "queue unknown": (RUNNING | {"queue": None}, {"jobs  running": 1, "jobs  queued": 0} | STARTED),
    "odd queue": (RUNNING | {"queue": 5}, {"jobs 5 running": 1, "jobs 5 queued": 0} | STARTED),
}


@pytest.mark.parametrize(("row", "expected"), CASES.values(), ids=CASES)
async def test_own_jobs_by_queue_and_reason_with_their_times(row: dict[str, Any], expected: Samples) -> None:
    async with collecting(OWN, "own_jobs", "hpc_") as own_jobs:
        polled = await own_jobs.poll(SCHEDULERS, envelope({"total": 1, "list": [row]}))
    shown = {name: value for name, value in polled.samples.items() if name.startswith(("jobs ", "pending", "job_s"))}
    assert (polled.error, shown, polled.rejected) == ("", expected, 0)
    assert polled.requests == [
        "/hpc/openapi/v2/cluster",
        "/hpc/openapi/v2/jobs?limit=200&start=0&strClusterIDList=1638523853&strJobOwner=test",
    ]


@pytest.mark.parametrize(("zone", "offset"), [("Asia/Shanghai", 0), ("UTC", 8 * 3600), ("America/New_York", 12 * 3600)])
async def test_times_are_of_the_configured_zone(zone: str, offset: int) -> None:
    config = OWN + f"tracking: {{time_zone: {zone}}}\n"
    async with collecting(config, "own_jobs", "hpc_job_start_timestamp_seconds") as own_jobs:
        polled = await own_jobs.poll(SCHEDULERS, envelope([RUNNING]))
    assert polled.samples == {"1": AT + offset}


async def test_amounts_are_the_cores_only(network: Network) -> None:
    async with collecting(OWN, "own_jobs", "hpc_member_") as own_jobs:
        polled = await own_jobs.poll(SCHEDULERS, envelope([RUNNING, QUEUED]))
    assert polled.samples == {
        **{f"jobs {state}": count for state, count in (("running", 1), ("queued", 1), ("held", 0), ("suspended", 0))},
        "requested_cpus queued": 8,
        **{f"allocated_cpus {state}": cores for state, cores in (("running", 4), ("queued", 0))},
    }


async def test_jobs_of_all_schedulers_are_listed_also_of_one_id() -> None:
    schedulers, page = envelope([{"id": 2}, {"id": "1"}]), envelope([RUNNING])
    async with collecting(OWN, "own_jobs", "hpc_job_info") as own_jobs:
        polled = await own_jobs.poll(schedulers, page, page)
        assert set(polled.samples) == {"1 a running", "1@2 a running"}
        # The schedulers are known for a while.
        assert len((await own_jobs.poll(page, page)).requests) == 2


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((SCHEDULERS, Answer(b"", 404)), "http: HTTP 404: this region does not have /hpc/openapi/v2/jobs"),
        ((SCHEDULERS, Answer(b"", 405)), "http: HTTP 405: this region does not have /hpc/openapi/v2/jobs"),
        ((envelope(None),), "decode: kunshan lists no scheduler"),
        ((SCHEDULERS, envelope([{"jobId": None}])), "decode: none of the answer's 1 rows can be read"),
    ],
)
async def test_nothing_is_shown_of_a_list_that_cannot_be_read(answers: tuple[Answer, ...], error: str) -> None:
    async with collecting(OWN, "own_jobs") as own_jobs:
        polled = await own_jobs.poll(*answers)
    assert (polled.error[: len(error)], polled.samples) == (error, {})


async def test_a_token_of_another_user_is_not_taken_for_theirs() -> None:
    claims = base64.urlsafe_b64encode(b'{"computeUser":"alice"}').decode().rstrip("=")
    async with collecting(OWN.replace(TOKEN, f"e30.{claims}.x"), "own_jobs") as own_jobs:
        polled = await own_jobs.poll()
    assert polled.error.startswith(
        "rejected: the token from token is alice's and lists only their jobs: give test a token"
    )
