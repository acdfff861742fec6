"""Whether a host answers at all, and who may find out.

Thousands of targets can share one region. When its host hangs, each of their polls would hold one of the few request
slots until its time-out, and healthy regions would wait behind them. So after some requests in a row without any
answer, one request at a time goes out as a probe; every poll that is due meanwhile waits for that probe and shares its
fate instead of asking for itself. Any answer, even an error, ends the outage.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import PollError

# One slow target and its retries must not make an outage of its region.
UNANSWERED_LIMIT = 8


class Outage:
    """Counts unanswered requests in a row and hands out the right to probe."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._probe: asyncio.Future[PollError | None] | None = None

    @property
    def ongoing(self) -> bool:
        """Whether the host is taken for dead."""
        return self._unanswered >= UNANSWERED_LIMIT

    @property
    def being_probed(self) -> bool:
        """Whether somebody is finding out right now."""
        return self._probe is not None and self.ongoing

    def answered(self) -> None:
        """The host sent something."""
        self._unanswered = 0

    def unanswered(self) -> None:
        """A request ended without an answer."""
        self._unanswered += 1

    async def wait_for_probe(self) -> None:
        """Return when the caller may send its request.

        Raises the error of somebody else's probe that failed while the caller waited.
        """
        while self.being_probed and (probe := self._probe) is not None:
            error = await asyncio.shield(probe)
            # An error that is an answer (a redirect, say) shows that the host is alive: then everybody may ask.
            if error is not None and self.ongoing:
                raise type(error)(f"{error} (not asked again for this target)", culprit=error.culprit)

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Around a request that goes out: during an outage it is the probe on which the others wait."""
        if not self.ongoing or self._probe is not None:
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
