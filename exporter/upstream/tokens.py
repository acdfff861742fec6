"""Calls that carry a token, and the second try with another one."""

import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Protocol, TypeVar

from exporter.errors import AuthenticationError, PermissionDeniedError, PollError
from exporter.upstream.denials import RetiredTokenError
from exporter.upstream.http import Request, Response, Upstream

T = TypeVar("T")


class TokenProvider(Protocol):
    """Gives the token of one credential."""

    @property
    def origin(self) -> str:
        """Where the token comes from, for messages."""
        ...

    async def current(self) -> str:
        """The token to use now. Raises AuthenticationError or TransientError where there is none to be had."""
        ...

    async def replace(self, refused: str) -> str | None:
        """A token other than the `refused` one, or None where there is no other."""
        ...


class SecretText(Protocol):
    """A secret that can change while we hold it."""

    @property
    def origin(self) -> str: ...
    def value(self) -> str: ...


class PastedToken:
    """A token that somebody pasted: there is no other, unless its file changes. A TokenProvider."""

    def __init__(self, secret: SecretText) -> None:
        self._secret = secret

    @property
    def origin(self) -> str:
        """Where the token is written, for messages."""
        return self._secret.origin

    async def current(self) -> str:
        return self._secret.value()

    async def replace(self, refused: str) -> str | None:
        value = self._secret.value()
        return value if value != refused else None


async def call_with_token(
    upstream: Upstream, tokens: TokenProvider, request_for: Callable[[str], Request], decode: Callable[[Response], T]
) -> T:
    """Send the request with the current token; if that is refused, once more with another.

    Raises the PollErrors of `Upstream.call` and of `decode`; AuthenticationError where the only token was refused,
    PermissionDeniedError where a second one was refused as well, now or lately.
    """
    replaced = False
    try:
        token = await tokens.current()
        while True:
            request = request_for(token)
            try:
                answer = await upstream.call(request, decode)
            except RetiredTokenError:
                token = await successor(upstream, tokens, token)
            except AuthenticationError as error:
                if replaced:
                    upstream.denials.note()
                if replaced or upstream.denials.holds(request.url, token):
                    raise denied(error) from None
                fresh = await replacement(upstream, tokens, token)
                if fresh is None:
                    raise
                token, replaced = fresh, True
            else:
                upstream.denials.answered(request.url, token)
                return answer
    except AuthenticationError as error:
        # All polls with this credential fail together.
        error.culprit = tokens.origin
        raise


async def replacement(upstream: Upstream, tokens: TokenProvider, refused: str) -> str | None:
    """Another token than the `refused` one; requests that carry it and were not sent yet wait for the same."""
    upstream.retired.add(refused)
    fresh = None
    try:
        fresh = await tokens.replace(refused)
    finally:
        if fresh is None:
            # Nothing better is to be had, and it may be good for others.
            upstream.retired.forgive(refused)
    return fresh


async def successor(upstream: Upstream, tokens: TokenProvider, retired: str) -> str:
    """The token that another poll's refusal gets, or the `retired` one again if it gets none."""
    try:
        fresh = await tokens.replace(retired)
    except PollError:
        fresh = None
    if fresh is None:
        upstream.retired.forgive(retired)
    return fresh or retired


def epoch_seconds(value: object, zone: tzinfo | None = None) -> float | None:
    """A moment in seconds since the epoch, met as seconds, milliseconds (numbers or text) or ISO 8601.

    `zone` is that of ISO text without an offset; without a zone such text says nothing.
    None for anything else, and for a moment before September 2001: no token ends there, 1970 is what zero looks like.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = str(value).strip()
    seconds = None
    if NUMBER.fullmatch(text):
        # The two differ by so much that the magnitude tells.
        number = float(text)
        seconds = number if number < FIRST_MILLISECONDS else number / 1000
    elif not text.isdigit():
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        moment = moment.replace(tzinfo=moment.tzinfo or zone)
        seconds = moment.timestamp() if moment.tzinfo is not None else None
    return seconds if seconds is not None and EARLIEST <= seconds < FIRST_MILLISECONDS else None


# A number as it is met, of at most 15 digits before the point.
NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?", re.ASCII)
# In seconds: September 2001 to the year 5138. As milliseconds the same numbers mean days of 1970 to 1973.
EARLIEST, FIRST_MILLISECONDS = 1e9, 1e11


def denied(error: AuthenticationError) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"refused with a fresh token too, so its owner may not ask this: {error}", api_code=error.api_code
    )
