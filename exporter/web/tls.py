"""TLS contexts of the web server."""

import ipaddress
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from exporter.errors import ExporterError


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Requirements for connections.

    `client_ca` is PEM; with `allowed_sans` a client's certificate must have one of them.
    """

    client_certificates: ssl.VerifyMode = ssl.CERT_NONE
    client_ca: str = ""
    allowed_sans: frozenset[str] = frozenset()
    min_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    max_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3


class ServerContext(ssl.SSLContext):
    """A context that remembers the settings it was made from."""

    settings: TlsSettings


class CurrentContext(ssl.SSLContext):
    """The context of a listener: every handshake uses the context that is `current` then.

    A certificate could be loaded into a context in use, but a pair that does not match would break it, and an
    authority cannot be removed from one.
    """

    current: ServerContext

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a handshake; asyncio calls it once for each connection."""
        return self.current.wrap_bio(*args, **kwargs)


def current_context(context: ServerContext) -> CurrentContext:
    made = CurrentContext(ssl.PROTOCOL_TLS_SERVER)
    made.current = context
    return made


class TlsMaterialError(ExporterError):
    """Certificate, key or authorities cannot be used; `part` is the one: cert, key or client_ca."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


def make_context(settings: TlsSettings, cert: str, key: str) -> ServerContext:
    """Return a context with a certificate (and its chain) and a private key in PEM. Blocks. Raises TlsMaterialError."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.settings = settings
    context.minimum_version, context.maximum_version = settings.min_version, settings.max_version
    # A client that insists on another protocol is rejected in the handshake.
    context.set_alpn_protocols(["http/1.1"])
    _load_chain(context, cert, key)
    context.verify_mode = settings.client_certificates
    if settings.client_certificates != ssl.CERT_NONE:
        try:
            context.load_verify_locations(cadata=settings.client_ca)
        except (ssl.SSLError, ValueError):
            raise TlsMaterialError("client_ca", "holds no certificate of an authority in PEM form") from None
    return context


def _load_chain(context: ssl.SSLContext, cert: str, key: str) -> None:
    if "CERTIFICATE-----" not in cert:
        raise TlsMaterialError("cert", "holds no certificate in PEM form")
    if "ENCRYPTED" in key:
        raise TlsMaterialError("key", "the key is encrypted, and the server has no password for it: decrypt it")
    if "PRIVATE KEY-----" not in key:
        raise TlsMaterialError("key", "holds no private key in PEM form")
    with _as_file(f"{cert.rstrip()}\n{key}".encode()) as path:
        try:
            # Without a password, OpenSSL would ask for one on the terminal.
            context.load_cert_chain(path, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise TlsMaterialError("key", "the private key does not belong to the certificate") from None
            raise TlsMaterialError("cert", "the certificate and its key cannot be used: they are damaged") from None


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Yield a file that no other process can read and that is removed immediately.

    Python takes certificates only from files.
    """
    if hasattr(os, "memfd_create"):
        # In memory: a container's file system is often read-only.
        with os.fdopen(os.memfd_create("certificate"), "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(prefix="hpc-exporter-") as file:
            file.write(content)
            file.flush()
            yield file.name


def subject_alternative_names(certificate: Mapping[str, Any]) -> frozenset[str]:
    """DNS names, IP addresses, e-mail addresses and URIs of a certificate in the form of Python's ssl."""
    return frozenset(_plain_name(kind, name) for kind, name in certificate.get("subjectAltName", ()))


def _plain_name(kind: str, name: str) -> str:
    # OpenSSL writes ::1 as 0:0:0:0:0:0:0:1.
    return str(ipaddress.ip_address(name.strip())) if kind == "IP Address" else name
