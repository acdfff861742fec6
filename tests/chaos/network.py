"""A network in memory below aiohttp's connector: it delays, splits, cuts, refuses and never answers."""

import asyncio
import errno
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.chaos.loop import ChaosLoop


@dataclass(frozen=True)
class Mood:
    """The state of a host: the longest delay in seconds, and the probability of each kind of trouble."""

    delay: float = 0.3
    refuse: float = 0.0
    silent: float = 0.0
    cut: float = 0.0
    nonsense: float = 0.0
    deny: float = 0.0


HEALTHY = Mood()
MOODS = (
    HEALTHY,
    Mood(delay=4.0),
    Mood(delay=2.0, refuse=0.1, silent=0.1, cut=0.2, nonsense=0.2, deny=0.1),
    Mood(refuse=1.0),
    Mood(silent=1.0),
    Mood(cut=0.8),
    Mood(nonsense=0.8),
    Mood(deny=0.7),
)


class Request(NamedTuple):
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """An HTTP answer. `arrived` is called once all of it has, and `over` when its request is, whatever came of it."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    arrived: Callable[[], None] = lambda: None
    over: Callable[[], None] = lambda: None

    def raw(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} .", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Network:
    """The hosts of one simulated process by their addresses, each in its mood."""

    def __init__(
        self, loop: ChaosLoop, rng: random.Random, moods: Mapping[str, Mood], answer: Callable[[Request], Answer]
    ) -> None:
        self.loop = loop
        self.rng = rng
        self.moods = moods
        self.answer = answer
        # In the order in which they were made: sets of aiohttp's have none that is the same at each run.
        self.wires: dict[Wire, None] = {}
        self._ended: dict[Wire, Exception | None] = {}
        loop.connect = self.connect

    async def connect(self, address: tuple[str, int]) -> "Wire":
        mood = self.moods[address[0]]
        await asyncio.sleep(self.rng.uniform(0, mood.delay))
        if self.rng.random() < mood.refuse:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        if self.rng.random() < mood.silent:
            await asyncio.sleep(86_400)
        return Wire(self, address[0])

    def end(self, wire: "Wire", error: Exception | None) -> None:
        """Tell the client soon that its connection is lost."""
        if not self._ended:
            self.loop.call_soon(self._tell_ended)
        self._ended[wire] = error

    def _tell_ended(self) -> None:
        ended, self._ended = self._ended, {}
        for wire in [wire for wire in self.wires if wire in ended]:
            del self.wires[wire]
            wire.protocol.connection_lost(ended[wire])


class Wire(asyncio.Transport):
    """The client's end of a connection, which also plays the server."""

    def __init__(self, network: Network, host: str) -> None:
        super().__init__()
        self._network = network
        self._host = host
        self.protocol: Any = None
        self._received = b""
        self._closed = False
        self._answer: Answer | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, protocol: Any) -> None:
        self.protocol = protocol
        self._network.wires[self] = None
        protocol.connection_made(self)

    # The client's side.

    def write(self, data: Any) -> None:
        self._received += bytes(data)
        head, found, body = self._received.partition(b"\r\n\r\n")
        if self._closed or not found:
            return
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(body) < int(headers.get("content-length", "0")):
            return
        self._received = b""
        url = urlsplit(first.split(" ")[1])
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self._later(lambda: self._serve(Request(self._host, url.path, query, headers, body)))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._host, 80) if name == "peername" else default

    # The server's side.

    def _later(self, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = self._network.rng.uniform(0, self._network.moods[self._host].delay)
        self._timer = self._network.loop.call_later(delay, call)

    def _serve(self, request: Request) -> None:
        rng, mood = self._network.rng, self._network.moods[self._host]
        self._answer = answer = self._network.answer(request)
        raw = answer.raw()
        if rng.random() < mood.silent:
            return
        cut = rng.random() < mood.cut
        end = rng.randrange(len(raw)) if cut else len(raw)
        places = sorted(rng.randrange(end + 1) for _ in range(rng.choice((0, 0, 1, 2))))
        pieces = [raw[start:stop] for start, stop in zip([0, *places], [*places, end], strict=True) if start < stop]
        self._later(lambda: self._send(pieces, cut=cut))

    def _send(self, pieces: list[bytes], *, cut: bool) -> None:
        piece, *rest = pieces or [b""]
        if piece:
            self.protocol.data_received(piece)
        if self._closed:
            return
        rng = self._network.rng
        if rest:
            self._later(lambda: self._send(rest, cut=cut))
        elif cut:
            self._end(rng.choice((None, ConnectionResetError(errno.ECONNRESET, "reset"))))
        else:
            assert self._answer is not None
            self._answer.arrived()
            self._request_over()
            if (
                rng.random() < 0.2
            ):  # an idle connection that the server closes, perhaps while the next request is on its way
                self._network.loop.call_later(rng.uniform(0, 30), self.close)

    def _request_over(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.over()

    def _end(self, error: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._request_over()
        self._network.end(self, error)
