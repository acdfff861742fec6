"""Transient failures are tried again, others are not; pauses that the upstream asks for are kept by all."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import pytest
from aiohttp import web
from multidict import CIMultiDict

from exporter.clock import SystemClock
from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    ServerError,
    ThrottledError,
    TransientError,
    UnexpectedStatusError,
    UpstreamBusyError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.http import Response, parse_retry_after
from exporter.http import client as http
from exporter.sources.octopus.pages import read_page
from exporter.sources.octopus.reading import QueueRow
from exporter.sources.scnet.api import open_envelope
from tests.support.clock import FakeClock
from tests.support.http import Network, body_of, get

pytestmark = pytest.mark.usefixtures("short_backoff")

SECRET = "eyJhbGciOiJIUzI1NiJ9.eyJjb21wdXRlVXNlciI6InRlc3QifQ.c2lnbmF0dXJl"


class SleeplessClock(SystemClock):
    """Remembers for how long it was to sleep, and says that the time has passed."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return super().monotonic() + sum(self.sleeps)

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(0)


class Answers:
    """Gives these answers in turn, then 200; None hangs up."""

    def __init__(self, *statuses: int | None, retry_after: str | None = None) -> None:
        self.statuses = list(statuses)
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.times: list[float] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.times.append(time.monotonic())
        status = self.statuses.pop(0) if self.statuses else 200
        if status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=status, headers=self.headers if status != 200 else {}, body=str(status))


def by_status(response: Response) -> bytes:
    """Decode as a client does: some statuses are errors."""
    if response.status == 429:
        raise ThrottledError(
            "slow down", retry_after=parse_retry_after(response.headers.get("Retry-After"), time.time())
        )
    if response.status >= 500:
        raise UpstreamBusyError("internal error", api_code="10001")
    if response.status >= 400:
        raise RejectedError("parameter invalid", api_code="10004")
    return response.body


async def test_transient_failures_are_tried_again_and_everything_is_counted(network: Network) -> None:
    answers = Answers(None, 503)
    url = await network.serve(answers)
    assert await network.upstream(retries=2).call(get(url), by_status) == b"200"
    assert network.counts.codes == {None: 1, 503: 1, 200: 1}
    assert network.counts.retries == 2
    assert network.counts.api_codes == {"10001": 1}


@pytest.mark.parametrize(("retries", "failure"), [(0, UpstreamBusyError), (2, UpstreamConnectionError)])
async def test_retries_end_and_the_last_failure_comes_out(
    network: Network, retries: int, failure: type[PollError]
) -> None:
    answers = Answers(500, 500, None, 500)
    with pytest.raises(failure):
        await network.upstream(retries=retries).call(get(await network.serve(answers)), by_status)
    assert (len(answers.times), network.counts.retries) == (retries + 1, retries)


async def test_a_permanent_failure_is_not_tried_again_not_even_after_a_transient_one(network: Network) -> None:
    answers = Answers(500, 400)
    with pytest.raises(RejectedError):
        await network.upstream(retries=5).call(get(await network.serve(answers)), by_status)
    assert len(answers.times) == 2
    assert network.counts.api_codes == {"10001": 1, "10004": 1}


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        *((kind("x"), 3) for kind in (ThrottledError, UpstreamTimeoutError, UpstreamConnectionError, ServerError)),
        *((kind("x"), 1) for kind in (AuthenticationError, PermissionDeniedError, UnexpectedStatusError, ApiError)),
        (DecodeError("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_which_errors_of_a_decoder_are_tried_again(network: Network, error: PollError, attempts: int) -> None:
    answers = Answers()

    def decode(_: Response) -> None:
        raise error

    with pytest.raises(type(error)):
        await network.upstream(retries=2).call(get(await network.serve(answers)), decode)
    assert len(answers.times) == attempts
    assert isinstance(error, TransientError) == (attempts > 1)


async def test_what_changes_something_is_never_repeated(network: Network) -> None:
    """The answer to a DELETE may be lost after it worked."""
    answers = Answers(None)
    url = await network.serve(answers)
    with pytest.raises(UpstreamConnectionError):
        await network.upstream(retries=5).call(get(url, method="DELETE", repeatable=False), by_status)
    assert len(answers.times) == 1


async def test_attempts_are_apart_by_a_growing_pause(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "FIRST_BACKOFF", 0.1)
    clock = SleeplessClock()
    await network.upstream(retries=2, clock=clock).call(get(await network.serve(Answers(500, 500))), by_status)
    first, second = clock.sleeps
    assert 0.1 <= first <= 0.2
    assert 0.2 <= second <= 0.3


async def test_a_pause_that_was_asked_for_is_made(network: Network) -> None:
    answers, clock = Answers(429, retry_after="1"), SleeplessClock()
    upstream = network.upstream(retries=1, clock=clock)
    assert await upstream.call(get(await network.serve(answers)), by_status) == b"200"
    assert 1.0 <= sum(clock.sleeps) < 2.0


async def test_a_pause_longer_than_a_poll_may_take_ends_the_poll_at_once(network: Network) -> None:
    answers, clock = Answers(429, retry_after="31"), SleeplessClock()
    with pytest.raises(ThrottledError) as error:
        await network.upstream(retries=5, clock=clock).call(get(await network.serve(answers)), by_status)
    assert not clock.sleeps
    assert error.value.retry_after == 31
    assert len(answers.times) == 1


async def test_a_pause_is_kept_by_every_request_of_the_upstream_and_then_over(network: Network) -> None:
    answers, clock = Answers(429, retry_after="60"), FakeClock()
    url, upstream = await network.serve(answers), network.upstream(clock=clock)
    with pytest.raises(ThrottledError):
        await upstream.call(get(f"{url}/alice"), by_status)
    clock_moves = [0.0, 30.0, 29.0]
    for seconds in clock_moves:
        await clock.advance(seconds)
        with pytest.raises(ThrottledError, match=r"kunshan requested a pause, \d+ s of it left") as error:
            await upstream.call(get(f"{url}/bob"), by_status)
        assert error.value.retry_after is not None
    assert len(answers.times) == 1, "nothing was sent during the pause"
    await clock.advance(1.0)
    assert await upstream.call(get(f"{url}/bob"), by_status) == b"200"


async def test_a_pause_holds_for_those_too_who_were_already_waiting_for_their_turn(network: Network) -> None:
    answers = Answers(429, retry_after="60")
    url, upstream = await network.serve(answers), network.upstream(max_concurrency=1)
    results = await asyncio.gather(*(upstream.call(get(url), by_status) for _ in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == [ThrottledError] * 20
    assert len(answers.times) == 1


async def test_other_upstreams_do_not_keep_the_pause(network: Network) -> None:
    url = await network.serve(Answers(429, retry_after="60"))
    with pytest.raises(ThrottledError):
        await network.upstream().call(get(url), by_status)
    assert await network.upstream("other").call(get(url), by_status) == b"200"


@pytest.mark.parametrize("retry_after", ["9" * 8000, "Fri, 31 Dec 9999 23:59:59 GMT", "999999999"])
async def test_a_pause_of_years_is_cut_to_ten_minutes(network: Network, retry_after: str) -> None:
    answers, clock = Answers(429, retry_after=retry_after), FakeClock()
    url, upstream = await network.serve(answers), network.upstream(clock=clock, retries=2)
    with pytest.raises(ThrottledError):
        await upstream.call(get(url), by_status)
    await clock.advance(601)
    assert await upstream.call(get(url), by_status) == b"200"


@pytest.mark.parametrize("retry_after", ["-5", "soon", "", "1,5s", "Thu, 99 Jan 1970 00:00:10 GMT", None])
async def test_a_pause_of_nonsense_is_none(network: Network, retry_after: str | None) -> None:
    answers = Answers(429, retry_after=retry_after)
    assert await network.upstream(retries=1).call(get(await network.serve(answers)), by_status) == b"200"


ECHOES = [
    SECRET,
    f"token {SECRET} rejected",
    f"{SECRET}{SECRET}",
    f"{SECRET[:40]}",
    f"cut here: {SECRET[:-1]}",
    f"{SECRET[:20]} {SECRET}",
]


@pytest.mark.parametrize("text", ECHOES)
@pytest.mark.parametrize("statuses", [(400,), (500, 400), (500, 500)])
async def test_a_secret_that_an_upstream_repeats_is_in_no_error_whole_or_cut(
    network: Network, text: str, statuses: tuple[int, ...]
) -> None:
    """Quotations of answers are cut at some length: the beginning of a token says who its owner is."""

    def decode(response: Response) -> None:
        raise (RejectedError if response.status < 500 else ServerError)(text)

    url = await network.serve(Answers(*statuses))
    with pytest.raises(PollError) as error:
        await network.upstream(retries=1).call(
            get(url, headers={"token": SECRET}, secrets=("", SECRET, "short")), decode
        )
    assert "<secret>" in str(error.value)
    assert SECRET[:10] not in f"{error.value} {error.value!r}"
    assert SECRET[-10:] not in str(error.value)


async def test_text_without_a_secret_stays_as_it_is(network: Network) -> None:
    def decode(_: Response) -> None:
        raise RejectedError("an eye for an eye")

    with pytest.raises(RejectedError, match=r"^an eye for an eye$"):
        await network.upstream().call(get(await network.serve(Answers()), secrets=(SECRET,)), decode)


async def test_closing_lets_requests_in_flight_end_and_rejects_later_ones(network: Network) -> None:
    """A reload closes an old upstream while its polls still run."""
    all_there, there = asyncio.Event(), 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal there
        there += 1
        if there == 3:
            all_there.set()
        await all_there.wait()
        await asyncio.sleep(0.1)
        return web.Response(body=b"ok")

    url, upstream = await network.serve(slow), network.upstream(timeout=50, retries=2)
    calls = [asyncio.create_task(upstream.call(get(url), body_of)) for _ in range(3)]
    await all_there.wait()
    await asyncio.wait_for(upstream.close(), 100)
    assert await asyncio.gather(*calls) == [b"ok"] * 3
    with pytest.raises(UpstreamConnectionError, match="kunshan is no longer in use"):
        await upstream.call(get(url), body_of)
    assert network.counts.retries == 0
    await upstream.close()


async def test_closing_does_not_wait_for_ever(network: Network) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    url, upstream = await network.serve(trickle), network.upstream(timeout=0.3, max_concurrency=1, retries=3)
    calls = [asyncio.create_task(upstream.call(get(url), body_of)) for _ in range(10)]
    await asyncio.sleep(0.05)
    await asyncio.wait_for(upstream.close(), 100)
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 100)
    assert all(isinstance(result, PollError) for result in results)


async def test_a_pause_before_a_retry_ends_with_an_error_where_the_upstream_was_closed_meanwhile(
    network: Network,
) -> None:
    answers, clock = Answers(429, retry_after="20"), FakeClock()
    url, upstream = await network.serve(answers), network.upstream(clock=clock, retries=2)
    call = asyncio.create_task(upstream.call(get(url), by_status))
    while not clock.pending:  # noqa: ASYNC110 - the answer comes over a real socket
        await asyncio.sleep(0.01)
    await upstream.close()
    await clock.advance(21)
    with pytest.raises(UpstreamConnectionError, match="kunshan is no longer in use"):
        await call
    assert len(answers.times) == 1


@pytest.mark.parametrize("opened", [open_envelope, partial(read_page, row=QueueRow)], ids=["SCNet", "Octopus"])
@pytest.mark.parametrize(
    ("values", "pause"), [(["3.5"], 3.5), (["3", "7.5"], 7.5), (["7.5, 3"], 7.5), (["soon", "9.25, 1"], 9.25)]
)
async def test_both_vendors_honour_fractions_lists_and_several_headers(
    network: Network, opened: Callable[[Response], object], values: list[str], pause: float
) -> None:
    url = await network.answer(status=429, headers=CIMultiDict([("Retry-After", value) for value in values]))
    with pytest.raises(ThrottledError) as error:
        await network.upstream().call(get(url), opened)
    assert error.value.retry_after == pause
