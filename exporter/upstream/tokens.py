"""Calls that carry a token, and the second try with another one."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from exporter.errors import AuthenticationError, PermissionDeniedError
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
    try:
        token = await tokens.current()
        request = request_for(token)
        try:
            return await answered(upstream, request, decode)
        except AuthenticationError as error:
            if upstream.denials.holds(request.url, token):
                raise denied(error) from None
            fresh = await tokens.replace(token)
            if fresh is None:
                raise
    except AuthenticationError as error:
        # All polls with this credential fail together.
        error.culprit = tokens.origin
        raise
    request = request_for(fresh)
    try:
        return await answered(upstream, request, decode)
    except AuthenticationError as error:
        upstream.denials.note(request.url, fresh)
        raise denied(error) from None


async def answered(upstream: Upstream, request: Request, decode: Callable[[Response], T]) -> T:
    answer = await upstream.call(request, decode)
    upstream.denials.end(request.url)
    return answer


def denied(error: AuthenticationError) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"refused with a fresh token too, so its owner may not ask this: {error}", api_code=error.api_code
    )
