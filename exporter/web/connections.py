"""The connections of the web server: their number is limited, and idle ones are closed to make room.

Works on the sockets that the listeners accept, so that a connection counts from its first packet, TLS handshake
included. A socket that the event loop has closed has no file descriptor any more, hence no callbacks are needed.
"""

import asyncio
import errno
import resource
import socket
import time
from collections import OrderedDict
from contextlib import suppress
from typing import Any, Final

MAX_CONNECTIONS: Final = 1000
# Seconds from the connection to the end of the first request's headers, TLS handshake included.
FIRST_REQUEST_TIMEOUT: Final = 10.0
# It is waited in this many parts, between which the event loop reads what arrived while it could not run.
FIRST_REQUEST_PARTS: Final = 10
# Seconds that a connection is kept for the next request: more than the usual scrape interval of a minute.
KEEPALIVE_TIMEOUT: Final = 75.0
# Seconds within which a connection that was shut down should be closed. One that is not counts as open again.
CLOSING_TIMEOUT: Final = 1.0
# Connections shut down whose descriptors are not free yet; accepting waits for them.
MAX_CLOSING: Final = 16
_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)


def connection_limit(max_open_files: int | None = None) -> int:
    """Return the limit of connected clients: `MAX_CONNECTIONS`, or half of the file descriptors where that is less.

    The other half is for the upstreams, the state file, configuration files and listeners. `max_open_files` is the soft
    limit of ``RLIMIT_NOFILE``, by default that of this process.
    """
    if max_open_files is None:
        max_open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if max_open_files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(1, min(MAX_CONNECTIONS, max_open_files // 2))


class Connection:
    """A client's connection.

    `silent`: it has sent no request yet. `trusted`: its last request was allowed. `suspicious`: its last request had a
    password and was rejected.
    """

    __slots__ = ("in_flight", "shut_down_at", "silent", "socket", "suspicious", "trusted")

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.silent = True
        self.in_flight = self.trusted = self.suspicious = False
        # On the monotonic clock.
        self.shut_down_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self.socket.fileno() != -1

    @property
    def is_closing(self) -> bool:
        """Whether it is about to be closed."""
        return self.shut_down_at is not None and time.monotonic() < self.shut_down_at + CLOSING_TIMEOUT

    @property
    def rank(self) -> int:
        """The order in which idle connections are closed: rejected ones, those without a request, the others."""
        return 2 if self.trusted else int(self.silent)

    def shut_down(self) -> None:
        """End the connection. The event loop sees an end of file and closes the socket, in a TLS handshake as well."""
        self.shut_down_at = time.monotonic()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class ConnectionLimiter:
    """Closes the connection that has been idle for longest when there are more than `limit`.

    A connection is idle since its last answer, or since it was made. One with a request in flight is never closed.
    Connections whose last request was rejected are closed first, then those without a request, then all others: clients
    that guess passwords or send nothing do not push out a Prometheus server that keeps its connection.
    """

    def __init__(self, limit: int | None = None) -> None:
        """`limit` is by default what `connection_limit` computes."""
        self.limit = connection_limit() if limit is None else limit
        # By file descriptor, the longest idle first.
        self._connections: OrderedDict[int, Connection] = OrderedDict()

    @property
    def open_connections(self) -> list[Connection]:
        return [connection for connection in self._connections.values() if connection.is_open]

    def listener(self, bound: socket.socket) -> "LimitedListener":
        """Return a listening socket that takes the place of `bound`, with the limit applied to what it accepts."""
        return LimitedListener(bound, self)

    def must_wait(self) -> bool:
        """Whether too many connections are being closed to accept another one now."""
        if len(self._connections) < self.limit:
            return False
        for descriptor, connection in list(self._connections.items()):
            if not connection.is_open:
                del self._connections[descriptor]
        return sum(connection.is_closing for connection in self._connections.values()) >= MAX_CLOSING

    def accepted(self, accepted: socket.socket) -> None:
        """Count a new connection, and close another one, or this one, where there are too many."""
        connection = Connection(accepted)
        full = sum(not each.is_closing for each in self.open_connections) >= self.limit
        descriptor = accepted.fileno()
        # An earlier connection with this descriptor is closed, or the system would not have reused it.
        self._connections.pop(descriptor, None)
        if full and not self.close_idle():
            connection.shut_down()
        self._connections[descriptor] = connection
        self._close_if_silent(connection, FIRST_REQUEST_PARTS)

    def free_descriptor(self) -> bool:
        """Close an idle connection unless one is about to be closed. Return False where there is neither."""
        return any(each.is_closing for each in self.open_connections) or self.close_idle()

    def close_idle(self) -> bool:
        """Close the connection that has been idle for longest. Return False where none is idle."""
        idle = [each for each in self.open_connections if not each.in_flight and each.shut_down_at is None]
        if idle:
            # The first of those with the lowest rank.
            min(idle, key=lambda each: each.rank).shut_down()
        return bool(idle)

    def request_started(self, transport: asyncio.BaseTransport | None) -> Connection | None:
        """Note that a request arrived; it is in flight until `request_ended`. None where the client is gone."""
        accepted = transport.get_extra_info("socket") if transport is not None else None
        connection = self._connections.get(accepted.fileno()) if accepted is not None else None
        if connection is not None:
            connection.silent, connection.in_flight = False, True
        return connection

    def request_ended(self, connection: Connection | None) -> None:
        if connection is None:
            return
        connection.in_flight = False
        descriptor = connection.socket.fileno()
        if self._connections.get(descriptor) is connection:
            self._connections.move_to_end(descriptor)

    async def close(self, _app: object = None) -> None:
        """Close all connections, also those in a TLS handshake that the web server does not know of.

        Also as a handler of an application's ``on_cleanup``. Waits for `CLOSING_TIMEOUT` seconds at most.
        """
        for connection in self.open_connections:
            connection.shut_down()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_TIMEOUT):
                while self.open_connections:  # noqa: ASYNC110 - a socket that is closed sets no event
                    await asyncio.sleep(0.01)

    def _close_if_silent(self, connection: Connection, parts: int) -> None:
        """Close the connection after `parts` of `FIRST_REQUEST_TIMEOUT` unless a request arrives."""
        if not connection.silent or not connection.is_open:
            return
        if not parts:
            connection.shut_down()
            return
        part = FIRST_REQUEST_TIMEOUT / FIRST_REQUEST_PARTS
        asyncio.get_running_loop().call_later(part, self._close_if_silent, connection, parts - 1)


class LimitedListener(socket.socket):
    """A listening socket whose accepted connections a ConnectionLimiter counts."""

    def __init__(self, bound: socket.socket, limiter: ConnectionLimiter) -> None:
        super().__init__(bound.family, bound.type, bound.proto, fileno=bound.detach())
        self._limiter = limiter

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises BlockingIOError, which asyncio takes for an empty queue, where connections have to be closed first. The
        queue is not empty, so asyncio immediately tries again: this must not last.
        """
        if self._limiter.must_wait():
            raise BlockingIOError
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno in _OUT_OF_DESCRIPTORS and self._limiter.free_descriptor():
                raise BlockingIOError from None
            raise
        self._limiter.accepted(accepted)
        return accepted, address
