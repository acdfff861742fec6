"""Known failures, not repeated for a while: hosts, tokens, and requests that no token helps."""

import asyncio
import math
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from exporter.clock import Clock
from exporter.errors import AuthenticationError, PollError
from exporter.text import Text

# Unanswered requests in a row that open the circuit: more than one slow target causes with its retries.
FAILURE_LIMIT = 8
# A fresh token did not help: the next one is requested after this many seconds, or sooner while nothing is answered.
FIRST_TTL, NEGATIVE_CACHE_TTL = 15.0, 600.0
# Ends the error of a target that shares the result of another one's request.
NOT_REPEATED = Text(" (not requested again for this target)", "（没有为此目标重复请求）")


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
        """Note that the host sent something."""
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
                once_for_all = Text(f"{error}{NOT_REPEATED.en}", f"{error.text.zh}{NOT_REPEATED.zh}")
                raise type(error)(once_for_all, culprit=error.culprit)

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
    """The last tokens that were rejected and are being replaced: requests that wait with one of them are not sent."""

    def __init__(self) -> None:
        self._tokens: deque[str] = deque(maxlen=16)

    def add(self, token: str) -> None:
        self._tokens.append(token)

    def discard(self, token: str) -> None:
        """There is no other, or its source gives it out again."""
        self._tokens = deque((each for each in self._tokens if each != token), maxlen=self._tokens.maxlen)

    def raise_if_any(self, secrets: Iterable[str]) -> None:
        """Raise RejectedTokenError if a request carries one of them."""
        if self._tokens and any(secret in self._tokens for secret in secrets):
            raise RejectedTokenError(
                Text("the token was rejected while the request waited its turn", "令牌在请求排队期间被拒绝，请求未发送")
            )


class AuthFailures:
    """Tells an expired token from a request that no token may make, so that the latter costs few logins.

    A token that was good for the very same request before has expired. Otherwise, once a fresh token has not helped,
    rejections are taken as final for a while: for long where other requests are answered with the token, for a time
    that grows with every token in vain where none is. So any number of rejected requests cost no more logins than one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accepted: dict[str, str] = {}
        self._in_vain = 0
        self._since = -math.inf

    def record_success(self, url: str, token: str) -> None:
        """`url` was answered to the bearer of `token`."""
        self._accepted[url] = token
        self._in_vain = 0

    def record_failure(self) -> None:
        """Note that a fresh token was rejected, too."""
        self._in_vain += 1
        self._since = self._clock.monotonic()

    def is_final(self, url: str, token: str) -> bool:
        """Whether a rejection of `url` with `token` says nothing against the token."""
        if self._accepted.get(url) == token:
            return False
        known_as_good = token in self._accepted.values()
        ttl = (
            NEGATIVE_CACHE_TTL if known_as_good else min(FIRST_TTL * 2.0 ** min(self._in_vain, 10), NEGATIVE_CACHE_TTL)
        )
        return self._clock.monotonic() < self._since + ttl
