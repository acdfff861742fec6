"""Concurrency, rate and order of requests."""

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from exporter.errors import PollError
from exporter.http import Response
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.member_jobs import job_listing
from tests.support.http import Network, body_of, get

pytestmark = pytest.mark.usefixtures("short_backoff")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each request was let go: a busy server sees it later."""
    times: list[float] = []
    request = aiohttp.ClientSession._request

    async def recorded(self: aiohttp.ClientSession, *arguments: Any, **named: Any) -> aiohttp.ClientResponse:
        times.append(asyncio.get_running_loop().time())
        return await request(self, *arguments, **named)

    monkeypatch.setattr(aiohttp.ClientSession, "_request", recorded)
    return times


class Gauge:
    """A server that knows how many requests it answers at a time, by first path segment."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def __call__(self, request: web.Request) -> web.Response:
        for key in (request.path.split("/")[1], "all"):
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
        try:
            await asyncio.sleep(self.seconds)
        finally:
            for key in (request.path.split("/")[1], "all"):
                self.now[key] -= 1
        return web.Response(body=b"ok")


async def test_an_upstream_has_at_most_its_own_number_of_requests_under_way(network: Network) -> None:
    gauge = Gauge()
    url, upstream = await network.serve(gauge), network.upstream(max_concurrency=3)
    await asyncio.gather(*(upstream.call(get(f"{url}/a"), body_of) for _ in range(20)))
    assert gauge.most["all"] == 3


async def test_all_upstreams_together_have_at_most_the_shared_number_under_way(network: Network) -> None:
    gauge, slots = Gauge(), asyncio.Semaphore(5)
    url = await network.serve(gauge)
    upstreams = [network.upstream(name, slots=slots, max_concurrency=4) for name in ("a", "b", "c")]
    await asyncio.gather(*(u.call(get(f"{url}/{u.name}"), body_of) for u in upstreams for _ in range(15)))
    assert gauge.most["all"] == 5
    assert max(gauge.most[u.name] for u in upstreams) <= 4
    assert slots._value == 5, "every slot was given back"


@pytest.mark.parametrize("rate", [10.0, 25.0])
async def test_no_second_sees_more_than_the_rate_and_one(network: Network, sent: list[float], rate: float) -> None:
    gauge = Gauge(seconds=0)
    url, upstream = await network.serve(gauge), network.upstream(requests_per_second=rate)
    await asyncio.gather(*(upstream.call(get(url), body_of) for _ in range(int(1.5 * rate))))
    assert most_within(1.0, sent) <= rate + 1


async def test_permits_do_not_pile_up_while_others_hold_all_slots(network: Network, sent: list[float]) -> None:
    gauge, slots = Gauge(seconds=0), asyncio.Semaphore(2)
    url, upstream = await network.serve(gauge), network.upstream(requests_per_second=20, slots=slots)
    async with slots, slots:
        calls = [asyncio.create_task(upstream.call(get(url), body_of)) for _ in range(20)]
        await asyncio.sleep(0.8)
    await asyncio.gather(*calls)
    assert most_within(0.5, sent) <= 0.5 * 20 + 2


def most_within(seconds: float, times: list[float]) -> int:
    # A hundredth less: the clock is read a little after the request was let go.
    return max(sum(1 for t in times if start <= t < start + seconds * 0.99) for start in times)


async def test_retries_keep_the_rate_too(network: Network, sent: list[float]) -> None:
    async def fail(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    url, upstream = await network.serve(fail), network.upstream(requests_per_second=20, retries=1)
    await asyncio.gather(*(upstream.call(get(url), body_of) for _ in range(3)), return_exceptions=True)
    assert len(sent) == 6
    assert sent[-1] - sent[0] >= 5 / 20 * 0.9


async def test_a_hung_region_does_not_starve_a_healthy_one(network: Network) -> None:
    """For one time-out the hung one may hold every slot; then it gets one at a time."""
    slots, gauge = asyncio.Semaphore(8), Gauge(seconds=0.01)
    hung_url, url = await network.answer(60), await network.serve(gauge)
    hung = network.upstream("hung", slots=slots, timeout=0.3, retries=2)
    healthy = network.upstream("healthy", slots=slots, timeout=50)
    polls = [asyncio.create_task(hung.call(get(hung_url), body_of)) for _ in range(200)]
    await asyncio.gather(*(healthy.call(get(url), body_of) for _ in range(100)))
    results = await asyncio.wait_for(asyncio.gather(*polls, return_exceptions=True), 100)
    assert all(isinstance(result, PollError) for result in results), "all waits end"
    assert network.counts.codes[None] <= 40, "200 polls did not each wait for an answer of their own"


async def test_a_region_that_sends_its_head_and_then_hangs_is_found_out_as_well(network: Network) -> None:
    async def head_only(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.sleep(60)
        return response

    url, upstream = await network.serve(head_only), network.upstream(timeout=0.2, max_concurrency=8)
    polls = [asyncio.create_task(upstream.call(get(url), body_of)) for _ in range(200)]
    await asyncio.wait_for(asyncio.gather(*polls, return_exceptions=True), 100)
    assert network.counts.codes[200] <= 40


JOB = (
    b'{"id":"%07d","name":"COMSOL_GUI_1031_103150","status":"statR","nodeNumReq":1,"cpuCore":2,"procNumReq":1,'
    b'"gpuNumReq":0,"gpuNum":0,"dcuNumReq":0,"dcuNumUsed":0}'
)
LARGE_LIST = (
    b'{"code":"0","msg":"success","data":['
    + b",".join(JOB % number for number in range(15 * 1024**2 // len(JOB)))
    + b"]}"
)


async def test_decoding_a_large_answer_leaves_the_event_loop_its_turn(network: Network) -> None:
    url, upstream = await network.answer(body=LARGE_LIST), network.upstream(timeout=30)
    decoding = 0.0

    def decode(response: Response) -> int:
        nonlocal decoding
        started = time.perf_counter()
        jobs = len(job_listing(open_envelope(response)).jobs)
        decoding = time.perf_counter() - started
        return jobs

    async def longest_block() -> float:
        longest, last = 0.0, time.perf_counter()
        calling = asyncio.create_task(upstream.call(get(url), decode))
        while not calling.done():
            await asyncio.sleep(0)
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        assert calling.result() > 90_000
        return longest

    # A tenth to a sixth on an idle machine, a third where all is decoded in one go. A busy one takes the processor away at times.
    blocks = []
    for _ in range(8):
        blocks.append((await longest_block()) / decoding)
        if blocks[-1] < 1 / 4:
            return
    raise AssertionError(f"the event loop was blocked for these parts of the time: {blocks}")


async def test_a_large_answer_is_decoded_in_a_thread_and_a_small_one_is_not(network: Network) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bytes(int(request.query["size"])))

    url, upstream = await network.serve(answer), network.upstream()
    small = await upstream.call(get(f"{url}/?size=1000"), lambda _: threading.current_thread())
    large = await upstream.call(get(f"{url}/?size=1000000"), lambda _: threading.current_thread())
    assert small is threading.main_thread()
    assert large is not threading.main_thread()


async def test_an_error_of_a_large_answer_is_treated_like_any_other(network: Network) -> None:
    url = await network.answer(body=b'{"code":"10004","msg":"' + b"x" * 1_000_000 + b'"}')
    with pytest.raises(PollError):
        await network.upstream().call(get(url), open_envelope)
    assert network.counts.api_codes == {"10004": 1}
