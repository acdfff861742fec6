"""Name look-ups of the system (nsswitch, /etc/hosts, name servers), in threads of their own.

``getaddrinfo`` cannot be cancelled. On the event loop's default executor, where asyncio and aiohttp run it, a few names
whose server does not answer occupy all threads, and everything else that needs one waits.
"""

import asyncio
import errno
import socket
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp.abc import AbstractResolver, ResolveResult

from exporter.threads import BlockingCalls

AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]

NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
# One for each event loop, shared by all upstreams: a name that cannot be resolved holds one thread of the process.
_calls: WeakKeyDictionary[asyncio.AbstractEventLoop, BlockingCalls] = WeakKeyDictionary()


async def look_up(host: str, port: int, family: int, seconds: float) -> list[AddressInfo]:
    """Return the addresses of `host` as ``socket.getaddrinfo`` does, the host of each in numeric form.

    Raises the errors of ``getaddrinfo`` (OSError, UnicodeError), and OSError with ETIMEDOUT after `seconds`.
    """
    calls = _calls.setdefault(asyncio.get_running_loop(), BlockingCalls())
    try:
        return await calls.run(host, lambda: _addresses(host, port, family), timeout=seconds)
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, f"no answer from a name server within {seconds:g} s") from None


def _addresses(host: str, port: int, family: int) -> list[AddressInfo]:
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [(family, kind, proto, name, _numeric(address)) for family, kind, proto, name, address in found]


def _numeric(address: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the address with its scope written out, as link-local ones of IPv6 need it."""
    if len(address) == 4 and address[3]:  # noqa: PLR2004 - those of IPv6
        return (socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0], *address[1:])
    return address


class Resolver(AbstractResolver):
    """Resolve names for aiohttp, each look-up within `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`. Raises OSError as `look_up` does."""
        return [
            ResolveResult(hostname=host, host=address[0], port=address[1], family=family, proto=proto, flags=NUMERIC)
            for family, _, proto, _, address in await look_up(host, port, family, self._seconds)
        ]

    async def close(self) -> None:
        """Do nothing: look-ups that still run end by themselves."""
