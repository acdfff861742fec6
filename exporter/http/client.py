"""Requests to one upstream: timeouts, limits, retries, circuit breaker and counts. No exception of aiohttp leaves it."""

import asyncio
import math
import random
import re
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import Protocol, TypeVar

import aiohttp
import yarl
from aiohttp.client_proto import ResponseHandler
from aiolimiter import AsyncLimiter

from exporter.clock import Clock, SystemClock
from exporter.errors import (
    AuthenticationError,
    PollError,
    RejectedError,
    ThrottledError,
    TransientError,
    UpstreamConnectionError,
)
from exporter.http.message import Request, Response, readable
from exporter.http.names import Resolver
from exporter.http.translation import CONNECT_SHARE, map_exception, redirected, too_long
from exporter.redaction import remember
from exporter.text import Text

T = TypeVar("T")

# The head of an error after which the connection is closed, and its length.
_CLOSING_ERROR = re.compile(
    rb"HTTP/1\.[01] [45][^\r\n]*\r\n(?:[^\r\n]+\r\n)*?(?i:connection: *close)\r\n(?:[^\r\n]+\r\n)*?\r\n"
)
_CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]{1,9})\r\n")

# Bytes of one header in an answer.
HEADER_LIMIT = 64 * 1024
# Decoding this much takes about a millisecond; more is decoded in a thread.
DECODE_ON_LOOP_LIMIT = 256 * 1024
# Of the answers of an upstream that are longer than this many bytes, only one at a time is read.
LONG_ANSWER = 4 * 1024**2
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 5.0
# Share of the request timeout for the name look-up: less than CONNECT_SHARE, so that the error names the name server.
LOOKUP_SHARE = 0.8
# Seconds: a poll that would have to wait longer for a retry fails instead.
LONGEST_PAUSE_WITHIN_POLL = 30.0
# Seconds: a Retry-After of days is a mistake, and must not silence a region until a restart.
LONGEST_PAUSE = 600.0
# Consecutive unanswered requests that open the circuit: more than one slow target causes with its retries.
FAILURE_LIMIT = 8
# Seconds by which the event loop is late only where the machine was suspended, or is busy with other things.
LOOP_DELAY = 1.0
# Seconds without a further login after a fresh token was rejected as well: see `AuthFailures`.
FIRST_TTL, NEGATIVE_CACHE_TTL = 15.0, 600.0
# Appended to the error of a target that shares the result of another target's request.
NOT_REPEATED = Text(" (not requested again for this target)", "（没有为此目标重复请求）")


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the connection to one upstream; times in seconds, `max_body` in bytes after decompression.

    `unix_socket` is the path of a socket to which all requests are sent, whatever the host in their URLs.
    """

    name: str
    timeout: float = 15.0
    retries: int = 2
    max_concurrency: int = 16
    requests_per_second: float | None = None
    max_body: int = 64 * 1024**2
    unix_socket: str = ""


ResponseHook = Callable[[Request, Response], None]
_response_hook: ContextVar[ResponseHook | None] = ContextVar("response_hook", default=None)


@contextmanager
def on_response(hook: ResponseHook) -> Iterator[None]:
    """Call `hook` with each request, and the response to it, made within the block by this task, however deep below."""
    token = _response_hook.set(hook)
    try:
        yield
    finally:
        _response_hook.reset(token)


class ClosedUpstreamError(UpstreamConnectionError):
    """The connections were closed, as after a reload."""


class RequestObserver(Protocol):
    """Receives what is counted here; `code` is the HTTP status, None where there was no response."""

    def request(self, source: str, collector: str, code: int | None) -> None: ...
    def api_error(self, source: str, collector: str, api_code: str) -> None: ...
    def retry(self, source: str, collector: str) -> None: ...


class Unobserved:
    """An observer of requests and tokens that counts nothing."""

    def request(self, source: str, collector: str, code: int | None) -> None: ...
    def api_error(self, source: str, collector: str, api_code: str) -> None: ...
    def retry(self, source: str, collector: str) -> None: ...
    def token_refresh(self, source: str, ok: bool) -> None: ...
    def token_expiry(self, source: str, user: str, seconds: float | None) -> None: ...


UNOBSERVED = Unobserved()


class CircuitBreaker:
    """Opens after some requests in a row to one host without any answer.

    Thousands of targets can share one region. When its host hangs, each of their polls would hold one of the few
    request slots until its timeout, and healthy regions would wait behind them. While the circuit is open, one request
    at a time goes out as a probe; every poll that is due meanwhile waits for that probe and shares its result instead
    of sending a request of its own. Any answer, even an error, closes the circuit.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._probe: asyncio.Future[PollError | None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the host is considered dead."""
        return self._failures >= FAILURE_LIMIT

    @property
    def half_open(self) -> bool:
        """Whether the circuit is open and a probe is under way."""
        return self._probe is not None and self.is_open

    def record_success(self) -> None:
        """Note an answer of any kind."""
        self._failures = 0

    def record_failure(self) -> None:
        """Note that a request ended without an answer."""
        self._failures += 1

    async def wait_for_probe(self) -> None:
        """Return when the caller may send its request.

        Raises the error of another caller's probe that failed meanwhile.
        """
        while self.half_open and (probe := self._probe) is not None:
            error = await asyncio.shield(probe)
            # An error that is an answer (a redirect, say) closed the circuit: then every caller may send.
            if error is not None and self.is_open:
                raise error.again(Text(f"{error}{NOT_REPEATED.en}", f"{error.text.zh}{NOT_REPEATED.zh}"))

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Make the enclosed request the probe that others wait for, if the circuit is open and there is none yet."""
        if not self.is_open or self._probe is not None:
            yield
            return
        probe = self._probe = asyncio.get_running_loop().create_future()
        result: PollError | None = None
        try:
            yield
        except PollError as error:
            result = error
            raise
        finally:
            self._probe = None
            probe.set_result(result)


class RejectedTokenError(AuthenticationError):
    """The token was rejected elsewhere while the request waited its turn; it was not sent."""


class RejectedTokens:
    """The tokens rejected last, which are being replaced: queued requests with one of them are not sent."""

    def __init__(self) -> None:
        self._tokens: deque[str] = deque(maxlen=16)

    def add(self, token: str) -> None:
        self._tokens.append(token)

    def discard(self, token: str) -> None:
        """Allow a token again: there is no other, or its source still gives it out."""
        self._tokens = deque((each for each in self._tokens if each != token), maxlen=self._tokens.maxlen)

    def raise_if_any(self, secrets: Iterable[str]) -> None:
        """Raise RejectedTokenError if a request carries one of them."""
        if self._tokens and any(secret in self._tokens for secret in secrets):
            raise RejectedTokenError(
                Text("the token was rejected while the request waited its turn", "令牌在请求排队期间被拒绝，请求未发送")
            )


class AuthFailures:
    """Tells expired tokens from requests without permission, so that the latter cause few logins.

    A token that was accepted for the same request before has expired. Otherwise, once a fresh token was rejected as
    well, rejections are final for a while: for NEGATIVE_CACHE_TTL if other requests are answered with the token, else
    for a time that doubles with each rejected fresh token. So any number of rejected requests cause no more logins than one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accepted: dict[str, str] = {}
        self._in_vain = 0
        self._since = -math.inf

    def record_success(self, url: str, token: str) -> None:
        """Note that `url` was answered with `token`."""
        self._accepted[url] = token
        self._in_vain = 0

    def record_failure(self) -> None:
        """Note that a fresh token was rejected, too."""
        self._in_vain += 1
        self._since = self._clock.monotonic()

    def is_final(self, url: str, token: str) -> bool:
        """Whether a rejection of `url` with `token` is final: another login would not help."""
        if self._accepted.get(url) == token:
            return False
        growing = min(FIRST_TTL * 2.0 ** min(self._in_vain, 10), NEGATIVE_CACHE_TTL)
        ttl = NEGATIVE_CACHE_TTL if token in self._accepted.values() else growing
        return self._clock.monotonic() < self._since + ttl


class Upstream:
    """The client of one region or project. `slots` limits the requests in flight of all upstreams together."""

    def __init__(
        self,
        settings: Settings,
        *,
        slots: asyncio.Semaphore,
        observer: RequestObserver = UNOBSERVED,
        clock: Clock = SystemClock(),  # noqa: B008 - it has no state
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self.name = settings.name
        self.auth_failures = AuthFailures(clock)
        self.rejected_tokens = RejectedTokens()
        self._settings = settings
        self._global_limit = slots
        self._own_slots = asyncio.Semaphore(settings.max_concurrency)
        # Held from the wait for the rate limit until a shared slot is acquired: permits must not pile up meanwhile.
        self._rate_lock = asyncio.Lock()
        self._one_long = asyncio.Lock()
        self._observer = observer
        self._clock = clock
        self._tls = tls
        self._breakers: defaultdict[str, CircuitBreaker] = defaultdict(CircuitBreaker)
        self._paused_until = 0.0
        rate = settings.requests_per_second
        # One request per 1/rate seconds: a bucket of `rate` per second would let twice as many pass in its first one.
        self._rate = AsyncLimiter(1, 1 / rate) if rate else None
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def close(self) -> None:
        """Wait for requests in flight, for one request timeout at most, and close the connections. Further calls fail."""
        taken = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout):
                # With every slot acquired, nothing is in flight.
                while taken < self._settings.max_concurrency:
                    await self._own_slots.acquire()
                    taken += 1
        self._closed = True
        for _ in range(taken):
            self._own_slots.release()
        if self._session is not None:
            await self._session.close()

    async def call(self, request: Request, decode: Callable[[Response], T]) -> T:
        """Send `request`, again after transient failures, and return the answer as `decode` reads it.

        Raises PollError: those of the transport, and those that `decode` raises.
        """
        # Before any of them is sent: an upstream may quote them in an error.
        remember(request.secrets)
        for retry in count():
            if retry:
                self._observer.retry(self.name, request.collector)
            try:
                return await self._attempt(request, decode)
            except PollError as error:
                pause = self._pause_before_retry(request, error, retry)
                if pause is None:
                    raise
            await self._clock.sleep(pause)
        raise AssertionError  # pragma: no cover - the loop ends by return or raise only

    def _pause_before_retry(self, request: Request, error: PollError, retries: int) -> float | None:
        """Seconds to wait before the next attempt, after `retries` of them; None to give up."""
        if not isinstance(error, TransientError) or not request.repeatable or retries >= self._settings.retries:
            return None
        if self._closed or self._breakers[host_of(parsed(request.url))].is_open:
            return None
        if error.retry_after is None:
            return min(FIRST_BACKOFF * 2.0**retries + random.uniform(0, FIRST_BACKOFF), LONGEST_BACKOFF)  # noqa: S311 - spreads load, hides nothing
        # A little more than requested: clocks round, and many polls wait for the same moment.
        pause = error.retry_after + random.uniform(0.05, 0.5)  # noqa: S311 - the same
        return pause if pause <= LONGEST_PAUSE_WITHIN_POLL else None

    async def _attempt(self, request: Request, decode: Callable[[Response], T]) -> T:
        response = await self._send(request)
        if (hook := _response_hook.get()) is not None:
            hook(request, response)

        def read() -> T:
            return decode(readable(response))

        try:
            # `off_loop` would take one more coroutine for each poll.
            return await asyncio.to_thread(read) if len(response.body) > DECODE_ON_LOOP_LIMIT else read()
        except PollError as error:
            if error.api_code is not None:
                self._observer.api_error(self.name, request.collector, error.api_code)
            if isinstance(error, ThrottledError) and error.retry_after is not None:
                pause = min(error.retry_after, LONGEST_PAUSE)
                self._paused_until = max(self._paused_until, self._clock.monotonic() + pause)
            raise

    async def _send(self, request: Request) -> Response:
        """Wait for the probe of an open circuit, for a slot and the rate limit; then send once."""
        url = parsed(request.url)
        breaker = self._breakers[host_of(url)]
        while True:
            if breaker.half_open:
                await breaker.wait_for_probe()
            self._raise_if_paused()
            async with self._own_slots:
                waits = breaker.half_open or self._rate or self._rate_lock.locked() or self._global_limit.locked()
                if not waits:
                    # Nearly always: then no other request is waiting.
                    await self._global_limit.acquire()
                else:
                    async with self._rate_lock:
                        if breaker.half_open:
                            continue
                        if self._rate is not None:
                            await self._rate.acquire()
                        await self._global_limit.acquire()
                try:
                    self._raise_if_paused()
                    self.rejected_tokens.raise_if_any(request.secrets)
                    if not breaker.is_open:
                        return await self._exchange(request, url, breaker)
                    with breaker.probing():
                        return await self._exchange(request, url, breaker)
                finally:
                    self._global_limit.release()

    def _raise_if_paused(self) -> None:
        """Raise ThrottledError during a pause that the upstream requested: its limit is the account's, not the target's."""
        if self._closed:
            raise ClosedUpstreamError(Text(f"{self.name} is no longer in use", f"{self.name} 已不再使用"))
        if self._paused_until and (remaining := self._paused_until - self._clock.monotonic()) > 0:
            text = Text(
                f"rate limited: {self.name} requested a pause, {remaining:.0f} s of it left",
                f"被限流：{self.name} 要求暂停请求，还剩 {remaining:.0f} 秒",
            )
            raise ThrottledError(text, retry_after=remaining)

    async def _exchange(self, request: Request, url: yarl.URL, breaker: CircuitBreaker) -> Response:
        """Send once and read the whole answer. Counts the request by the status, `none` without an answer."""
        code: int | None = None
        # Not aiohttp's, which swallows a cancellation at the moment it expires: the poll would not end.
        limit = asyncio.timeout(self._settings.timeout)
        try:
            async with (
                limit,
                self._open_session().request(
                    request.method,
                    url,
                    headers=request.headers,
                    data=request.data,
                    # A token must never travel to another host.
                    allow_redirects=False,
                ) as answer,
            ):
                code = answer.status
                if code in range(300, 400):
                    raise redirected(answer)
                body = await read_limited(answer, self._settings.max_body, self._one_long)
        except PollError:
            breaker.record_success()
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            host = self._settings.unix_socket or host_of(url)
            failure = map_exception(error, host, self._settings.timeout)
            # A request that could not be sent says nothing about the host, nor does one during which this process paused.
            if not isinstance(failure, RejectedError) and not noticed_late(limit):
                breaker.record_failure()
            # aiohttp keeps the error, whose traceback refers to the answer: only a full collection would free that cycle.
            error.__traceback__ = error.__context__ = error.__cause__ = None
            try:
                raise failure from None
            finally:
                del failure
        finally:
            self._observer.request(self.name, request.collector, code)
        breaker.record_success()
        return Response(code, body, answer.headers, self._clock.now())

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = self._settings.timeout
            self._session = aiohttp.ClientSession(
                connector=self._made_connector(timeout),
                # Not rounded up, so that the connection times out before the request does.
                timeout=aiohttp.ClientTimeout(None, CONNECT_SHARE * timeout, ceil_threshold=math.inf),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(sent_once,),
                # IAM sends its token in a header; the one in its documentation has 9 KiB.
                max_field_size=HEADER_LIMIT,
                headers={"User-Agent": "hpc-exporter", "Accept": "application/json"},
            )
        return self._session

    def _made_connector(self, timeout: float) -> aiohttp.BaseConnector:
        # Our semaphores limit; a second limit in the connector would time out requests that only waited.
        connector: aiohttp.BaseConnector
        if self._settings.unix_socket:
            connector = aiohttp.UnixConnector(self._settings.unix_socket, limit=0)
        else:
            connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, resolver=Resolver(LOOKUP_SHARE * timeout))
        # aiohttp has no other way to choose it.
        connector._factory = partial(FirstAnswer, loop=asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
        return connector


def noticed_late(limit: asyncio.Timeout) -> bool:
    """Whether the event loop could not run when a limit of time was reached: all requests in flight then fail."""
    reached = limit.when()
    return reached is not None and asyncio.get_running_loop().time() > reached + LOOP_DELAY


class FirstAnswer(ResponseHandler):
    """Drops the second copy of an error that a server sends twice before it closes the connection.

    slurmrestd of Slurm 26.05 does that, and aiohttp would read neither copy.
    """

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.") and (head := _CLOSING_ERROR.match(data)):
            length = _CONTENT_LENGTH.search(head[0])
            data = data if length is None else data[: head.end() + int(length[1])]
        super().data_received(data)


@lru_cache(maxsize=32_768)
def parsed(url: str) -> yarl.URL:
    """Return the URL with its percent-encoding unchanged. Raises RejectedError if it is not one of HTTP.

    Cached: it would take 3 us of every poll, and takes 1 KiB of memory a target.
    """
    try:
        result = yarl.URL(url, encoded=True)
        usable = result.scheme in ("http", "https") and result.host and result.port
    except ValueError:
        usable = False
    if not usable:
        # Not shown: a password may be in it.
        raise RejectedError(
            Text("the request cannot be sent: its address is not a URL of HTTP", "请求无法发送：地址不是 HTTP 的 URL")
        )
    return result


def host_of(url: yarl.URL) -> str:
    """Return host and port of a URL, without a user's name and password."""
    return url.host_port_subcomponent or ""


async def sent_once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET or DELETE by itself when the host hangs up.

    That request would not be counted and would exceed the rate limit, and a DELETE must not be repeated at all.
    """
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionResetError(str(error)) from None


async def read_limited(answer: aiohttp.ClientResponse, limit: int, one_long: asyncio.Lock) -> bytes:
    """Return the body, up to `limit` bytes after decompression; DecodeError if it is longer.

    The rest of a long one is read under a lock: sixteen answers of 64 MiB at a time would take 1 GiB.
    """
    body = bytearray()  # a list of its parts would fragment the heap
    locked = False
    try:
        # Nearly always all of it has arrived in one piece.
        while not answer.content.at_eof():
            body += await answer.content.readany()
            if len(body) > limit:
                raise too_long(limit)
            if len(body) > LONG_ANSWER and not locked:
                locked = await one_long.acquire()
        return bytes(body)
    finally:
        # Tracebacks of aiohttp's errors, which are part of cycles, would keep it until the next full collection.
        body.clear()
        if locked:
            one_long.release()
