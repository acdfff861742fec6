"""Client for a Prometheus and for the running exporter, and the file behind --http.config.file.

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
from typing import Any, Final, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from exporter.app.tls import context_for, mistake_at
from exporter.cli import options
from exporter.cli.commands import Flag
from exporter.config import Tls
from exporter.config.loading import load_document
from exporter.config.section import Section, key, needed
from exporter.config.values import BodySecret, BodySecretFile, FilePath, HeaderSecret, HeaderSecretFile, Name
from exporter.errors import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    ExporterError,
    PollError,
    UntrustedCertificateError,
    UpstreamConnectionError,
)
from exporter.http import Request, Response, Settings, Upstream
from exporter.redaction import remember
from exporter.sources.values import UNREADABLE

T = TypeVar("T")

# Targets of one request for the status, the most there can be.
LIMIT: Final = 10_000


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
    """TLS and headers of requests to a server."""

    tls: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def http_config(server: str) -> Flag:
    """Return the flag for a file that says how to reach a `server`; see `load_access`."""
    text = f"password, token and CA for {server}, in the format of Prometheus' http_config"
    return Flag("--http.config.file", text, options.FILE)


# The flags that say which exporter to ask, and how.
EXPORTER: Final = (Flag("--url", "the exporter", options.URL, "http://localhost:9851"), http_config("the exporter"))


def load_access(path: Path | None) -> Access:
    """Return the content of the file at `path`. Blocks. Raises ConfigurationError with every mistake in it."""
    if path is None:
        return Access()
    document = load_document(path, HttpDocument)[0]
    tls = _context(document.tls_config, document.tls_config.place or f"{path}:1:1")
    basic, given = document.basic_auth, document.authorization
    if basic is not None and basic.password is not None:
        password = basic.password.value()
        encoded = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
        remember((password, encoded))
        return Access(tls, {"Authorization": f"Basic {encoded}"})
    if given is not None and given.credentials is not None:
        token = given.credentials.value()
        remember((token,))
        return Access(tls, {"Authorization": f"{given.type} {token}"})
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


class Server:
    """A server at a URL."""

    def __init__(self, url: str, access: Access, *, timeout: float = 30.0) -> None:
        self.url = url
        self._headers = access.headers
        settings = Settings(urlsplit(url).netloc, timeout, retries=0)
        self._upstream = Upstream(settings, slots=asyncio.Semaphore(1), tls=access.tls)

    async def ask(self, path: str, read: Callable[[Response], T], form: Mapping[str, str] | None = None) -> T:
        """Return the answer as `read` reads it; with a `form` it is posted. Raises PollError."""

        def accepted(response: Response) -> T:
            if response.status in (401, 403):
                raise AuthenticationError(f"HTTP {response.status}: give a password or a token by --http.config.file")
            return read(response)

        request = Request("command", self.url + path, headers=self._headers)
        if form is not None:
            headers = {"Content-Type": "application/x-www-form-urlencoded", **self._headers}
            request = Request("command", self.url + path, "POST", headers, data=urlencode(form).encode())
        try:
            return await self._upstream.call(request, accepted)
        except UntrustedCertificateError as error:
            said = str(error).partition(";")[0]
            raise UntrustedCertificateError(
                f"{said}; give its CA as tls_config.ca_file by --http.config.file"
            ) from None

    async def close(self) -> None:
        await self._upstream.close()


async def status_of(exporter: Server) -> dict[str, Any]:
    """Return the status of a running exporter with all targets. Raises PollError."""
    targets: list[Any] = []
    offset: int | None = 0
    while offset is not None:
        status = await exporter.ask(f"/api/v1/status?limit={LIMIT}&offset={offset}", _status)
        targets += status["targets"]
        following = status["page"]["next_offset"]
        if following is not None and following <= offset:
            raise DecodeError(f"its list of targets does not go on after {offset:,}")
        offset = following
    return {**status, "targets": targets}


class WirePage(msgspec.Struct):
    next_offset: int | None


class WireStatus(msgspec.Struct):
    """The frame of a status."""

    targets: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    summary: dict[str, Any]
    page: WirePage
    time: str


def _status(response: Response) -> dict[str, Any]:
    try:
        status = msgspec.json.decode(response.body, type=dict[str, Any])
        msgspec.convert(status, WireStatus)
    except UNREADABLE:
        raise DecodeError(
            f"HTTP {response.status}: this is no status of an hpc-exporter; is the address right?"
        ) from None
    return status


def unanswered(url: str, error: PollError) -> ExporterError:
    """Return the error of a command whose request failed, with the remedy where nothing listens."""
    hint = "; start the exporter with hpc-exporter serve, or say where it runs with --url=http://HOST:PORT"
    return ExporterError(f"{url}: {error}{hint if isinstance(error, UpstreamConnectionError) else ''}")
