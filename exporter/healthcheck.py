"""`python -m exporter.healthcheck`, for a container's HEALTHCHECK: exit status 0 if the exporter answers, else 1.

It connects to the listen address of the container's first process, so that a changed port needs no second setting.
Flags of `serve` given to it replace those of that process. Every answer but a server error counts as healthy, also a
demand for a password; with TLS, a finished handshake does, since a request may need a client certificate. The check is
about the process alone; the health of its targets is in its metrics. Only light modules are imported: it runs twice a
minute.
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
# Seconds; the timeout of the HEALTHCHECK in the Dockerfile is a little longer.
TIMEOUT: Final = 4.0
# The address of a server that listens on all interfaces.
_LOOPBACK: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - connected to, not bound to


def main(arguments: Sequence[str]) -> int:
    """Print whether the exporter that was started with these arguments answers; return the exit status."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--web.listen-address", dest="addresses", action="append", default=[])
    parser.add_argument("--web.config.file", dest="web_config", type=Path)
    # An init process ends its own flags with it; argparse would take the rest for positional arguments.
    given, _ = parser.parse_known_args([argument for argument in arguments if argument != "--"])
    try:
        settings = yaml.safe_load(given.web_config.read_bytes()) if given.web_config else None
        tls = isinstance(settings, dict) and bool(settings.get("tls_server_config"))
        answer = _answer([*given.addresses, DEFAULT][0], tls=tls)
    except (OSError, http.client.HTTPException, ValueError, yaml.YAMLError) as error:
        print(f"the exporter does not answer: {str(error) or type(error).__name__}")
        return 1
    print(f"the exporter answers {answer}")
    return 1 if answer.startswith("5") else 0


def _answer(address: str, *, tls: bool) -> str:
    """Return the status of /-/healthy, or "TLS", at a listen address. Raises OSError, HTTPException, ValueError."""
    parts = urlsplit(f"//{address}")
    host, port = _LOOPBACK.get(parts.hostname or "", parts.hostname) or "", parts.port or 0
    if tls:
        ssl.get_server_certificate((host, port), timeout=TIMEOUT)
        return "TLS"
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/-/healthy")
        return str(connection.getresponse().status)
    finally:
        connection.close()


if __name__ == "__main__":
    # Without flags, those of the container's first process.
    sys.exit(main(sys.argv[1:] or Path("/proc/1/cmdline").read_text(encoding="utf-8").split("\0")))
