"""The three reads of a region, over a real socket: what is asked, and what comes of the answer."""

import json
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import (
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    UnexpectedStatusError,
)
from exporter.http import Upstream
from exporter.records import JobListing, JobState, QueueStatistics, Schedulers
from exporter.sources.scnet.client import RegionClient, encoded
from tests.support.http import Network

GROUP = "533686286955839488"  # above 2**53: as a float it would end in ...839500
HARD_NAMES = [
    "test",
    "o'brien",
    'say "hi"',
    "a\nb",
    "a/b",
    "../../etc",
    "100%",
    "%2F",
    "what?",
    "a#b",
    "a&userName=root",
    "a+b",
    "a b",
    "a=b;c,d:e",
    "张三",
    "🚀",
    "é\u0301",
    "",
]


class Tokens:
    origin = "account lab"

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens) or ["token-1"]

    async def current(self) -> str:
        return self.tokens[0]

    async def replace(self, refused: str) -> str | None:
        self.tokens.remove(refused)
        return self.tokens[0] if self.tokens else None


class Region:
    """Answers everything with `body`, and remembers what it was asked."""

    def __init__(self, body: bytes = b"null", status: int = 200) -> None:
        self.body, self.status = body, status
        self.paths: list[str] = []
        self.tokens: list[str] = []
        self.accepted: str | None = None

    async def __call__(self, request: web.Request) -> web.Response:
        self.paths.append(request.raw_path)
        self.tokens.append(request.headers["token"])
        if self.accepted is not None and self.tokens[-1] != self.accepted:
            refusal = json.dumps({"code": "10008", "msg": f"token {self.tokens[-1]} expired", "data": "no"})
            return web.Response(body=refusal)
        return web.Response(status=self.status, body=self.body)


async def client_of(network: Network, region: Region) -> RegionClient:
    url = await network.serve(region)
    return RegionClient(network.upstream(), cluster_id="11112", hpc_url=url, ac_url=f"{url}/ac-host")


async def test_the_addresses_are_those_of_the_pages(network: Network) -> None:
    region = Region(b'{"code":"0","data":null}')
    client = await client_of(network, region)
    await client.queue_jobs("test", Tokens())
    await client.schedulers(Tokens())
    await client.member_jobs(GROUP, "test", Tokens())
    assert region.paths == [
        "/hpc/openapi/v2/view/queue/jobs?userName=test",
        "/hpc/openapi/v2/cluster",
        f"/ac-host/ac/openapi/v2/clusters/11112/groups/{GROUP}/clusterUserNames/test/jobs",
    ]
    assert region.tokens == ["token-1"] * 3
    assert {endpoint for _, endpoint in network.counts.labels} == {"queue_jobs", "cluster", "member_jobs"}


@pytest.mark.parametrize("name", HARD_NAMES, ids=ascii)
async def test_a_user_arrives_as_it_was_written_whatever_is_in_it(network: Network, name: str) -> None:
    region = Region(b'{"code":"0","data":null}')
    client = await client_of(network, region)
    await client.queue_jobs(name, Tokens())
    await client.member_jobs(GROUP, name, Tokens())
    query, path = region.paths
    before, _, sent = query.partition("?userName=")
    assert (before, unquote(sent)) == ("/hpc/openapi/v2/view/queue/jobs", name)
    *_, group, word, sent, jobs = path.split("/")
    assert (group, word, unquote(sent), jobs) == (GROUP, "clusterUserNames", name, "jobs")
    assert "?" not in path


@given(st.text())
def test_an_encoded_name_holds_nothing_with_a_meaning_of_its_own_and_reads_back(name: str) -> None:
    sent = encoded(name)
    assert unquote(sent) == name
    assert not set(sent) & set("/?#&=+ ;,:\"'\\<>\n")
    assert sent.isascii()


@pytest.mark.parametrize(
    "body", [b"null", b" null\n", b'{"code":"0"}', b'{"code":0,"data":null}', b'{"code":"0","data":[]}']
)
async def test_no_queues_in_every_form(network: Network, body: bytes) -> None:
    client = await client_of(network, Region(body))
    assert await client.queue_jobs("test", Tokens()) == QueueStatistics("test", ())


async def test_a_null_that_is_no_success_is_not_zero_jobs(network: Network) -> None:
    for status in (404, 500, 401, 503):
        client = await client_of(network, Region(b"null", status))
        with pytest.raises(PollError):
            await client.queue_jobs("test", Tokens("only"))


@pytest.mark.parametrize("body", [b"null", b"", b"[]", b'{"data":[]}'])
async def test_elsewhere_a_whole_body_of_null_is_undecodable(network: Network, body: bytes) -> None:
    client = await client_of(network, Region(body))
    with pytest.raises(DecodeError):
        await client.schedulers(Tokens())
    with pytest.raises(DecodeError):
        await client.member_jobs(GROUP, "test", Tokens())


async def test_the_pages_examples_arrive(network: Network, page_example: dict[str, bytes]) -> None:
    statistics = await (await client_of(network, Region(page_example["queue_jobs"]))).queue_jobs("test", Tokens())
    schedulers = await (await client_of(network, Region(page_example["cluster"]))).schedulers(Tokens())
    listing = await (await client_of(network, Region(page_example["member_jobs"]))).member_jobs(GROUP, "test", Tokens())
    assert statistics.queues[0].counts[JobState.RUNNING] == 2
    assert isinstance(schedulers, Schedulers)
    assert schedulers.schedulers[0].id == "1638523853"
    assert isinstance(listing, JobListing)
    assert listing.jobs[0].allocated_cpus == 2


async def test_a_refused_token_is_replaced_once_and_the_answer_counts(network: Network) -> None:
    region = Region(b'{"code":"0","data":[]}')
    region.accepted = "token-2"
    client = await client_of(network, region)
    assert await client.member_jobs(GROUP, "test", Tokens("token-1", "token-2", "token-3")) == JobListing(())
    assert region.tokens == ["token-1", "token-2"]
    assert network.counts.api_codes == {"10008": 1}


async def test_a_fresh_token_that_is_refused_too_is_a_matter_of_permission(network: Network) -> None:
    region = Region()
    region.accepted = "none"
    client = await client_of(network, region)
    with pytest.raises(PermissionDeniedError, match=r"no permission \(code 10008, token <secret> expired\)"):
        await client.queue_jobs("root", Tokens("token-1", "token-2", "token-3"))
    assert region.tokens == ["token-1", "token-2"]


async def test_a_pasted_token_that_is_refused_is_an_authentication_failure_of_its_credential(network: Network) -> None:
    region = Region()
    region.accepted = "none"
    client = await client_of(network, region)
    with pytest.raises(AuthenticationError) as error:
        await client.queue_jobs("test", Tokens("token-1"))
    assert error.value.culprit == "account lab"
    assert "token-1" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b'{"code":"911009","msg":"x"}', 200, RejectedError),
        (b'{"code":"10007","msg":"x"}', 200, RejectedError),
        (b"<html>", 404, UnexpectedStatusError),
        (b'{"code":"0","data":"none"}', 200, DecodeError),
    ],
)
async def test_failures_come_out_of_every_method(
    network: Network, body: bytes, status: int, kind: type[PollError]
) -> None:
    client = await client_of(network, Region(body, status))
    calls: list[Callable[[], object]] = [
        lambda: client.queue_jobs("test", Tokens()),
        lambda: client.schedulers(Tokens()),
        lambda: client.member_jobs(GROUP, "test", Tokens()),
    ]
    for call in calls:
        with pytest.raises(kind):
            await call()  # type: ignore[misc]  # each gives an awaitable of another type


async def test_a_large_listing_is_read_to_the_last_job(network: Network) -> None:
    rows = [{"id": str(n), "name": f"job-{n}", "status": "statR", "cpuCore": n % 7} for n in range(20_000)]
    client = await client_of(network, Region(json.dumps({"code": "0", "data": rows}).encode()))
    listing = await client.member_jobs(GROUP, "test", Tokens())
    assert [job.id for job in listing.jobs] == [row["id"] for row in rows]
    assert listing.complete


def test_a_client_needs_no_session_until_it_asks(network: Network) -> None:
    """Configurations are checked without any connection."""
    upstream: Upstream = network.upstream()
    RegionClient(upstream, cluster_id="1", hpc_url="http://h", ac_url="http://h")
    assert upstream._session is None
