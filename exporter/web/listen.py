"""Listen addresses as Prometheus' own programs write them: ``:9851``, ``127.0.0.1:9851``, ``[::1]:9851``."""

import socket

from exporter.errors import ExporterError

BACKLOG = 128
HIGHEST_PORT = 65535


class ListenError(ExporterError):
    """An address cannot be listened on."""


def parse_listen_address(text: str) -> tuple[str, int]:
    """Host and port; the host is empty for all interfaces. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > HIGHEST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT or :PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"an IPv6 address goes in brackets: [{host}]:{port}")
    return host, int(port)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; on all interfaces it takes IPv6 and IPv4. Raises ListenError."""
    try:
        if not host:
            return bind_all_interfaces(port)
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
        return socket.create_server(address, family=family, backlog=BACKLOG)
    except OSError as error:
        # socket.create_server repeats the address in its errors.
        reason = str(error.strerror or error).partition(" (while attempting")[0]
        raise ListenError(f"cannot listen on {joined(host, port)}: {reason}") from None


def bind_all_interfaces(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        except OSError as error:
            # A kernel started without IPv6 has the constant but not the address family.
            if "in use" in str(error):
                raise
    return socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - what ":PORT" means


def address_of(listener: socket.socket) -> str:
    """Return the address that a socket listens on, as in a URL."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return joined(host, port)


def joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
