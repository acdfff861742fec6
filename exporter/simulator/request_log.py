"""What was asked: one small record a request, so that a test can count calls and see what was on the wire."""

from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class RequestRecord:
    """One request. `path` is the exact path and query on the wire, `token` a fingerprint.

    `status` is None while it is answered, and stays None if the connection broke before an answer was begun.
    """

    time: float
    endpoint: str
    method: str
    path: str
    user: str
    token: str
    body: str = ""
    status: int | None = None
    duration: float | None = None


class RequestLog:
    """The last requests, oldest first, and counts of all. Iterating gives the records."""

    def __init__(self, size: int = 10_000) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=size)
        self.counts: Counter[str] = Counter()
        self.in_flight = 0
        self.max_in_flight = 0

    def __iter__(self) -> Iterator[RequestRecord]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def of(self, endpoint: str) -> list[RequestRecord]:
        return [record for record in self._records if record.endpoint == endpoint]

    def clear(self) -> None:
        """Forget what was; requests in flight are still counted as such."""
        self._records.clear()
        self.counts.clear()
        self.max_in_flight = self.in_flight

    @contextmanager
    def note(self, record: RequestRecord) -> Iterator[None]:
        """Hold a request in the log while it is answered."""
        self._records.append(record)
        self.counts[record.endpoint] += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1
