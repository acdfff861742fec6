"""Whether a host can be reached, step by step: its name, a connection, TLS. Nothing is asked of it."""

import asyncio
import errno
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from exporter.http.names import look_up

# The pause in seconds before the next address of a host is tried as well (RFC 8305), as aiohttp does.
HAPPY_EYEBALLS_DELAY = 0.25
Reach = Literal["address", "connection", "TLS"]


@dataclass(frozen=True, slots=True)
class Reached:
    """The result of a probe. `failed` is the step that did not work and `reason` why; both are empty if all did."""

    failed: Reach | None = None
    reason: str = ""


async def probe(url: str, tls: ssl.SSLContext | bool, seconds: float) -> Reached:
    """Resolve the host of `url`, connect to it, and shake hands where it is https. Each step may take `seconds`.

    A `url` like unix:/run/slurmrestd.sock is a unix socket's.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return await probe_unix_socket(parts.path, seconds)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    try:
        addresses = await look_up(host, port, socket.AF_UNSPEC, seconds)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ETIMEDOUT:
            return Reached("address", f"the name of {host} was not resolved within {seconds:g} s")
        return Reached("address", f"the name of {host} cannot be resolved")
    try:
        async with asyncio.timeout(seconds):
            connected = await start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
            _, writer = await asyncio.open_connection(sock=connected)
    except TimeoutError:
        return Reached("connection", f"no connection to {host}:{port} within {seconds:g} s")
    except OSError as error:
        return Reached("connection", f"cannot connect to {host}:{port}: {why_not_connected(error)}")
    try:
        return await shake_hands(writer, context_of(tls), host, seconds) if secure else Reached()
    finally:
        writer.transport.abort()


async def probe_unix_socket(path: str, seconds: float) -> Reached:
    """Connect to a unix socket."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_unix_connection(path)
    except TimeoutError:
        return Reached("connection", f"no connection to {path} within {seconds:g} s")
    except OSError as error:
        return Reached("connection", f"cannot connect to {path}: {why_not_connected(error)}")
    writer.transport.abort()
    return Reached()


def why_not_connected(error: OSError) -> str:
    """Return the system's words; a host of several addresses can fail at each of them for another reason."""
    return os.strerror(error.errno) if error.errno else "none of its addresses answers"


def context_of(tls: ssl.SSLContext | bool) -> ssl.SSLContext:
    return tls if isinstance(tls, ssl.SSLContext) else ssl.create_default_context()


async def shake_hands(writer: asyncio.StreamWriter, context: ssl.SSLContext, host: str, seconds: float) -> Reached:
    try:
        async with asyncio.timeout(seconds):
            await writer.start_tls(context, server_hostname=host)
    except TimeoutError:
        return Reached("TLS", f"{host} did not answer the TLS handshake within {seconds:g} s")
    except ssl.SSLCertVerificationError as error:
        return Reached("TLS", f"the certificate of {host} was not accepted ({error.verify_message})")
    except ssl.SSLError as error:
        return Reached("TLS", f"TLS with {host} is not possible ({error.reason or type(error).__name__})")
    except OSError:
        return Reached("TLS", f"{host} hung up during the TLS handshake")
    return Reached()
