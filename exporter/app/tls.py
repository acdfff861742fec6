"""TLS settings of an upstream as Python wants them."""

import ssl
from functools import lru_cache
from hashlib import blake2b

from exporter.config import Tls
from exporter.errors import ConfigurationError, Mistake


def context_for(tls: Tls, place: str) -> ssl.SSLContext:
    """The context for `tls`: the very one of before, while the settings and the content of the CA file are the same.

    Blocks while it reads the CA file. Raises ConfigurationError naming a file it cannot use.
    """
    try:
        digest = blake2b(tls.ca_file.read_bytes()).digest() if tls.ca_file is not None else b""
        return _made(tls, digest)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            [mistake_at(place, "tls.ca_file", f"{tls.ca_file} holds no usable CA: {reason}")]
        ) from None


# A region goes on over a reload with the context that it has: more than there are regions.
@lru_cache(maxsize=1024)
def _made(tls: Tls, _content: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def mistake_at(place: str, path: str, message: str) -> Mistake:
    """A mistake found after loading, at the `place` (FILE:LINE:COL) of the part that it is in."""
    file, line, column = place.rsplit(":", 2)
    return Mistake(file, int(line), int(column), path, message)
