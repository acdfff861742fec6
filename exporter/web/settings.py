"""The file behind --web.config.file: the format of Prometheus' exporter-toolkit, as far as Python can honour it.

The format: https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. What Python's TLS
cannot do is rejected with a message, so that nobody believes to have it.
"""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from exporter.config.checks import check_one_of
from exporter.config.files import UnusableFileError, read_file
from exporter.config.loading import load_document
from exporter.config.tree import Keys, Report, find, shown
from exporter.config.tree import Path as TreePath
from exporter.config.values import Duration, FilePath, Name, Section, between, integer, scalar
from exporter.config.values import key as setting
from exporter.errors import ConfigurationError
from exporter.web.tls import ServerContext, TlsMaterial, TlsMaterialError, TlsSettings, make_context

VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
# Those that exporter-toolkit lets people set, and the values of the ones that have few.
HEADERS: Final[Mapping[str, tuple[str, ...]]] = {
    "Strict-Transport-Security": (),
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": (),
    "Content-Security-Policy": (),
}
_CLIENT_AUTH = ("NoClientCert", "RequestClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
_VERIFYING = ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
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
    """The settings in the file. `users` gives each name's bcrypt hash; `files` are those that the file names."""

    tls: TlsSettings | None = None
    context: ServerContext | None = field(default=None, compare=False, repr=False)
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    rate_limit: RateLimit | None = None
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def _refused(why: str) -> Any:
    def refuse(_: object) -> None:
        raise ValueError(why)

    return Annotated[None, BeforeValidator(refuse)]


def _one_of(known: tuple[str, ...], others: Mapping[str, str]) -> BeforeValidator:
    """Read one of the words in `known`; `others` says why a word of the format cannot be used here."""

    def read(text: str) -> str:
        if text in others:
            raise ValueError(f"{text} cannot be used: {others[text]}")
        if text not in known:
            raise ValueError(f"{shown(text)} is none of {', '.join(known)}")
        return text

    return scalar(read, "text")


def _pem(text: str) -> str:
    if "-----BEGIN " not in text:
        raise ValueError("is not PEM: it must hold a line like '-----BEGIN CERTIFICATE-----'")
    return text


def _bcrypt(text: str) -> bytes:
    """The hash of a password. The messages do not repeat it."""
    match = _BCRYPT.fullmatch(text)
    if not match or int(match["cost"]) not in _BCRYPT_COSTS:
        raise ValueError("is not a password hashed with bcrypt, like $2y$10$...: make one with 'htpasswd -nBC 10 NAME'")
    return text.encode()


def _http2(text: str) -> bool:
    if text.lower() not in ("false", "no", "off"):
        raise ValueError("HTTP/2 is not spoken here: leave the key out, or write false")
    return False


_NO_VERIFYING = (
    "Python cannot demand a certificate without verifying it; use RequireAndVerifyClientCert, with client_ca_file"
)
_OLD_TLS = "it is no longer secure, and the TLS library does not speak it; use TLS12 or TLS13"
_CIPHERS = (
    "the names of Go's cipher suites mean nothing to Python's TLS: leave it out; min_version: TLS13 has only safe ones"
)
_ORDER = "the order of cipher suites cannot be set here: leave it out"
_CURVES = "elliptic curves cannot be chosen here: leave it out"

Pem = Annotated[str, scalar(_pem, "text", repeats=False)]
ClientAuth = Annotated[
    str,
    _one_of(_CLIENT_AUTH, {"RequireAnyClientCert": _NO_VERIFYING, "RequireClientCert": _NO_VERIFYING}),
]
Version = Annotated[str, _one_of(tuple(VERSIONS), {"TLS10": _OLD_TLS, "TLS11": _OLD_TLS})]
PasswordHash = Annotated[bytes, scalar(_bcrypt, "text", repeats=False)]
HeaderValue = Annotated[str, scalar(str, "text")]
Burst = Annotated[int, scalar(integer, "a whole number"), between(1, 1_000_000, "1", "1000000")]
Http2 = Annotated[bool, scalar(_http2, "true or false")]


class TlsServerSection(Section):
    """TLS of the server, and certificates of clients."""

    cert: Pem | None = setting("The server's certificate, with those that it needs, in PEM.")
    key: Pem | None = setting("The certificate's private key, in PEM.")
    client_ca: Pem | None = setting("Authorities of the clients' certificates, in PEM.")
    cert_file: FilePath | None = setting("File that holds the server's certificate.")
    key_file: FilePath | None = setting("File that holds the private key.")
    client_ca_file: FilePath | None = setting("File that holds the authorities of the clients' certificates.")
    client_auth_type: ClientAuth | None = setting("Whether clients need a certificate.", "NoClientCert")
    client_allowed_sans: tuple[Name, ...] | None = setting(
        "Subject alternative names, one of which a client must have."
    )
    min_version: Version | None = setting("Oldest version of TLS.", "TLS12")
    max_version: Version | None = setting("Newest version of TLS.", "TLS13")
    cipher_suites: _refused(_CIPHERS) = None  # type: ignore[valid-type]  # a type that a function makes
    prefer_server_cipher_suites: _refused(_ORDER) = None  # type: ignore[valid-type]  # the same
    curve_preferences: _refused(_CURVES) = None  # type: ignore[valid-type]  # the same


class HttpServerSection(Section):
    """Headers of every answer."""

    http2: Http2 | None = setting("HTTP/2 is not spoken.", default=False)
    headers: dict[str, HeaderValue] | None = setting("Headers added to every answer.")


class RateLimitSection(Section):
    """Requests beyond it are answered with 429."""

    interval: Duration | None = setting("Time between two requests in the long run. 0: no limit.", "0")
    burst: Burst | None = setting("Requests allowed at once.")


class WebDocument(Section):
    """Settings of the web server."""

    tls_server_config: TlsServerSection | None = setting("TLS.")
    http_server_config: HttpServerSection | None = setting("HTTP.")
    basic_auth_users: dict[str, PasswordHash] | None = setting("Users and their passwords, hashed with bcrypt.")
    rate_limit: RateLimitSection | None = setting("How often the server may be asked.")


def load_settings(path: Path) -> WebSettings:
    """Return the settings in the file at `path`, TLS ready to be used.

    Blocks: it reads the file and every file that it names.

    Raises:
        ConfigurationError: with every mistake in it.

    """
    document, root, report = load_document(path, WebDocument, _check)
    section = document.tls_server_config
    tls, context, files = (None, None, ()) if section is None else _tls(section, root, report)
    if report.mistakes:
        raise ConfigurationError(report.mistakes)
    http, rate = document.http_server_config, document.rate_limit
    return WebSettings(
        tls=tls,
        context=context,
        users=document.basic_auth_users or {},
        headers={name: value for name, value in ((http and http.headers) or {}).items() if value},
        rate_limit=RateLimit(rate.interval, rate.burst) if rate and rate.interval and rate.burst else None,
        files=files,
        warnings=_warnings(document, root, report),
    )


def _tls(
    section: TlsServerSection, root: Keys, report: Report
) -> tuple[TlsSettings | None, ServerContext | None, tuple[Path, ...]]:
    """The settings, their context, and the files that they came from; mistakes go to `report`."""
    path: TreePath = ("tls_server_config",)

    def material(name: str, inline: str | None, file: Path | None) -> str:
        try:
            return inline or (read_file(file, max_bytes=_MAX_PEM_BYTES).decode("latin-1") if file else "")
        except UnusableFileError as error:
            report.add(find(root, (*path, name))[1].place, (*path, name), f"cannot use {shown(str(file))}: {error}")
            return ""

    cert = material("cert_file", section.cert, section.cert_file)
    private_key = material("key_file", section.key, section.key_file)
    client_ca = material("client_ca_file", section.client_ca, section.client_ca_file)
    files = tuple(file for file in (section.cert_file, section.key_file, section.client_ca_file) if file)
    if report.mistakes:
        return None, None, files
    verifying = section.client_auth_type in _VERIFYING
    settings = TlsSettings(
        client_certificates=ssl.CERT_NONE
        if not verifying
        else ssl.CERT_REQUIRED
        if section.client_auth_type == "RequireAndVerifyClientCert"
        else ssl.CERT_OPTIONAL,
        client_ca=client_ca if verifying else "",
        allowed_sans=frozenset(section.client_allowed_sans or ()),
        min_version=VERSIONS[section.min_version or "TLS12"],
        max_version=VERSIONS[section.max_version or "TLS13"],
    )
    try:
        return settings, make_context(settings, TlsMaterial(cert, private_key)), files
    except TlsMaterialError as error:
        given = next(name for name in (error.part, f"{error.part}_file") if getattr(section, name) is not None)
        place = find(root, (*path, given))[1].place
        report.add(place, (*path, given), str(error))
        return None, None, files


def _check(root: Keys, report: Report) -> None:
    """Report what the format's parts cannot say each by itself."""
    for name, check in _CHECKS.items():
        entry = root.given(name)
        if entry and isinstance(entry.node, Keys):
            check(entry.node, (name,), report)


def _check_tls(tls: Keys, path: TreePath, report: Report) -> None:
    check_one_of(tls, path, ("cert_file", "cert"), report)
    check_one_of(tls, path, ("key_file", "key"), report)
    check_one_of(tls, path, ("client_ca_file", "client_ca"), report, needed=False)
    auth = tls.text("client_auth_type") or "NoClientCert"
    ca = next((name for name in ("client_ca_file", "client_ca") if tls.given(name)), None)
    if ca and auth == "NoClientCert":
        message = "has no effect without client_auth_type: RequireAndVerifyClientCert"
        report.add(tls.entries[ca].key_place, (*path, ca), message)
    if not ca and auth in _VERIFYING:
        message = f"{auth} needs client_ca_file: the authorities whose certificates are accepted"
        report.add(tls.entries["client_auth_type"].node.place, (*path, "client_auth_type"), message)
    if tls.given("client_allowed_sans") and auth != "RequireAndVerifyClientCert":
        message = "needs client_auth_type: RequireAndVerifyClientCert, or a client without a certificate is let in"
        report.add(tls.entries["client_allowed_sans"].key_place, (*path, "client_allowed_sans"), message)
    if tls.text("min_version") == "TLS13" and tls.text("max_version") == "TLS12":
        report.add(tls.entries["max_version"].node.place, (*path, "max_version"), "is older than min_version")


def _check_http(http: Keys, path: TreePath, report: Report) -> None:
    headers = http.given("headers")
    if headers is None or not isinstance(headers.node, Keys):
        return
    for name, entry in headers.node.entries.items():
        text = headers.node.text(name) or ""
        where = (*path, "headers", name)
        if name not in HEADERS:
            report.add(entry.key_place, where, f"cannot be set; the headers that can are {', '.join(HEADERS)}")
        elif text and HEADERS[name] and text not in HEADERS[name]:
            report.add(entry.node.place, where, f"must be {' or '.join(HEADERS[name])}")
        elif not (text.isascii() and (text.isprintable() or not text)):
            report.add(entry.node.place, where, "holds a character that cannot stand in a header")


def _check_users(users: Keys, path: TreePath, report: Report) -> None:
    for name, entry in users.entries.items():
        if ":" in name or not name.isprintable():
            message = "nobody can log in with this name: it holds ':' or an invisible character"
            report.add(entry.key_place, (*path, name), message)
        if users.given(name) is None:
            report.add(entry.node.place, (*path, name), "is empty: it must be a password hashed with bcrypt")


def _check_rate(rate: Keys, path: TreePath, report: Report) -> None:
    if rate.given("interval") and rate.text("interval") not in ("0", "0s") and not rate.given("burst"):
        report.add(rate.place, path, "burst is missing: without it no request at all is allowed")


_CHECKS: Final[Mapping[str, Callable[[Keys, TreePath, Report], None]]] = {
    "tls_server_config": _check_tls,
    "http_server_config": _check_http,
    "basic_auth_users": _check_users,
    "rate_limit": _check_rate,
}


def _warnings(document: WebDocument, root: Keys, report: Report) -> tuple[str, ...]:
    tls, warnings = document.tls_server_config, []
    if tls is not None and tls.client_auth_type == "RequestClientCert":
        place = find(root, ("tls_server_config", "client_auth_type"))[1].place
        message = "RequestClientCert: no certificate is asked for, since none would be refused"
        warnings.append(f"{report.where(place)}: tls_server_config.client_auth_type: {message}")
    if tls is None and document.basic_auth_users:
        place = find(root, ("basic_auth_users",))[1].place
        message = "passwords travel unencrypted without tls_server_config"
        warnings.append(f"{report.where(place)}: basic_auth_users: {message}")
    return tuple(warnings)
