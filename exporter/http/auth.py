"""Requests that carry a token, and the second attempt with another one."""

import math
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from exporter.clock import Clock
from exporter.errors import AuthenticationError, PermissionDeniedError, PollError
from exporter.http.client import NEGATIVE_CACHE_TTL, RejectedTokenError, Upstream
from exporter.http.message import Request, Response
from exporter.http.tokens import Issued, TokenSource
from exporter.text import Text

T = TypeVar("T")


class TokenProvider(Protocol):
    """Gives the token of one credential."""

    @property
    def origin(self) -> str:
        """The origin of the token, for messages."""
        ...

    async def current(self) -> str:
        """Return the token to use now. Raises AuthenticationError or TransientError where there is none to be had."""
        ...

    async def replace(self, rejected: str) -> str | None:
        """Return a token other than the `rejected` one, or None where there is no other."""
        ...


class SecretText(Protocol):
    """A secret that may change at any time."""

    @property
    def origin(self) -> str: ...
    def value(self) -> str: ...


class StaticToken:
    """A token from the configuration: there is no other unless its file changes. A TokenProvider."""

    def __init__(self, secret: SecretText, read: Callable[[str], Issued] = Issued) -> None:
        self._secret = secret
        self._read = read

    @property
    def origin(self) -> str:
        return self._secret.origin

    @property
    def issued(self) -> Issued:
        """The token as it is now, and what it says of itself."""
        return self._read(self._secret.value())

    async def current(self) -> str:
        return self._secret.value()

    async def replace(self, rejected: str) -> str | None:
        value = self._secret.value()
        return value if value != rejected else None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that is requested with a token, in `header` after `scheme`; an empty token is not sent.

    `headers` are further ones. Requests are counted under `collector`. They are GET, or POST with a `json_body`.
    """

    upstream: Upstream
    tokens: TokenProvider
    collector: str
    url: str
    header: str = "token"
    scheme: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    json_body: Mapping[str, Any] | None = None

    def get(self, decode: Callable[[Response], T]) -> Coroutine[Any, Any, T]:
        """Send a request with the current token; if that is rejected, once more with another.

        Raises the PollErrors of `Upstream.call` and of `decode`; AuthenticationError where the only token was rejected,
        PermissionDeniedError where a second one was rejected as well, now or lately.
        """
        if isinstance(self.tokens, EitherToken):
            return self.tokens.get(self, decode)
        return self.get_with(self.tokens, decode)

    async def get_with(self, tokens: TokenProvider, decode: Callable[[Response], T], *, replaceable: bool = True) -> T:
        """As `get`, with these tokens; another one is tried where they are `replaceable`."""
        upstream, read, replaced = self.upstream, partial(decode_unless_unusable, decode), False
        try:
            token = await tokens.current()
            while True:
                request = self.request(token)
                try:
                    answer = await upstream.call(request, read)
                except RejectedTokenError:
                    token = await wait_for_refresh(upstream, tokens, token, replaceable=replaceable)
                except AuthenticationError as error:
                    if replaced:
                        upstream.auth_failures.record_failure()
                    if replaced or upstream.auth_failures.is_final(request.url, token):
                        raise denied(error) from None
                    fresh = await refresh(upstream, tokens, token) if replaceable else None
                    if fresh is None:
                        raise
                    token, replaced = fresh, True
                else:
                    upstream.auth_failures.record_success(request.url, token)
                    return answer
        except AuthenticationError as error:
            # All polls with this credential fail together.
            error.culprit = tokens.origin
            raise

    def request(self, token: str) -> Request:
        headers = {**self.headers, self.header: self.scheme + token} if token else dict(self.headers)
        secrets = (token,) if token else ()
        if self.json_body is None:
            return Request(self.collector, self.url, headers=headers, secrets=secrets)
        headers["Content-Type"] = "application/json"
        data = msgspec.json.encode(self.json_body)
        return Request(self.collector, self.url, "POST", headers, secrets, data)


class EitherToken:
    """Two tokens of one login, of which requests accept only one: found by trying.

    As a TokenProvider it gives the one that was accepted last. Until one was, the other token is tried before a new
    login; later, after it. A request for which both were rejected is not tried with both again for NEGATIVE_CACHE_TTL.
    Without the `first` token nothing is sent.
    """

    def __init__(self, first: TokenSource, second: TokenSource, clock: Clock) -> None:
        self._first, self._second = first, second
        # The one that was accepted last, once one was.
        self._accepted: TokenSource | None = None
        self._in_vain: dict[str, float] = {}
        self._clock = clock

    @property
    def origin(self) -> str:
        return self._first.origin

    async def current(self) -> str:
        return await (self._accepted or self._first).current()

    async def replace(self, rejected: str) -> str | None:
        return await (self._accepted or self._first).replace(rejected)

    def reset(self) -> None:
        """Forget which requests no token helped: there is a new credential."""
        self._in_vain.clear()

    async def get(self, endpoint: Endpoint, decode: Callable[[Response], T]) -> T:
        """As `Endpoint.get`, with each of the two. Raises the error of the likelier one."""
        # Raises if the account cannot log in, or is disabled in the region.
        await self._first.current()
        known = self._accepted is not None
        likely, other = self._first, self._second
        if self._accepted is other and other.issued.value:
            likely, other = other, likely
        # The tokens to try, each with whether to replace it if it is rejected.
        attempts = [(likely, True)]
        # The other one comes with the same login: if it did not, another login would not give it either.
        tries_both = bool(other.issued.value) and (
            not self._in_vain or self._clock.monotonic() >= self._in_vain.get(endpoint.url, -math.inf)
        )
        if tries_both:
            attempts.append((other, False))
            if not known:
                attempts = [(likely, False), (other, False), *attempts]
        failure: AuthenticationError | PermissionDeniedError | None = None
        for provider, replaceable in attempts:
            try:
                answer = await endpoint.get_with(provider, decode, replaceable=replaceable)
            except (AuthenticationError, PermissionDeniedError) as error:
                failure = error if provider is likely or failure is None else failure
            else:
                self._accepted = provider
                return answer
        if tries_both:
            self._in_vain[endpoint.url] = self._clock.monotonic() + NEGATIVE_CACHE_TTL
        assert failure is not None  # noqa: S101 - there was an attempt
        try:
            raise failure
        finally:
            # Or it would refer to itself by its traceback.
            del failure


class UnusableTokenError(AuthenticationError):
    """The token was not evaluated: the server does not accept a header as long as it is."""


def decode_unless_unusable(decode: Callable[[Response], T], response: Response) -> T:
    """Decode an answer, unless it says that the request's headers are too long.

    Nothing in them is as long as a token.
    """
    # nginx answers 400, or its own 494.
    if response.status == 431 or (response.status in (400, 494) and HEADER_TOO_LARGE.search(response.body)):  # noqa: PLR2004
        raise UnusableTokenError(
            Text(
                f"HTTP {response.status}: the server does not accept a header as long as the token",
                f"HTTP {response.status}：令牌太长，服务器不接受这么长的请求头",
            )
        )
    return decode(response)


HEADER_TOO_LARGE = re.compile(rb"(?i)header[^\n]{0,40} too (?:large|long)")


async def refresh(upstream: Upstream, tokens: TokenProvider, rejected: str) -> str | None:
    """Return another token than the `rejected` one, if there is one. Queued requests with that one wait for it as well."""
    upstream.rejected_tokens.add(rejected)
    fresh = None
    try:
        fresh = await tokens.replace(rejected)
    finally:
        if fresh is None:
            # There is no other token, and other requests may be accepted with this one.
            upstream.rejected_tokens.discard(rejected)
    return fresh


async def wait_for_refresh(upstream: Upstream, tokens: TokenProvider, rejected: str, *, replaceable: bool) -> str:
    """Return the token that another poll is obtaining for the same rejection, or the `rejected` one if it gets none."""
    fresh = None
    if replaceable:
        with suppress(PollError):
            fresh = await tokens.replace(rejected)
    if fresh is None:
        upstream.rejected_tokens.discard(rejected)
    return fresh or rejected


def denied(error: AuthenticationError) -> PollError:
    if isinstance(error, UnusableTokenError):
        return error
    text = Text(
        f"rejected with a fresh token too, so its owner lacks the permission: {error}",
        f"更换令牌后仍被拒绝，说明令牌所有者没有权限：{error.text.zh}",
    )
    return PermissionDeniedError(text, api_code=error.api_code)
