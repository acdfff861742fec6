"""After some unanswered requests in a row one probe at a time goes out, and all callers share its result."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from exporter.errors import PollError, RejectedError, UnexpectedStatusError, UpstreamTimeoutError
from exporter.http import CircuitBreaker
from exporter.http.client import FAILURE_LIMIT
from tests.support.http import Network, body_of, get
from tools.virtualtime import VirtualTimeLoop


def an_open_circuit() -> CircuitBreaker:
    breaker = CircuitBreaker()
    for _ in range(FAILURE_LIMIT):
        breaker.record_failure()
    return breaker


def test_it_takes_eight_unanswered_requests_in_a_row() -> None:
    breaker = CircuitBreaker()
    seen: list[bool] = []
    for happens in (
        [breaker.record_failure] * 7
        + [breaker.record_success]
        + [breaker.record_failure] * 8
        + [breaker.record_success]
    ):
        happens()
        seen.append(breaker.is_open)
    assert seen == [False] * 15 + [True, False]


async def test_while_the_circuit_is_closed_no_request_waits() -> None:
    breaker = CircuitBreaker()
    with breaker.probing():
        assert not breaker.half_open
        await asyncio.wait_for(breaker.wait_for_probe(), 100)


async def probed(breaker: CircuitBreaker, record: Callable[[], None], error: PollError | None) -> list[object]:
    """Return the results of a probe and of three callers that wait for it."""

    async def probe() -> None:
        with breaker.probing():
            await asyncio.sleep(0.01)
            record()
            if error:
                raise error

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    waiters = [asyncio.create_task(breaker.wait_for_probe()) for _ in range(3)]
    return list(await asyncio.wait_for(asyncio.gather(probing, *waiters, return_exceptions=True), 100))


async def test_waiters_share_the_probes_failure() -> None:
    breaker = an_open_circuit()
    await breaker.wait_for_probe()
    results = await probed(breaker, breaker.record_failure, UpstreamTimeoutError("no answer from h", culprit="h"))
    assert [type(result) for result in results] == [UpstreamTimeoutError] * 4
    assert str(results[1]) == "no answer from h (not requested again for this target)"
    assert isinstance(results[1], PollError)
    assert results[1].culprit == "h"
    assert not breaker.half_open
    assert breaker.is_open


@pytest.mark.parametrize("error", [None, UnexpectedStatusError("HTTP 301"), RejectedError("no")])
async def test_an_answer_frees_all_waiters_even_if_it_is_an_error(error: PollError | None) -> None:
    breaker = an_open_circuit()
    assert await probed(breaker, breaker.record_success, error) == [error, None, None, None]


async def test_a_cancelled_probe_frees_the_others_and_one_of_them_is_the_next() -> None:
    breaker = an_open_circuit()

    async def probe() -> None:
        with breaker.probing():
            await asyncio.sleep(60)

    probing = asyncio.create_task(probe())
    await asyncio.sleep(0)
    waiters = [asyncio.create_task(breaker.wait_for_probe()) for _ in range(3)]
    await asyncio.sleep(0)
    probing.cancel()
    assert await asyncio.wait_for(asyncio.gather(*waiters), 100) == [None] * 3
    assert breaker.is_open
    with breaker.probing():
        assert breaker.half_open


async def test_a_waiter_that_is_cancelled_cancels_no_other() -> None:
    breaker = an_open_circuit()
    with breaker.probing():
        leaving, staying = (asyncio.create_task(breaker.wait_for_probe()) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        assert leaving.cancelled()
        assert not staying.done()
        breaker.record_success()
    await asyncio.wait_for(staying, 100)


class Region:
    """A host that can be told to hang, and says how many requests it has seen."""

    def __init__(self) -> None:
        self.hangs = True
        self.requests = self.now = self.most = 0

    async def __call__(self, _: web.Request) -> web.Response:
        self.requests += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.hangs:
                await asyncio.sleep(60)
        finally:
            self.now -= 1
        return web.Response(body=b"ok")


async def test_a_hung_region_sees_one_request_at_a_time_and_all_of_them_once_it_answers(network: Network) -> None:
    region = Region()
    url, upstream = await network.serve(region), network.upstream(timeout=1.5, max_concurrency=8)

    async def poll_all() -> list[object]:
        polls = (upstream.call(get(url), body_of) for _ in range(100))
        return list(await asyncio.wait_for(asyncio.gather(*polls, return_exceptions=True), 100))

    assert {type(result) for result in await poll_all()} == {UpstreamTimeoutError}
    assert region.requests <= 20, "100 polls did not each ask"
    await asyncio.sleep(0.05)
    region.requests = region.most = 0
    assert {type(result) for result in await poll_all()} == {UpstreamTimeoutError}
    assert (region.requests, region.most) == (1, 1), "all share one probe"
    region.hangs = False
    assert await poll_all() == [b"ok"] * 100


async def test_a_pause_of_this_process_says_nothing_about_the_host(network: Network) -> None:
    loop, region = asyncio.get_running_loop(), Region()
    assert isinstance(loop, VirtualTimeLoop)
    url, upstream = await network.serve(region), network.upstream(timeout=5.0, retries=1)
    polls = asyncio.gather(*(upstream.call(get(url), body_of) for _ in range(16)))
    await asyncio.sleep(1)
    assert region.now == 16
    region.hangs = False
    loop._virtual.passed += 30
    assert await polls == [b"ok"] * 16


async def test_hosts_of_one_upstream_are_judged_apart(network: Network) -> None:
    """A region's AC host may work while its HPC host hangs."""
    hung, healthy = Region(), Region()
    healthy.hangs = False
    hung_url, healthy_url = await network.serve(hung), await network.serve(healthy)
    upstream = network.upstream(timeout=1.5, max_concurrency=16)
    await asyncio.gather(*(upstream.call(get(hung_url), body_of) for _ in range(8)), return_exceptions=True)
    probe = asyncio.create_task(upstream.call(get(hung_url), body_of))
    await asyncio.sleep(0.05)
    assert await upstream.call(get(healthy_url), body_of) == b"ok"
    with pytest.raises(UpstreamTimeoutError):
        await probe


async def test_a_poll_that_is_cancelled_in_any_state_leaves_all_slots_free(network: Network) -> None:
    region, slots = Region(), asyncio.Semaphore(4)
    url, upstream = await network.serve(region), network.upstream(timeout=1.5, max_concurrency=2, slots=slots)
    for pause in (0.0, 0.0, 0.001, 0.01, 0.1, 1.6, 1.65):
        polls = [asyncio.create_task(upstream.call(get(url), body_of)) for _ in range(20)]
        await asyncio.sleep(pause)
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)
    region.hangs = False
    assert (slots._value, upstream._own_slots._value, upstream._rate_lock.locked()) == (4, 2, False)
    assert await asyncio.wait_for(upstream.call(get(url), body_of), 100) == b"ok"
