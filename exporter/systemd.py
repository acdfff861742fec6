"""Sockets from a service manager like systemd, and notifications to it; without one, nothing happens.

Described in sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3).
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Final

import structlog

from exporter.errors import ExporterError

log = structlog.get_logger()

FIRST_SOCKET: Final = 3


class NoSocketsError(ExporterError):
    """The expected sockets were not passed to this process."""


def passed_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the listening sockets that were passed to this process; their variables are removed from the environment.

    Raises NoSocketsError.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        raise NoSocketsError("systemd passed no socket: is the service started by its .socket unit?")
    return [listening(descriptor) for descriptor in range(FIRST_SOCKET, FIRST_SOCKET + int(count))]


def listening(descriptor: int) -> socket.socket:
    """Return a passed socket, not inheritable by child processes. Raises NoSocketsError."""
    try:
        os.set_inheritable(descriptor, False)
        passed = socket.socket(fileno=descriptor)
        if passed.type != socket.SOCK_STREAM or not passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise NoSocketsError(
                f"systemd passed a socket that does not listen (file descriptor {descriptor}): it needs ListenStream="
            )
    except OSError as error:
        raise NoSocketsError(f"file descriptor {descriptor}, passed by systemd, is no socket: {error}") from None
    return passed


class Manager:
    """Notifications to the service manager, if it wants any."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Remove the variables from the environment: child processes must not send notifications."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        pid, usec = environ.pop("WATCHDOG_PID", ""), environ.pop("WATCHDOG_USEC", "")
        watched = self._address and usec.isdecimal() and pid in ("", str(os.getpid()))
        # Seconds between two keep-alive messages: half of the timeout, as systemd advises.
        self.watchdog_interval = int(usec) / 2_000_000 if watched and int(usec) else None

    def ready(self) -> None:
        """Notify that the exporter serves."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Notify that the exporter stops."""
        self._send("STOPPING=1")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Notify that the exporter reloads its configuration and, at the end of the block, that it serves."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        try:
            yield
        finally:
            self.ready()

    async def keep_alive(self) -> None:
        """Send keep-alive messages while the event loop runs, where the watchdog is on."""
        while self.watchdog_interval is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_interval)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ stands for the NUL of an abstract address.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
                client.setblocking(False)
                client.sendto(message.encode(), address)
        except OSError as error:
            log.debug("the service manager could not be notified", message=message, error=str(error))
