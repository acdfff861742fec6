"""What refusals of tokens have taught: which tokens are done with, and which requests no token helps."""

import math
from collections import deque
from collections.abc import Iterable

from exporter.clock import Clock
from exporter.errors import AuthenticationError

# A fresh token did not help: the next one is asked for after so many seconds, or sooner while nobody is answered.
FIRST_PATIENCE, PATIENCE = 15.0, 600.0


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
    """Tells a token that has died from a request that no token may make, so that the latter costs few logins.

    A token that was good for the very same request before has died. Otherwise, once a fresh token has not helped
    somebody, refusals are believed for a while: for long where others are answered with the token, for a time that
    grows with every token in vain where nobody is. So many refused requests cost no more logins than a single one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._answered: dict[str, str] = {}
        self._in_vain = 0
        self._since = -math.inf

    def answered(self, url: str, token: str) -> None:
        """`url` was answered to the bearer of `token`."""
        self._answered[url] = token
        self._in_vain = 0

    def note(self) -> None:
        """A fresh token was refused, too."""
        self._in_vain += 1
        self._since = self._clock.monotonic()

    def holds(self, url: str, token: str) -> bool:
        """Whether a refusal of `url` with `token` says nothing against the token."""
        if self._answered.get(url) == token:
            return False
        known_as_good = token in self._answered.values()
        patience = PATIENCE if known_as_good else min(FIRST_PATIENCE * 2.0 ** min(self._in_vain, 10), PATIENCE)
        return self._clock.monotonic() < self._since + patience
