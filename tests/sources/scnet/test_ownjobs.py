"""The list of a token's own user: its pages, its forms, and when it is complete."""

from typing import Any

import msgspec
import pytest
from aiohttp import web

from exporter.config import InlineSecret
from exporter.errors import DecodeError
from exporter.http import StaticToken
from exporter.records import Job, JobListing, JobState
from exporter.sources.scnet.ownjobs import MAX_PAGES, PAGE_SIZE, own_jobs
from tests.support.http import Network


def row(number: int) -> dict[str, Any]:
    return {"jobId": number, "jobName": f"job{number}", "jobStatus": "statR"}


class Pages:
    """Serves a list by `start` and `limit`."""

    def __init__(self, rows: list[Any], **page: Any) -> None:
        self.rows = rows
        self.page = page
        self.queries: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(dict(request.query))
        start, limit = int(request.query["start"]), int(request.query["limit"])
        data = {"total": len(self.rows), "list": self.rows[start : start + limit], **self.page}
        return web.Response(body=msgspec.json.encode({"code": "0", "data": data}))


async def listing(network: Network, pages: Pages, owner: str | None = None) -> JobListing:
    url = await network.serve(pages.answer)
    return await own_jobs(network.upstream(), url, "1638523853", StaticToken(InlineSecret("token")), owner)


async def test_one_page(network: Network) -> None:
    pages = Pages([{"jobId": "19", "jobName": "模拟", "jobStatus": "statQ", "procNumUsed": "32", "nodeUsed": "a1"}])
    found = await listing(network, pages, owner="bo b")
    assert found == JobListing((Job("19", "模拟", JobState.QUEUED, allocated_cpus=32),))
    assert pages.queries == [
        {"strClusterIDList": "1638523853", "strJobOwner": "bo b", "start": "0", "limit": str(PAGE_SIZE)}
    ]


@pytest.mark.parametrize("count", [0, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE])
@pytest.mark.parametrize("with_total", [True, False])
async def test_all_pages_are_read(network: Network, count: int, with_total: bool) -> None:
    found = await listing(network, Pages(list(map(row, range(count))), **({} if with_total else {"total": None})))
    assert [job.id for job in found.jobs] == list(map(str, range(count)))
    # Without a total it is unknown whether a full page was the last one.
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
        await own_jobs(network.upstream(), url, "1", StaticToken(InlineSecret("token")))


async def test_null_is_an_empty_list(network: Network) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b'{"code":"0","data":null}')

    url = await network.serve(answer)
    assert await own_jobs(network.upstream(), url, "1", StaticToken(InlineSecret("token"))) == JobListing(())


@pytest.mark.parametrize(
    "form", ['{"list": %s}', '{"items": %s}', '{"rows": %s}', '{"list": null, "records": %s}', "%s"]
)
async def test_the_list_goes_by_several_names(network: Network, form: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text='{"code":"0","data":' + form % '[{"jobId": 1638523853.0}]' + "}")

    url = await network.serve(answer)
    found = await own_jobs(network.upstream(), url, "1", StaticToken(InlineSecret("token")))
    assert [job.id for job in found.jobs] == ["1638523853"]
    assert found.unknown_states == 1


async def test_a_list_without_a_readable_row_is_a_failure(network: Network) -> None:
    with pytest.raises(DecodeError, match="none of the answer's 2 rows can be read"):
        await listing(network, Pages([{"jobId": None}, 7]))


async def test_one_odd_field_costs_that_field(network: Network) -> None:
    odd = {"jobId": "2", "jobName": 7, "jobStatus": ["statR"], "procNumUsed": {}}
    found = await listing(network, Pages([row(1), odd]))
    assert found.jobs[1] == Job("2", "7", JobState.UNKNOWN, raw_state='["statR"]')
    assert found.complete
