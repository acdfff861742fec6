"""TLS settings of an upstream as Python wants them."""

import ssl
from functools import lru_cache

from exporter.config import Tls
from exporter.config.files import UnusableFileError, read_file
from exporter.errors import ConfigurationError, Mistake

_MAX_PEM_BYTES = 8 * 1024 * 1024


def context_for(tls: Tls, place: str) -> ssl.SSLContext:
    """The context for `tls`: the very one of before, while the settings and the content of the CA file are the same.

    Blocks while it reads the CA file. Raises ConfigurationError naming a file it cannot use.
    """
    try:
        pem = read_file(tls.ca_file, max_bytes=_MAX_PEM_BYTES) if tls.ca_file is not None else None
        return _made(tls, pem)
    except (UnusableFileError, ssl.SSLError, ValueError) as error:
        reason = str(error) if isinstance(error, UnusableFileError) else "it holds no certificate in PEM form"
        raise ConfigurationError(
            [mistake_at(place, "tls.ca_file", f"{tls.ca_file} holds no usable CA: {reason}")]
        ) from None


# A region goes on over a reload with the context that it has: more than there are regions.
@lru_cache(maxsize=1024)
def _made(tls: Tls, pem: bytes | None) -> ssl.SSLContext:
    authorities = None if pem is None else pem.decode("ascii", "ignore")
    if authorities == "":
        # The system's authorities would stand in for none.
        raise ValueError("no certificate")
    context = ssl.create_default_context(cadata=authorities)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def mistake_at(place: str, path: str, message: str) -> Mistake:
    """A mistake found after loading, at the `place` (FILE:LINE:COL) of the part that it is in."""
    file, line, column = place.rsplit(":", 2)
    return Mistake(file, int(line), int(column), path, message)
