"""Circuit breaker of one host: opens after some requests in a row without any answer.

Thousands of targets can share one region. When its host hangs, each of their polls would hold one of the few request
slots until its timeout, and healthy regions would wait behind them. While the circuit is open, one request at a time goes
out as a probe; every poll that is due meanwhile waits for that probe and shares its result instead of sending a request
of its own. Any answer, even an error, closes the circuit.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import PollError

# Unanswered requests in a row that open the circuit: more than one slow target causes with its retries.
FAILURE_LIMIT = 8


class CircuitBreaker:
    """Counts unanswered requests in a row and hands out the right to probe."""

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
                raise type(error)(f"{error} (not asked again for this target)", culprit=error.culprit)

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
