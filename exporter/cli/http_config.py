"""The file behind --http.config.file: how to reach a Prometheus, in the format of its own clients, such as promtool.

The format: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#http_config. Secrets stand in files, never
on a command line, where every user of the machine can see them.
"""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.app.tls import context_for
from exporter.config import Secret, Tls
from exporter.config.loading import load_document
from exporter.config.section import Section, key, needed
from exporter.config.values import BodySecret, BodySecretFile, HeaderSecret, HeaderSecretFile, Name


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


class HttpDocument(Section):
    """Settings of a client."""

    at_most_one = (("basic_auth", "authorization"),)

    basic_auth: BasicAuth | None = key("A user and a password.")
    authorization: Authorization | None = key("A token.")
    tls_config: Tls = key("How the certificate is verified.", factory=Tls)


@dataclass(frozen=True, slots=True)
class Access:
    """Headers and TLS of requests to a server; `secrets` are those in the headers."""

    tls: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def load_access(path: Path | None) -> Access:
    """Return the content of the file at `path`. Blocks. Raises ConfigurationError with every mistake in it."""
    if path is None:
        return Access()
    document = load_document(path, HttpDocument)[0]
    tls = context_for(document.tls_config, document.tls_config.place or f"{path}:1:1")
    if (basic := document.basic_auth) is not None:
        password = _value(basic.password)
        encoded = base64.b64encode(f"{basic.username}:{password}".encode()).decode()
        return Access(tls, {"Authorization": f"Basic {encoded}"}, (password, encoded))
    if (given := document.authorization) is not None:
        token = _value(given.credentials)
        return Access(tls, {"Authorization": f"{given.type} {token}"}, (token,))
    return Access(tls)


def _value(secret: Secret | None) -> str:
    assert secret is not None  # noqa: S101 - the section's checks see to it
    return secret.value()
