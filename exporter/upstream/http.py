"""Requests to one upstream: timeouts, limits, retries and counts in one place; aiohttp's exceptions end here."""

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeVar

import aiohttp
import stamina
import stamina.instrumentation
import yarl
from aiolimiter import AsyncLimiter

from exporter.clock import Clock
from exporter.errors import (
    DecodeError,
    PollError,
    ThrottledError,
    TransientError,
    UnexpectedStatusError,
    UntrustedCertificateError,
    UpstreamConnectionError,
    UpstreamTimeoutError,
)
from exporter.upstream.outage import Outage

T = TypeVar("T")

# A region's whole job list is a few MiB; what is larger is not an answer but an accident.
BODY_LIMIT = 16 * 1024 * 1024
# Decoding this much takes about a millisecond; more is decoded in a thread.
DECODE_ON_LOOP_LIMIT = 256 * 1024
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 5.0
# Told to wait longer than this, a poll gives up and leaves it to the next one.
LONGEST_PAUSE_WITHIN_POLL = 30.0
# A Retry-After of days is a mistake of the upstream's; it must not silence a region until somebody restarts us.
LONGEST_PAUSE = 600.0

# stamina logs every retry through structlog by itself; we count them, and speak on the edge only.
stamina.instrumentation.set_on_retry_hooks([])


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. `url` is complete and already percent-encoded; `secrets` are taken out of every error's text."""

    endpoint: str
    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    data: bytes | None = field(default=None, repr=False)
    # A call that changes something is never repeated by itself: its answer may be lost after it worked.
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer; `received` is the unix time at which it was there."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    received: float


@dataclass(frozen=True, slots=True)
class Settings:
    """How to talk to one upstream; times in seconds."""

    name: str
    timeout: float = 15.0
    retries: int = 2
    max_concurrency: int = 16
    requests_per_second: float | None = None


class RequestObserver(Protocol):
    """Who counts what passes here."""

    def request(self, source: str, endpoint: str, code: int | None) -> None: ...
    def api_error(self, source: str, endpoint: str, api_code: str) -> None: ...
    def retry(self, source: str, endpoint: str) -> None: ...


class Upstream:
    """One region or project. `slots` is the process-wide limit of requests in flight, shared by all upstreams."""

    def __init__(
        self,
        settings: Settings,
        *,
        slots: asyncio.Semaphore,
        observer: RequestObserver,
        clock: Clock,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self.name = settings.name
        self._settings = settings
        self._slots = slots
        self._own_slots = asyncio.Semaphore(settings.max_concurrency)
        self._observer = observer
        self._clock = clock
        self._tls = tls
        self._outages: dict[str, Outage] = {}
        self._paused_until = 0.0
        rate = settings.requests_per_second
        # One request per 1/rate seconds: a bucket of `rate` per second would let twice as many pass in its first one.
        self._rate = AsyncLimiter(1, 1 / rate) if rate else None
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections. The upstream can be used again afterwards."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, request: Request, decode: Callable[[Response], T]) -> T:
        """Send `request` until `decode` accepts an answer or nothing transient is left to wait for.

        Raises PollError: those of the transport, and those that `decode` raises.
        """
        attempts = self._settings.retries + 1 if request.repeatable else 1
        async for attempt in stamina.retry_context(
            on=self._backoff(request),
            attempts=attempts,
            timeout=None,
            wait_initial=FIRST_BACKOFF,
            wait_max=LONGEST_BACKOFF,
            wait_jitter=FIRST_BACKOFF,
        ):
            with attempt, hidden(request.secrets):
                if attempt.num > 1:
                    self._observer.retry(self.name, request.endpoint)
                return await self._attempt(request, decode)
        raise AssertionError  # pragma: no cover - stamina returns or raises

    def _backoff(self, request: Request) -> Callable[[Exception], bool | float]:
        """Stamina's hook: whether to try again after an error, or the pause that the upstream asked for."""

        def decide(error: Exception) -> bool | float:
            if not isinstance(error, TransientError) or self._outage(request).ongoing:
                return False
            if error.retry_after is None:
                return True
            # A little more than told: clocks round, and many polls wait for the same moment.
            pause = error.retry_after + random.uniform(0.05, 0.5)  # noqa: S311 - spreads load, hides nothing
            return pause if pause <= LONGEST_PAUSE_WITHIN_POLL else False

        return decide

    async def _attempt(self, request: Request, decode: Callable[[Response], T]) -> T:
        self._raise_if_paused()
        response = await self._send(request)
        try:
            if len(response.body) > DECODE_ON_LOOP_LIMIT:
                return await asyncio.to_thread(decode, response)
            return decode(response)
        except PollError as error:
            if error.api_code is not None:
                self._observer.api_error(self.name, request.endpoint, error.api_code)
            if isinstance(error, ThrottledError) and error.retry_after is not None:
                pause = min(error.retry_after, LONGEST_PAUSE)
                self._paused_until = max(self._paused_until, self._clock.monotonic() + pause)
            raise

    async def _send(self, request: Request) -> Response:
        """Wait for the right to send (rate, slots, and during an outage the probe of another), then send once."""
        outage = self._outage(request)
        while True:
            await outage.wait_for_probe()
            if self._rate is not None:
                await self._rate.acquire()
            async with self._own_slots, self._slots:
                if not outage.being_probed:
                    with outage.probing():
                        return await self._exchange(request, outage)

    def _raise_if_paused(self) -> None:
        """Everybody keeps the pause that one request was told to make: the limit is the account's, not the target's."""
        remaining = self._paused_until - self._clock.monotonic()
        if remaining > 0:
            raise ThrottledError(f"{self.name} asked for a pause, {remaining:.0f} s of it left", retry_after=remaining)

    def _outage(self, request: Request) -> Outage:
        return self._outages.setdefault(host_of(request.url), Outage())

    async def _exchange(self, request: Request, outage: Outage) -> Response:
        """Send once and read the whole answer, which is counted by its status, or as `none` if there was none."""
        code: int | None = None
        try:
            session = self._open_session()
            async with session.request(
                request.method,
                yarl.URL(request.url, encoded=True),
                headers=request.headers,
                data=request.data,
                # A token must never travel to another host.
                allow_redirects=False,
            ) as answer:
                code = answer.status
                outage.answered()
                if answer.status in range(300, 400):
                    raise UnexpectedStatusError(
                        f"HTTP {answer.status}, a redirect to {redirect_target(answer)}: not followed, because the token "
                        "must not travel to another place; is the address in the configuration the final one?"
                    )
                body = await read_limited(answer)
                return Response(answer.status, body, answer.headers, self._clock.now())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if code is None:
                outage.unanswered()
            raise_translated(error, host_of(request.url), self._settings.timeout)
        finally:
            self._observer.request(self.name, request.endpoint, code)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = self._settings.timeout
            self._session = aiohttp.ClientSession(
                # Our semaphores limit; a second limit in the connector would time out requests that only waited.
                connector=aiohttp.TCPConnector(limit=0, ssl=self._tls),
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "hpc-exporter", "Accept": "application/json"},
            )
        return self._session


def host_of(url: str) -> str:
    """Host and port of a URL, as people write it."""
    return yarl.URL(url, encoded=True).authority


def redirect_target(answer: aiohttp.ClientResponse) -> str:
    """Where a redirect leads, without the query, which may hold a token."""
    location = answer.headers.get("Location", "")
    return location.partition("?")[0][:200] or "nowhere"


async def read_limited(answer: aiohttp.ClientResponse) -> bytes:
    """The body, up to BODY_LIMIT after decompression; DecodeError if it is longer."""
    parts: list[bytes] = []
    size = 0
    async for part in answer.content.iter_any():
        size += len(part)
        if size > BODY_LIMIT:
            raise DecodeError(f"the answer is longer than {BODY_LIMIT // 1024**2} MiB")
        parts.append(part)
    return b"".join(parts)


def raise_translated(error: Exception, host: str, timeout: float) -> NoReturn:
    """Raise the PollError that says what `error`, an exception of aiohttp or the system, means for a person."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            raise UntrustedCertificateError(
                f"the TLS certificate of {host} was not accepted ({tls_reason(error)}); "
                "give the region's own CA with tls.ca_file",
                culprit=host,
            ) from None
        case TimeoutError():
            raise UpstreamTimeoutError(f"no complete answer from {host} within {timeout:g} s", culprit=host) from None
        case aiohttp.ClientConnectorDNSError():
            raise UpstreamConnectionError(f"the name of {host} cannot be resolved", culprit=host) from None
        case aiohttp.ClientConnectorError():
            raise UpstreamConnectionError(f"cannot connect to {host}: {os_reason(error)}", culprit=host) from None
        case aiohttp.ClientPayloadError():
            raise UpstreamConnectionError(f"{host} hung up in the middle of its answer", culprit=host) from None
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            raise UpstreamConnectionError(f"{host} hung up without an answer", culprit=host) from None
        case aiohttp.ClientResponseError():
            raise DecodeError(f"the answer of {host} is not HTTP", culprit=host) from None
        case _:
            # The text of an unexpected exception may hold a header's value; its type never does.
            raise UpstreamConnectionError(
                f"the request to {host} failed: {type(error).__name__}", culprit=host
            ) from None


def tls_reason(error: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    return str(getattr(cause, "verify_message", None) or getattr(cause, "reason", None) or type(cause).__name__)


def os_reason(error: aiohttp.ClientConnectorError) -> str:
    return error.os_error.strerror or type(error.os_error).__name__


@contextmanager
def hidden(secrets: tuple[str, ...]) -> Iterator[None]:
    """Take `secrets` out of an error's text: an upstream may repeat the token that it refuses."""
    try:
        yield
    except PollError as error:
        text = str(error)
        for secret in filter(None, secrets):
            text = text.replace(secret, "<hidden>")
        error.args = (text,)
        raise
