"""What every kind of token that we obtain ourselves has in common: a life, and a pause while none is to be had."""

import math
import random
from dataclasses import dataclass, replace
from typing import Protocol, Self

from exporter.clock import Clock
from exporter.errors import PollError, TransientError

# Of what remains of a token's life when it is obtained, the part after which it is renewed.
RENEW_EARLIEST, RENEW_LATEST = 0.6, 0.8
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
# A login that fails for a passing reason is tried again sooner than one that is refused.
LONGEST_TRANSIENT_PAUSE = 60.0


class TokenObserver(Protocol):
    """Who counts and shows what happens to tokens."""

    def token_refresh(self, source: str, ok: bool) -> None: ...
    def token_expiry(self, source: str, user: str, seconds: float | None) -> None: ...


class Pause:
    """Grows with every failure, so that a dead account is not hammered; ended by a success or a new credential."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._error: PollError | None = None

    def failed(self, error: PollError) -> None:
        longest = LONGEST_TRANSIENT_PAUSE if isinstance(error, TransientError) else LONGEST_PAUSE
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures, 10), longest)
        if isinstance(error, TransientError) and error.retry_after is not None:
            pause = min(max(pause, error.retry_after), LONGEST_PAUSE)
        self._failures += 1
        self._error = error
        self._until = self._clock.monotonic() + pause

    def end(self) -> None:
        self._failures, self._until, self._error = 0, 0.0, None

    def check(self) -> None:
        """Raise the last failure again while the pause lasts."""
        remaining = self._until - self._clock.monotonic()
        if self._error is not None and remaining > 0:
            raise type(self._error)(str(self._error), culprit=self._error.culprit)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a token is to be renewed and when it ends, on the monotonic clock; infinite where its end is unknown."""

    renew_at: float
    ends_at: float

    @classmethod
    def starting(cls, now: float, seconds: float, rng: random.Random) -> Self:
        """The life of a token obtained `now` that is good for so many `seconds`.

        A token fresh from the server is good, whatever it says of itself: one that seems over never ends.
        """
        life = seconds if seconds > 0 else math.inf
        return cls(now + life * rng.uniform(RENEW_EARLIEST, RENEW_LATEST), now + life)

    def renewal_failed(self, now: float) -> Self:
        """Not tried again at every poll: what is left of the life is divided once more."""
        return replace(self, renew_at=now + (self.ends_at - now) / 4)
