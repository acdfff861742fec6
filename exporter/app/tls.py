"""TLS settings of an upstream as Python wants them."""

import ssl

from exporter.config import Tls
from exporter.errors import ConfigurationError, Mistake


def context_for(tls: Tls, place: str) -> ssl.SSLContext:
    """The context for `tls`. Blocks while it reads the CA file. Raises ConfigurationError naming a file it cannot use."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            [mistake_at(place, "tls.ca_file", f"{tls.ca_file} holds no usable CA: {reason}")]
        ) from None
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def mistake_at(place: str, path: str, message: str) -> Mistake:
    """A mistake found after loading, at the `place` (FILE:LINE:COL) of the part that it is in."""
    file, line, column = place.rsplit(":", 2)
    return Mistake(file, int(line), int(column), path, message)
