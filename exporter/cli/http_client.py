"""Servers that commands ask, a Prometheus or a running exporter, and the file behind --http.config.file.

The file has the format in which Prometheus and its tools such as promtool are told how to reach a server:
https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config. Secrets stand in files, never on a command
line, where every user of the machine can see them.
"""

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from exporter.app.tls import context_for, mistake_at
from exporter.cli import options
from exporter.cli.commands import Flag
from exporter.config import Secret, Tls
from exporter.config.loading import load_document
from exporter.config.section import Section, key, needed
from exporter.config.values import BodySecret, BodySecretFile, FilePath, HeaderSecret, HeaderSecretFile, Name
from exporter.errors import AuthenticationError, ConfigurationError, UntrustedCertificateError
from exporter.http import Request, Response, Settings, Upstream
from exporter.redaction import remember

T = TypeVar("T")


class BasicAuth(Section):
    """A user and a password."""

    exactly_one = (("password", "password_file"),)

    username: Name = needed("The user.", "")
    password: BodySecret | None = key("The password.")
    password_file: BodySecretFile | None = key("File that holds the password.")


class Authorization(Section):
    """A token, or any other header Authorization."""

    exactly_one = (("credentials", "credentials_file"),)

    type: Name = key("The word before it.", default="Bearer")
    credentials: HeaderSecret | None = key("The token.")
    credentials_file: HeaderSecretFile | None = key("File that holds the token.")


class TlsConfig(Tls):
    """Verification of the server's certificate, and this client's own."""

    cert_file: FilePath | None = key("File that holds this client's certificate.")
    key_file: FilePath | None = key("File that holds its private key, where the first one does not.")


class HttpDocument(Section):
    """Settings of a client."""

    at_most_one = (("basic_auth", "authorization"),)

    basic_auth: BasicAuth | None = key("A user and a password.")
    authorization: Authorization | None = key("A token.")
    tls_config: TlsConfig = key("Certificates.", factory=TlsConfig)


@dataclass(frozen=True, slots=True)
class Access:
    """TLS and headers of requests to a server; `secrets` are those in the headers."""

    tls: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def http_config(server: str) -> Flag:
    """Return the flag for a file that says how to reach a `server`; see `load_access`."""
    text = f"password, token and CA for {server}, in the format of Prometheus' http_config"
    return Flag("--http.config.file", text, options.FILE)


def load_access(path: Path | None) -> Access:
    """Return the content of the file at `path`. Blocks. Raises ConfigurationError with every mistake in it."""
    if path is None:
        return Access()
    document = load_document(path, HttpDocument)[0]
    tls = _context(document.tls_config, document.tls_config.place or f"{path}:1:1")
    if (basic := document.basic_auth) is not None:
        password = _value(basic.password)
        encoded = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
        return Access(tls, {"Authorization": f"Basic {encoded}"}, (password, encoded))
    if (given := document.authorization) is not None:
        token = _value(given.credentials)
        return Access(tls, {"Authorization": f"{given.type} {token}"}, (token,))
    return Access(tls)


def _context(tls: TlsConfig, place: str) -> ssl.SSLContext:
    context = context_for(tls, place)
    if tls.cert_file is not None:
        try:
            # An empty password: OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except OSError as error:
            reason = "no certificate and key that fit" if isinstance(error, ssl.SSLError) else error.strerror
            raise ConfigurationError([mistake_at(place, "tls_config.cert_file", f"cannot be used: {reason}")]) from None
    return context


def _value(secret: Secret | None) -> str:
    assert secret is not None  # noqa: S101 - the section's checks see to it
    return secret.value()


class Server:
    """A server at a URL."""

    def __init__(self, url: str, access: Access, *, timeout: float = 30.0) -> None:
        self.url = url
        self._access = access
        settings = Settings(urlsplit(url).netloc, timeout, retries=0)
        self._upstream = Upstream(settings, slots=asyncio.Semaphore(1), tls=access.tls)

    async def get(self, path: str, read: Callable[[Response], T]) -> T:
        """Return the answer as `read` reads it. Raises PollError."""
        return await self._call(Request("command", self.url + path, headers=self._access.headers), read)

    async def post(self, path: str, fields: Mapping[str, str], read: Callable[[Response], T]) -> T:
        """As `get`, with the fields of a form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", **self._access.headers}
        form = urlencode(fields).encode()
        return await self._call(Request("command", self.url + path, "POST", headers, data=form), read)

    async def _call(self, request: Request, read: Callable[[Response], T]) -> T:
        def accepted(response: Response) -> T:
            if response.status in (401, 403):
                raise AuthenticationError(f"HTTP {response.status}: give a password or a token by --http.config.file")
            return read(response)

        remember(self._access.secrets)
        try:
            return await self._upstream.call(request, accepted)
        except UntrustedCertificateError as error:
            said = str(error).partition(";")[0]
            raise UntrustedCertificateError(
                f"{said}; give its CA as tls_config.ca_file by --http.config.file"
            ) from None

    async def close(self) -> None:
        await self._upstream.close()
