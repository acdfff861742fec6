"""The common part of simulated APIs: a batch system behind them, and what every request goes through."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, ClassVar, Final

from aiohttp import web

from exporter.simulator.batch import BatchSystem
from exporter.simulator.faults import EnvelopeWriter, Fault, Faults, json_response
from exporter.simulator.spec import HOUR, RegionSpec
from exporter.simulator.tokens import fingerprint

Answer = Callable[[web.Request], Awaitable[web.Response]]
RightAnswer = Callable[[], Awaitable[web.Response]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SLICE: Final = HOUR  # simulated; a few milliseconds of work
_DROP: Final = 16  # bytes of an answer that drips


@dataclass(frozen=True, slots=True)
class World:
    """Seed and time of all simulated APIs. Equal seeds give equal histories.

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

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=10_000)
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

    def answer(self, data: Any) -> web.Response:
        """Return an answer that is right."""
        return json_response(self.writer.envelope(data))

    def error(self, code: str) -> RefusedError:
        """Return the exception for a request that is answered with an error."""
        return RefusedError(json_response(self.writer.envelope(None, code)))

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
            await self._pause(seconds)
        return await (right() if fault is None else self._strike(fault, request, right))

    async def _strike(self, fault: Fault, request: web.Request, right: RightAnswer) -> web.StreamResponse:
        """Answer `request` with the fault; `right` makes the request take effect and returns the right answer."""
        if fault.after:
            await right()
        if fault.kind in ("hang", "disconnect"):
            if fault.kind == "hang":
                await self.stopping.wait()
            return hung_up(request)
        wrong = self._wrong(fault)
        return await self._spoilt(fault, request, await right()) if wrong is None else wrong

    def _wrong(self, fault: Fault) -> web.Response | None:
        """Return the answer to a request that is not the right one in any part; None for a fault that only spoils that."""
        match fault.kind:
            case "refused":
                return self.refuse_token()
            case "redirect":
                return web.Response(status=302, headers={"Location": fault.location})
            case "status":
                return web.Response(status=fault.status, headers=self._retry_after(fault), text="simulated fault")
        body = told(fault, self.writer)
        if body is None or fault.kind != "error":
            return None if body is None else json_response(body)
        return json_response(body, fault.status, self._retry_after(fault))

    async def _spoilt(self, fault: Fault, request: web.Request, right: web.Response) -> web.StreamResponse:
        """Send the right answer, which the fault makes longer, shorter or slower."""
        whole = right.body if isinstance(right.body, bytes) else b""
        half = whole[: len(whole) // 2]
        if fault.kind == "broken_json":
            return json_response(half + b"<")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        pieces = [half]
        if fault.kind == "huge":
            pieces = [*[b" " * 2**20] * fault.mebibytes, whole]
        else:
            response.content_length = len(whole)
        if fault.kind == "drip":
            pieces = [whole[at : at + _DROP] for at in range(0, len(whole), _DROP)]
        await response.prepare(request)
        # The client may close the connection before all is sent, and this task not be cancelled yet.
        with suppress(ConnectionResetError):
            for piece in pieces:
                await response.write(piece)
                if fault.kind == "drip":
                    await self._pause(fault.seconds / len(pieces))
        if fault.kind == "truncated":
            hung_up(request)
        return response

    async def _pause(self, seconds: float) -> None:
        """Sleep, but not longer than the simulator lives."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def _retry_after(self, fault: Fault) -> dict[str, str]:
        if fault.retry_after is None:
            return {}
        date = formatdate(self.wall_clock() + fault.retry_after, usegmt=True)
        return {"Retry-After": date if fault.retry_after_as_date else f"{fault.retry_after:g}"}

    def _record(self, endpoint: str, request: web.Request) -> RequestRecord:
        return RequestRecord(
            time=self.wall_clock(),
            endpoint=endpoint,
            method=request.method,
            path=request.raw_path,
            user=self.concerned(request)[0],
            token=fingerprint(request.headers.get(self.token_header, "")),
        )


def told(fault: Fault, writer: EnvelopeWriter) -> bytes | None:
    """Return the body of a fault that is an answer of its own; None for one that spoils the right answer."""
    match fault.kind:
        case "empty":
            return b""
        case "wrong_shape":
            return writer.envelope({"unexpected": [1, None]} if fault.data is None else fault.data)
        case "code" | "error":
            return writer.envelope(fault.data, fault.code)
        case "null_form":
            return writer.no_jobs(fault.null_form)
        case "no_effect":
            return writer.envelope({"0": "delete the jobs successfully!"})
    return None


def hung_up(request: web.Request) -> web.StreamResponse:
    """Close the connection; what is returned can no longer be sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
