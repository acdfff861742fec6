"""Requests to one upstream: timeouts, limits, retries and counts in one place; aiohttp's exceptions end here."""

import asyncio
import random
import re
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import Protocol, TypeVar

import aiohttp
import msgspec
import yarl
from aiohttp.client_proto import ResponseHandler
from aiolimiter import AsyncLimiter

from exporter.clock import Clock, SystemClock
from exporter.errors import (
    DecodeError,
    PollError,
    RejectedError,
    ThrottledError,
    TransientError,
    UnexpectedStatusError,
    UpstreamConnectionError,
)
from exporter.http.failures import AuthFailures, CircuitBreaker, RejectedTokens
from exporter.http.message import Request, Response, utf8_json
from exporter.http.names import Resolver
from exporter.http.translation import map_exception
from exporter.redaction import remember
from exporter.text import Text
from exporter.threads import off_loop

T = TypeVar("T")

# The head of an error after which the connection is closed, and its length.
_CLOSING_ERROR = re.compile(
    rb"HTTP/1\.[01] [45][^\r\n]*\r\n(?:[^\r\n]+\r\n)*?(?i:connection: *close)\r\n(?:[^\r\n]+\r\n)*?\r\n"
)
_CONTENT_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *([0-9]{1,9})\r\n")

# Of one header in an answer, in bytes.
HEADER_LIMIT = 64 * 1024
# Decoding this much takes about a millisecond; more is decoded in a thread.
DECODE_ON_LOOP_LIMIT = 256 * 1024
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 5.0
# The part of a request's time that its name look-up may take: less than all, so that the error names the name server.
LOOKUP_SHARE = 0.9
# Told to wait longer than this, a poll gives up and leaves it to the next one.
LONGEST_PAUSE_WITHIN_POLL = 30.0
# A Retry-After of days is a mistake of the upstream's; it must not silence a region until a restart.
LONGEST_PAUSE = 600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of the connection to one upstream; times in seconds, `max_body` in bytes after decompression.

    With `unix_socket`, the path of one, all requests go there, whatever the host in their URLs.
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


class Upstream:
    """One region or project. `slots` is the process-wide limit of requests in flight, shared by all upstreams."""

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
        # Held from the wait for the rate to the taking of a shared slot: permits must not pile up while slots are taken.
        self._rate_lock = asyncio.Lock()
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
        """Let requests in flight end, for as long as one may take, and close the connections.

        Calls fail from then on.
        """
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
        """Send `request` until `decode` accepts an answer or nothing transient is left to wait for.

        Raises PollError: those of the transport, and those that `decode` raises.
        """
        # Before any of them is sent: an upstream may repeat what it does not accept.
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
        try:
            return await off_loop(len(response.body), DECODE_ON_LOOP_LIMIT, lambda: decode(readable(response)))
        except PollError as error:
            if error.api_code is not None:
                self._observer.api_error(self.name, request.collector, error.api_code)
            if isinstance(error, ThrottledError) and error.retry_after is not None:
                pause = min(error.retry_after, LONGEST_PAUSE)
                self._paused_until = max(self._paused_until, self._clock.monotonic() + pause)
            raise

    async def _send(self, request: Request) -> Response:
        """Wait for the right to send (while the circuit is open the probe of another, slots, rate), then send once."""
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
        """Pause all requests, as one was told to: the limit is the account's, not the target's."""
        if self._closed:
            raise ClosedUpstreamError(Text(f"{self.name} is no longer in use", f"{self.name} 已不再使用"))
        if self._paused_until and (remaining := self._paused_until - self._clock.monotonic()) > 0:
            text = Text(
                f"rate limited: {self.name} requested a pause, {remaining:.0f} s of it left",
                f"被限流：{self.name} 要求暂停请求，还剩 {remaining:.0f} 秒",
            )
            raise ThrottledError(text, retry_after=remaining)

    async def _exchange(self, request: Request, url: yarl.URL, breaker: CircuitBreaker) -> Response:
        """Send once and read the whole answer, which is counted by its status, or as `none` if there was none."""
        code: int | None = None
        try:
            async with self._open_session().request(
                request.method,
                url,
                headers=request.headers,
                data=request.data,
                # A token must never travel to another host.
                allow_redirects=False,
            ) as answer:
                code = answer.status
                raise_for_redirect(answer)
                body = await read_limited(answer, self._settings.max_body)
        except PollError:
            breaker.record_success()
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            host = self._settings.unix_socket or host_of(url)
            failure = map_exception(error, host, self._settings.timeout)
            # A request that could not be sent says nothing about the host.
            if not isinstance(failure, RejectedError):
                breaker.record_failure()
            raise failure from None
        finally:
            self._observer.request(self.name, request.collector, code)
        breaker.record_success()
        return Response(code, body, answer.headers, self._clock.now())

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = self._settings.timeout
            self._session = aiohttp.ClientSession(
                connector=self._made_connector(timeout),
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(sent_once,),
                # IAM answers with its token in a header; one of 9 KiB is in the service's own sample.
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


class FirstAnswer(ResponseHandler):
    """Reads an error that a server sends twice, and closes the connection after, as one answer.

    slurmrestd of Slurm 26.05 does that: without the second one aiohttp reads it, with it nothing is left of the first.
    """

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.") and (head := _CLOSING_ERROR.match(data)):
            length = _CONTENT_LENGTH.search(head[0])
            data = data if length is None else data[: head.end() + int(length[1])]
        super().data_received(data)


def readable(response: Response) -> Response:
    """Return the answer with its body as JSON in UTF-8."""
    body = utf8_json(response.body, response.headers)
    return response if body is response.body else msgspec.structs.replace(response, body=body)


@lru_cache(maxsize=32_768)
def parsed(url: str) -> yarl.URL:
    """Return the URL as it is, percent-encoding included; RejectedError if it is none of HTTP.

    Cached, because every target asks for its URL again and again: 3 us of a poll, for 1 KiB of memory a target.
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
    """Host and port of a URL, as people write it; nothing of a user's name and password in it."""
    return url.host_port_subcomponent or ""


def raise_for_redirect(answer: aiohttp.ClientResponse) -> None:
    if answer.status in range(300, 400):
        # Without the query, which may hold a token.
        target = re.split("[?#]", answer.headers.get("Location", "nowhere"), maxsplit=1)[0][:200]
        raise UnexpectedStatusError(
            Text(
                f"HTTP {answer.status}, a redirect to {target!a}: not followed, because the token must not travel to "
                "another place; is the address in the configuration the final one?",
                f"HTTP {answer.status}，重定向到 {target!a}：令牌不能发送到别处，因此没有跟随；请检查配置中的地址是否为最终地址",
            )
        )


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


async def read_limited(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """Return the body, up to `limit` bytes after decompression; DecodeError if it is longer."""
    parts: list[bytes] = []
    size = 0
    # Nearly always it came in one piece together with its end, and there is no further one to wait for.
    while not answer.content.at_eof():
        part = await answer.content.readany()
        size += len(part)
        if size > limit:
            raise DecodeError(
                Text(
                    f"the answer is longer than poll.max_body allows, which is {in_units(limit)}",
                    f"响应超过 poll.max_body 的上限 {in_units(limit)}",
                )
            )
        parts.append(part)
    return b"".join(parts)


def in_units(size: int) -> str:
    """Return a number of bytes for people, to three digits."""
    for unit, of_unit in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size >= of_unit:
            return f"{size / of_unit:.3g} {unit}"
    return f"{size} bytes"
