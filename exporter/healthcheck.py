"""`python -m exporter.healthcheck`: what a container's HEALTHCHECK runs. Exit status 0 if the exporter answers, 1 if not.

It asks where the container's first process was told to listen, so that a changed port needs no second setting. Flags
of `serve` given to it take the place of that process' own. Any answer counts that is not a server error, also one that
asks for a password or a certificate: whether the process is alive is the question here, whether its targets are is that
of its metrics. Only light modules are imported: it runs twice a minute.
"""

import argparse
import http.client
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

DEFAULT: Final = "127.0.0.1:9851"
# Seconds; the HEALTHCHECK of the Dockerfile grants a little more.
TIMEOUT: Final = 4.0
WANTS_CERTIFICATE: Final = http.client.FORBIDDEN
# Where one is connected to that listens on all interfaces.
_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked of, not bound to


def main(arguments: Sequence[str]) -> int:
    """Say how the exporter does that was started with these arguments."""
    try:
        given = flags(arguments)
        connection = connect(given.address[0] if given.address else DEFAULT, tls=serves_tls(given.web_config))
        status = status_of(connection)
    except (OSError, http.client.HTTPException, ValueError, yaml.YAMLError) as error:
        print(f"the exporter does not answer: {str(error) or type(error).__name__}")
        return 1
    print(f"the exporter answers {status}")
    return 1 if status >= http.client.INTERNAL_SERVER_ERROR else 0


def flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The two flags that say how to reach it, among any others."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--web.listen-address", dest="address", action="append", default=[])
    parser.add_argument("--web.config.file", dest="web_config", type=Path)
    # An init before it ends its own flags so, and argparse would end all.
    return parser.parse_known_args([argument for argument in arguments if argument != "--"])[0]


def serves_tls(web_config: Path | None) -> bool:
    """Whether the file of --web.config.file asks for TLS. Raises OSError, yaml.YAMLError."""
    if web_config is None:
        return False
    settings = yaml.safe_load(web_config.read_bytes())
    return isinstance(settings, dict) and bool(settings.get("tls_server_config"))


def connect(address: str, *, tls: bool) -> http.client.HTTPConnection:
    """To a listen address, HOST:PORT or :PORT. Raises ValueError."""
    parts = urlsplit(f"//{address}")
    host = _LOOPBACK.get(parts.hostname or "", parts.hostname)
    if not tls:
        return http.client.HTTPConnection(str(host), parts.port, timeout=TIMEOUT)
    context = ssl.create_default_context()
    # It asks itself, and its certificate names the outside.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(str(host), parts.port, timeout=TIMEOUT, context=context)


def status_of(connection: http.client.HTTPConnection) -> int:
    """The status of /-/healthy. Raises OSError, http.client.HTTPException."""
    try:
        connection.connect()
        return asked(connection)
    except ssl.SSLError as error:
        if "ALERT" not in str(error.reason):
            raise
        return WANTS_CERTIFICATE
    finally:
        connection.close()


def asked(connection: http.client.HTTPConnection) -> int:
    try:
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status
    except ConnectionError:
        # With TLS 1.3 the server shows only now that it wants the certificate of a client. It has answered by then.
        if isinstance(connection, http.client.HTTPSConnection):
            return WANTS_CERTIFICATE
        raise


def first_process() -> list[str]:
    """The command line of the container's first process."""
    return Path("/proc/1/cmdline").read_text(encoding="utf-8").split("\0")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or first_process()))
