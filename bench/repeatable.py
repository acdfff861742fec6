"""All that would differ from run to run of a process, made the same: time, threads and connections."""

import asyncio
import itertools
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, TypeVar, TypeVarTuple

from prometheus_client import ProcessCollector

from exporter.threads import CallThread
from tools.virtualtime import VirtualTimeLoop

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

FIRST_PORT: Final = 10_000


class _Socket:
    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return self._address


@dataclass
class _Server:
    """In place of an asyncio.Server; nothing listens."""

    sockets: tuple[_Socket, ...]

    def close(self) -> None:
        """Do nothing."""


class RepeatableLoop(VirtualTimeLoop):
    """Calls in threads are made in place; each connection is a pair of Unix sockets, which delivers in the same pieces each time."""

    def __init__(self) -> None:
        super().__init__()
        self._ports = itertools.count(FIRST_PORT)
        self._servers: dict[int, Callable[[], Any]] = {}
        self._connecting: dict[socket.socket, int] = {}

    def run_in_executor(
        self, _: Executor | None, func: Callable[[*_Arguments], _Result], *args: *_Arguments
    ) -> asyncio.Future[_Result]:
        result = self.create_future()
        try:
            result.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - handed to the caller
            result.set_exception(error)
        return result

    async def create_server(self, factory: Callable[[], Any], host: str, *_: Any, **__: Any) -> _Server:  # type: ignore[override]
        port = next(self._ports)
        self._servers[port] = factory
        return _Server((_Socket((host, port)),))

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self._connecting[sock] = address[1]

    async def create_connection(  # type: ignore[override]
        self,
        factory: Callable[[], Any],
        _: str | None = None,
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        **__: Any,
    ) -> Any:
        if sock is not None:
            port = self._connecting.pop(sock)
            sock.close()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        await self.connect_accepted_socket(self._servers[port], theirs)
        return await super().create_connection(factory, sock=ours)


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Like `asyncio.run`."""
    with asyncio.Runner(loop_factory=RepeatableLoop) as runner:
        return runner.run(main)


def prepare() -> None:
    """Fix the clock, and what is random; no thread has to give way to another."""
    random.seed(1)
    tempfile._name_sequence = map(str, itertools.count(FIRST_PORT))  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
    sys.setswitchinterval(1000.0)
    moments = itertools.count(1_800_000_000.25, 0.5)
    time.time = lambda: next(moments)
    CallThread.start = CallThread.run  # type: ignore[method-assign]
    # Memory and seconds of this process are among the lines of a scrape, and compress to more or fewer bytes.
    ProcessCollector.collect = lambda self: []  # type: ignore[method-assign]  # noqa: ARG005 - its name is part of the type
