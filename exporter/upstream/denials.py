"""What refusals of tokens have taught: which tokens are done with, and which requests no token helps."""

from collections import deque
from collections.abc import Iterable

from exporter.clock import Clock
from exporter.errors import AuthenticationError

# A fresh token did not help: the next one is asked for after so many seconds.
PATIENCE = 600.0


class RetiredTokenError(AuthenticationError):
    """The token was refused elsewhere while the request waited its turn; it was not sent."""


class Retired:
    """The last tokens that were refused, and are or will be replaced: who waits its turn with one need not ask with it."""

    def __init__(self) -> None:
        self._tokens: deque[str] = deque(maxlen=16)

    def add(self, token: str) -> None:
        self._tokens.append(token)

    def forgive(self, token: str) -> None:
        """There is no other, or its provider gives it out again."""
        self._tokens = deque((each for each in self._tokens if each != token), maxlen=self._tokens.maxlen)

    def check(self, secrets: Iterable[str]) -> None:
        """Raise RetiredTokenError if a request carries one of them."""
        if self._tokens and any(secret in self._tokens for secret in secrets):
            raise RetiredTokenError("the token was refused while the request waited its turn")


class Denials:
    """What was refused with a fresh token, by its URL, so that it does not cost a login at each of its polls.

    A refusal is believed for a while, and longer each time that it is repeated with yet another token: whoever got that
    one, it has not helped either. So many refused requests together cost no more logins than a single one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._denied: dict[str, tuple[str, float]] = {}

    def note(self, url: str, token: str) -> None:
        """`url` was refused with a fresh `token`."""
        self._denied[url] = (token, self._clock.monotonic())

    def end(self, url: str) -> None:
        """`url` was answered."""
        self._denied.pop(url, None)

    def holds(self, url: str, token: str) -> bool:
        """Whether a refusal of `url` with `token` says nothing against the token."""
        if url not in self._denied:
            return False
        before, since = self._denied[url]
        if token != before:
            self.note(url, token)
            return True
        return self._clock.monotonic() < since + PATIENCE
