"""Lets clients in: connections are few, quick to say what they want, and made by the rules of the moment."""

import asyncio
import socket
from typing import Final

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from exporter.web.guard.policy import PolicyFile
from exporter.web.listen import address_of

log = structlog.get_logger()

# Connections at a time, all addresses together: well below what a process may have open.
MAX_CONNECTIONS: Final = 500
# Seconds for the TLS handshake, and from there to the end of the first request's headers.
HANDSHAKE_TIMEOUT: Final = 10.0
FIRST_REQUEST_TIMEOUT: Final = 10.0
# Seconds that a connection is kept for the next request: more than the usual scrape interval of a minute.
KEEPALIVE_TIMEOUT: Final = 75.0
# Seconds that a handshake under way may take when the process stops.
CLOSING_TIMEOUT: Final = 1.0
# Pause in seconds when the system has no room for another connection.
BREATHER: Final = 0.2


class Doorkeeper:
    """Knows all connections. When there are too many, the one that has waited longest without asking gives way."""

    def __init__(self, policy: PolicyFile, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self.policy = policy
        self._max = max_connections
        self._arriving: dict[asyncio.Task[None], None] = {}
        # Those that have not said anything complete yet, and those that are being answered.
        self._silent: set[RequestHandler] = set()
        self._busy: set[RequestHandler] = set()

    def admit(self, server: web.Server, client: socket.socket) -> None:
        """Serve a connection that was accepted, or end it where there is no room."""
        if not self._has_room(server):
            client.close()
            return
        task = asyncio.get_running_loop().create_task(self._admit(server, client))
        self._arriving[task] = None
        task.add_done_callback(lambda done: self._arriving.pop(done, None))

    def asked(self, protocol: RequestHandler) -> None:
        """A request arrived whole; it is being answered until `answered`."""
        self._silent.discard(protocol)
        self._busy.add(protocol)

    def answered(self, protocol: RequestHandler) -> None:
        self._busy.discard(protocol)

    async def close(self) -> None:
        """Let nobody in any more; who is at the door already has a moment."""
        if self._arriving:
            await asyncio.wait(set(self._arriving), timeout=CLOSING_TIMEOUT)
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _has_room(self, server: web.Server) -> bool:
        """Whether there is room for one more, perhaps because another one had to go."""
        open_ones = [connection for connection in server.connections if connection.transport is not None]
        if len(open_ones) + len(self._arriving) < self._max:
            return True
        idle = next((connection for connection in open_ones if connection not in self._busy), None)
        if idle is not None:
            idle.force_close()
        elif self._arriving:
            next(iter(self._arriving)).cancel()
        return idle is not None or bool(self._arriving)

    async def _admit(self, server: web.Server, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        protocol = server()
        # From the start: the first request can be there before the connection is said to be.
        self._silent.add(protocol)
        try:
            policy = await self.policy.current()
            context = policy.settings.context
            await loop.connect_accepted_socket(
                lambda: protocol, client, ssl=context, ssl_handshake_timeout=HANDSHAKE_TIMEOUT if context else None
            )
        except OSError as error:
            log.debug("a client could not connect", error=str(error))
            self._silent.discard(protocol)
            client.close()
        except asyncio.CancelledError:
            self._silent.discard(protocol)
            client.close()
            raise
        else:
            loop.call_later(FIRST_REQUEST_TIMEOUT, self._hang_up_if_silent, protocol)

    def _hang_up_if_silent(self, protocol: RequestHandler) -> None:
        if protocol in self._silent:
            self._silent.discard(protocol)
            protocol.force_close()


class Door(web.BaseSite):
    """An address that is listened on; stopped by its runner's cleanup."""

    def __init__(self, runner: web.BaseRunner, listener: socket.socket, keeper: Doorkeeper) -> None:
        super().__init__(runner)
        listener.setblocking(False)
        self._listener = listener
        self._keeper = keeper
        self._accepting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        return address_of(self._listener)

    async def start(self) -> None:
        await super().start()
        self._accepting = asyncio.create_task(self._accept())

    async def stop(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        await self._keeper.close()
        await super().stop()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        server = self._runner.server
        assert server is not None  # noqa: S101 - BaseSite sees to it
        while True:
            try:
                client, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                # No file descriptor is left, or the client is gone again: neither is the end.
                log.debug("a client could not be accepted", error=str(error))
                await asyncio.sleep(BREATHER)
            else:
                self._keeper.admit(server, client)
