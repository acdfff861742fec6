"""The file behind --web.config.file: the format of Prometheus' exporter-toolkit, as far as Python supports it.

The format: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. Unsupported
options are rejected with an explanation instead of being ignored.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from exporter.config.files import UnusableFileError, read_file
from exporter.config.loading import load_document
from exporter.config.section import Section
from exporter.config.section import key as setting
from exporter.config.tree import Keys, Report, shown
from exporter.config.values import Duration, FilePath, Name, between, integer, scalar
from exporter.web.tls import ServerContext, TlsMaterialError, TlsSettings, make_context

VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# The headers that exporter-toolkit allows, and the values of those that have few.
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
# Verification of client certificates by its word in the format; the other words mean none.
VERIFYING: Final = {
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
# Unsupported words and keys of the format, and why.
_NO_VERIFYING = (
    "Python cannot demand a certificate without verifying it; use RequireAndVerifyClientCert, with client_ca_file"
)
_OLD_TLS = "it is no longer secure, and the TLS library does not speak it; use TLS12 or TLS13"
UNSUPPORTED: Final = {
    "RequireAnyClientCert": _NO_VERIFYING,
    "RequireClientCert": _NO_VERIFYING,
    "TLS10": _OLD_TLS,
    "TLS11": _OLD_TLS,
    "cipher_suites": "the names of Go's cipher suites mean nothing to Python's TLS: leave it out; min_version: TLS13 has"
    " only safe ones",
    "prefer_server_cipher_suites": "the order of cipher suites cannot be set here: leave it out",
    "curve_preferences": "elliptic curves cannot be chosen here: leave it out",
}
_BCRYPT = re.compile(r"\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{53}")
_BCRYPT_COSTS = range(4, 32)
_MAX_PEM_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most one request in each `interval` seconds in the long run, and `burst` simultaneously."""

    interval: float
    burst: int


@dataclass(frozen=True)
class WebSettings:
    """The settings in the file. `users` has the bcrypt hash of each name; `files` are those that the file names."""

    context: ServerContext | None = field(default=None, repr=False)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def tls(self) -> TlsSettings | None:
        return self.context.settings if self.context else None


def _one_of(*known: str) -> BeforeValidator:
    """Read one of the words in `known`."""

    def read(text: str) -> str:
        if text in UNSUPPORTED:
            raise ValueError(f"{text} cannot be used: {UNSUPPORTED[text]}")
        if text not in known:
            raise ValueError(f"{shown(text)} is none of {', '.join(known)}")
        return text

    return scalar(read, "text")


def _pem(text: str) -> str:
    if "-----BEGIN " not in text:
        raise ValueError("is not PEM: it must hold a line like '-----BEGIN CERTIFICATE-----'")
    return text


def _bcrypt(text: str) -> bytes:
    """Return the hash of a password. The messages do not repeat it."""
    match = _BCRYPT.fullmatch(text)
    if not match or int(match["cost"]) not in _BCRYPT_COSTS:
        raise ValueError("is not a password hashed with bcrypt, like $2y$10$...: make one with 'htpasswd -nBC 10 NAME'")
    return text.encode()


def _http2(text: str) -> bool:
    if text.lower() not in ("false", "no", "off"):
        raise ValueError("HTTP/2 is not spoken here: leave the key out, or write false")
    return False


Pem = Annotated[str, scalar(_pem, "text", repeats=False)]
ClientAuth = Annotated[str, _one_of("NoClientCert", "RequestClientCert", *VERIFYING)]
Version = Annotated[str, _one_of(*VERSIONS)]
PasswordHash = Annotated[bytes, scalar(_bcrypt, "text", repeats=False)]
HeaderValue = Annotated[str, scalar(str, "text")]
Burst = Annotated[int, scalar(integer, "a whole number"), between(1, 1_000_000, "1", "1000000")]
Http2 = Annotated[bool, scalar(_http2, "true or false")]


class TlsServerSection(Section):
    """TLS of the server, and certificates of clients."""

    exactly_one = (("cert_file", "cert"), ("key_file", "key"))
    at_most_one = (("client_ca_file", "client_ca"),)

    cert: Pem | None = setting("The server's certificate, with those that it needs, in PEM.")
    key: Pem | None = setting("The certificate's private key, in PEM.")
    client_ca: Pem | None = setting("Authorities of the clients' certificates, in PEM.")
    cert_file: FilePath | None = setting("File that holds the server's certificate.")
    key_file: FilePath | None = setting("File that holds the private key.")
    client_ca_file: FilePath | None = setting("File that holds the authorities of the clients' certificates.")
    client_auth_type: ClientAuth = setting("Whether clients need a certificate.", default="NoClientCert")
    client_allowed_sans: tuple[Name, ...] | None = setting(
        "Subject alternative names, one of which a client must have."
    )
    min_version: Version = setting("Oldest version of TLS.", default="TLS12")
    max_version: Version = setting("Newest version of TLS.", default="TLS13")
    cipher_suites: Any = None
    prefer_server_cipher_suites: Any = None
    curve_preferences: Any = None

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        for name in given.given(tuple(UNSUPPORTED)):
            report.add(given[name].at, UNSUPPORTED[name])
        auth = given.text("client_auth_type") or "NoClientCert"
        ca = next(iter(given.given(("client_ca_file", "client_ca"))), None)
        if ca and auth == "NoClientCert":
            message = "has no effect without client_auth_type: RequireAndVerifyClientCert"
            report.add(given[ca].at, message, key=True)
        if not ca and auth in VERIFYING:
            message = f"{auth} needs client_ca_file: the authorities whose certificates are accepted"
            report.add(given["client_auth_type"].at, message)
        if auth == "RequestClientCert":
            message = "RequestClientCert: no certificate is requested, since none would be rejected"
            report.warn(given["client_auth_type"].at, message)
        if "client_allowed_sans" in given and auth != "RequireAndVerifyClientCert":
            message = "needs client_auth_type: RequireAndVerifyClientCert, or a client without a certificate is allowed"
            report.add(given["client_allowed_sans"].at, message, key=True)
        if given.text("min_version") == "TLS13" and given.text("max_version") == "TLS12":
            report.add(given["max_version"].at, "is older than min_version")


class HttpServerSection(Section):
    """Headers of every answer."""

    http2: Http2 | None = setting("HTTP/2 is not spoken.", default=False)
    headers: dict[str, HeaderValue] = setting("Headers added to every answer.", factory=dict)

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        headers = given.get("headers")
        if not isinstance(headers, Keys):
            return
        for name, at in headers.positions():
            text = headers.text(name) or ""
            if name not in HEADERS:
                report.add(at, f"cannot be set; the headers that can are {', '.join(HEADERS)}", key=True)
            elif text and HEADERS[name] and text not in HEADERS[name]:
                report.add(at, f"must be {' or '.join(HEADERS[name])}")
            elif not (text.isascii() and (text.isprintable() or not text)):
                report.add(at, "holds a character that cannot stand in a header")


class RateLimitSection(Section):
    """Requests beyond it are answered with 429."""

    interval: Duration = setting("Time between two requests in the long run. 0: no limit.", default="0")
    burst: Burst | None = setting("Requests allowed simultaneously.")

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        if "interval" in given and given.text("interval") not in ("0", "0s") and "burst" not in given:
            report.add(given.at, "burst is missing: without it no request at all is allowed")


class WebDocument(Section):
    """Settings of the web server."""

    tls_server_config: TlsServerSection | None = setting("TLS.")
    http_server_config: HttpServerSection | None = setting("HTTP.")
    basic_auth_users: dict[str, PasswordHash] = setting("Users and their passwords, hashed with bcrypt.", factory=dict)
    rate_limit: RateLimitSection | None = setting("Limit of requests.")

    @classmethod
    def prepare(cls, given: Keys, report: Report) -> None:
        users = given.get("basic_auth_users")
        if not isinstance(users, Keys):
            return
        for name, at in users.positions():
            if ":" in name or not name.isprintable():
                report.add(at, "no client can log in with this name: it holds ':' or an invisible character", key=True)
            if name in users.empty:
                report.add(at, "is empty: it must be a password hashed with bcrypt")
        if users and "tls_server_config" not in given:
            report.warn(users.at, "passwords travel unencrypted without tls_server_config")


def load_settings(path: Path) -> WebSettings:
    """Return the settings in the file at `path`, TLS ready to be used.

    Blocks: it reads the file and every file that it names.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    document, root, report = load_document(path, WebDocument)
    tls, http, rate = document.tls_server_config, document.http_server_config, document.rate_limit
    context = _context(tls, root["tls_server_config"], report) if tls else None
    report.raise_if_any()
    return WebSettings(
        context=context,
        users=document.basic_auth_users,
        headers={name: value for name, value in (http.headers if http else {}).items() if value},
        rate_limit=RateLimit(rate.interval, rate.burst) if rate and rate.interval and rate.burst else None,
        files=tuple(file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file) if tls else (),
        warnings=report.warnings(),
    )


def _context(section: TlsServerSection, given: Keys, report: Report) -> ServerContext | None:
    """Return the context of the settings, or None where there is a mistake, which goes to `report`."""

    def material(name: str, inline: str | None, file: Path | None) -> str:
        try:
            return inline or (read_file(file, max_bytes=_MAX_PEM_BYTES).decode("latin-1") if file else "")
        except UnusableFileError as error:
            report.add(given[name].at, f"cannot use {shown(str(file))}: {error}")
            return ""

    cert = material("cert_file", section.cert, section.cert_file)
    private_key = material("key_file", section.key, section.key_file)
    client_ca = material("client_ca_file", section.client_ca, section.client_ca_file)
    if report.mistakes:
        return None
    settings = TlsSettings(
        client_certificates=VERIFYING.get(section.client_auth_type, ssl.CERT_NONE),
        client_ca=client_ca if section.client_auth_type in VERIFYING else "",
        allowed_sans=frozenset(section.client_allowed_sans or ()),
        min_version=VERSIONS[section.min_version],
        max_version=VERSIONS[section.max_version],
    )
    try:
        return make_context(settings, cert, private_key)
    except TlsMaterialError as error:
        name = next(iter(given.given((error.part, f"{error.part}_file"))))
        report.add(given[name].at, str(error))
        return None
