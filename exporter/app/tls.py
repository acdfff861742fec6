"""TLS contexts of upstreams, and the CA files that they come from."""

import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from exporter.config import Tls
from exporter.config.files import UnusableFileError
from exporter.config.values import read_authorities
from exporter.errors import ConfigProblem, ConfigurationError, ExporterError

Contexts = Mapping[Tls, ssl.SSLContext]


class UnusableAuthorityError(ExporterError):
    """A CA file cannot be read or used; the text names it and says why."""


def context_for(tls: Tls, place: str) -> ssl.SSLContext:
    """Return the context for `tls`: the very one of before, while settings and content of the CA file are the same.

    Blocks while it reads the CA file. Raises ConfigurationError naming a file it cannot use.
    """
    try:
        return _read(tls)
    except UnusableAuthorityError as error:
        raise ConfigurationError([mistake_at(place, "tls.ca_file", str(error))]) from None


def _read(tls: Tls) -> ssl.SSLContext:
    try:
        return _made(tls, None if tls.ca_file is None else read_authorities(tls.ca_file))
    except UnusableFileError as error:
        raise UnusableAuthorityError(f"{tls.ca_file} holds no usable CA: {error}") from None


# More than there are regions: one that is unchanged keeps its context over a reload.
@lru_cache(maxsize=1024)
def _made(tls: Tls, authorities: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def mistake_at(place: str, path: str, message: str) -> ConfigProblem:
    """Return a mistake found after loading, at the `place` (FILE:LINE:COL) of the part that it is in."""
    file, line, column = place.rsplit(":", 2)
    return ConfigProblem(file, int(line), int(column), path, message)


class AuthorityFile:
    """A CA file in use, and the context with its last good content."""

    def __init__(self, tls: Tls, path: Path, context: ssl.SSLContext) -> None:
        self.identity = tls
        self.path = path
        self.log_fields = {"path": str(path)}
        self._context = context

    def read(self) -> ssl.SSLContext:
        """Return the context with the present content. Blocks. Raises UnusableAuthorityError."""
        return _read(self.identity)

    def value(self) -> ssl.SSLContext:
        return self._context

    def update(self, context: ssl.SSLContext) -> None:
        """Use what `read` returned."""
        self._context = context


def authority_files(contexts: Contexts) -> list[AuthorityFile]:
    """Return the CA files that are in use with `contexts`."""
    return [AuthorityFile(tls, tls.ca_file, context) for tls, context in contexts.items() if tls.ca_file is not None]
