"""The common part of simulated APIs: a batch system behind them, and what every request goes through."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import ClassVar, Final

from aiohttp import web

from exporter.simulator.batch import BatchSystem
from exporter.simulator.faults import EnvelopeWriter, Faults, pause, strike
from exporter.simulator.spec import HOUR, RegionSpec
from exporter.simulator.tokens import fingerprint

Answer = Callable[[web.Request], Awaitable[web.Response]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SLICE: Final = HOUR  # simulated; a few milliseconds of work


@dataclass(frozen=True, slots=True)
class World:
    """Base of the simulated APIs. Equal seeds give equal histories.

    `speed_up` simulated seconds pass in each second of `clock` (monotonic seconds); `wall_clock` gives Unix seconds,
    for tokens.
    """

    seed: int = 1
    speed_up: float = 1.0
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time


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


class RefusedError(Exception):
    """The request is answered with this response instead."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


class SimulatedApi(ABC):
    """A simulated API and all that a test may want to see or disturb.

    `batch` holds the jobs, `faults` what goes wrong, `requests` what was requested; what `writer` writes may be changed
    at any moment. Addresses are empty until the simulator has started.
    """

    token_header: ClassVar[str]
    writer: EnvelopeWriter

    def __init__(self, name: str, batch: RegionSpec, world: World) -> None:
        self.name = name
        self.wall_clock = world.wall_clock
        self.faults = Faults(random.Random(f"faults/{world.seed}/{name}"), world.wall_clock)
        self.requests = RequestLog()
        self.stopping = asyncio.Event()
        self._world = world
        self._began = world.clock()
        self._start = world.wall_clock()
        self.batch = BatchSystem(batch, world.seed, self._start - batch.warm_up)
        self.batch.advance_to(self._start)

    @abstractmethod
    def servers(self) -> list[list[web.RouteDef]]:
        """Return the routes of each server that this needs."""

    @abstractmethod
    def listens_at(self, *urls: str) -> None:
        """Take the addresses of its `servers`."""

    @abstractmethod
    def expire_tokens(self) -> None:
        """Every token issued so far is expired from now on."""

    @abstractmethod
    def refuse_token(self) -> web.Response:
        """Return the response to a token that is not accepted."""

    @abstractmethod
    def concerned(self, request: web.Request) -> tuple[str, int | None]:
        """Return the user and the offset that faults of this request may name."""

    async def advance(self) -> float:
        """Let simulated time catch up with the clock; every request does so first. Returns the simulated time."""
        until = self._start + (self._world.clock() - self._began) * self._world.speed_up
        # In slices, so that catching up after a long pause does not block the event loop.
        while self.batch.now + _SLICE < until:
            self.batch.advance_to(self.batch.now + _SLICE)
            await asyncio.sleep(0)
        self.batch.advance_to(until)
        return self.batch.now

    def handler(self, endpoint: str, answer: Answer) -> Handler:
        """Wrap a handler of the API: request log, simulated time, faults, answer."""

        async def handle(request: web.Request) -> web.StreamResponse:
            record = self._record(endpoint, request)
            began = self._world.clock()
            with self.requests.note(record):
                record.body = await request.text()
                response = await self._disturbed(endpoint, request, answer)
                if not response.prepared:
                    response.headers["Date"] = formatdate(self.wall_clock(), usegmt=True)
                if response.prepared or not (request.transport is None or request.transport.is_closing()):
                    record.status = response.status
                record.duration = self._world.clock() - began
            return response

        handle.__name__ = endpoint
        return handle

    async def _disturbed(self, endpoint: str, request: web.Request, answer: Answer) -> web.StreamResponse:
        async def right() -> web.Response:
            await self.advance()
            try:
                return await answer(request)
            except RefusedError as refused:
                return refused.response

        user, offset = self.concerned(request)
        seconds, fault = self.faults.take(endpoint, user, offset)
        if seconds:
            await pause(self, seconds)
        return await (right() if fault is None else strike(fault, self, request, right))

    def _record(self, endpoint: str, request: web.Request) -> RequestRecord:
        return RequestRecord(
            time=self.wall_clock(),
            endpoint=endpoint,
            method=request.method,
            path=request.raw_path,
            user=self.concerned(request)[0],
            token=fingerprint(request.headers.get(self.token_header, "")),
        )
