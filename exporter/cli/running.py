"""The running exporter, as commands ask it for its status."""

import argparse
import asyncio
from base64 import b64encode
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from exporter.app.membership import Unobserved
from exporter.app.tls import context_for
from exporter.cli import options
from exporter.cli.options import UsageError
from exporter.clock import SystemClock
from exporter.config import Tls
from exporter.config.files import UnusableFileError, read_file
from exporter.errors import AuthenticationError, DecodeError, ExporterError, PollError, UpstreamConnectionError
from exporter.http import Request, Response, Settings, Upstream

# Targets of one request, the most there can be.
LIMIT: Final = 10_000
LONGEST_PASSWORD: Final = 4096


def add_exporter(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say which exporter to ask, and how."""
    parser.add_argument(
        "--url",
        type=options.external_url,
        default="http://localhost:9851",
        metavar="URL",
        help="the exporter (default: %(default)s)",
    )
    options.add_path(parser, "--ca-file", help="private CA of the exporter")
    parser.add_argument("--user", metavar="NAME", help="login, if the exporter requires one")
    options.add_path(parser, "--password-file", help="its password")


class Client:
    """Asks a running exporter for its status."""

    def __init__(self, url: str, ca_file: Path | None, authorization: str) -> None:
        self._url = url
        self._headers = {"Authorization": authorization} if authorization else {}
        tls = context_for(Tls(ca_file=ca_file), "--ca-file:1:1") if url.startswith("https:") else True
        settings = Settings(urlsplit(url).netloc, timeout=30.0, retries=0)
        self._upstream = Upstream(
            settings, slots=asyncio.Semaphore(1), observer=Unobserved(), clock=SystemClock(), tls=tls
        )

    async def status(self) -> dict[str, Any]:
        """Return the status with all targets. Raises PollError."""
        status = await self._page(0)
        targets = status["targets"]
        while (offset := status["page"]["next_offset"]) is not None:
            status = await self._page(offset)
            targets += status["targets"]
        return {**status, "targets": targets}

    async def _page(self, offset: int) -> dict[str, Any]:
        url = f"{self._url}/api/v1/status?limit={LIMIT}&offset={offset}"
        secrets = tuple(self._headers.values())
        return await self._upstream.call(Request("status", url, headers=self._headers, secrets=secrets), decoded)

    async def close(self) -> None:
        await self._upstream.close()

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """Return the client that the flags describe. Raises UsageError, and ExporterError for a password that cannot be read."""
        if (args.user is None) != (args.password_file is None):
            raise UsageError("--user and --password-file belong together")
        return cls(args.url, args.ca_file, _basic_auth(args.user, args.password_file))


def unanswered(url: str, error: PollError) -> ExporterError:
    """Return the error of a command that asked in vain; it tells what to do where nothing listens."""
    hint = "; start the exporter with hpc-exporter serve, or say where it runs with --url=http://HOST:PORT"
    return ExporterError(f"{url}: {error}{hint if isinstance(error, UpstreamConnectionError) else ''}")


def decoded(response: Response) -> dict[str, Any]:
    """Return the status in an answer. Raises AuthenticationError and DecodeError."""
    if response.status in (401, 403):
        raise AuthenticationError(f"HTTP {response.status}: give --user and --password-file that the exporter accepts")
    try:
        status = msgspec.json.decode(response.body, type=dict[str, Any])
        if {"targets", "sources", "summary", "page", "time"} <= status.keys():
            return status
    except msgspec.MsgspecError:
        pass
    raise DecodeError(f"HTTP {response.status}: this is no status of an hpc-exporter; is the address right?")


def _basic_auth(user: str | None, file: Path | None) -> str:
    if user is None or file is None:
        return ""
    try:
        password = read_file(file, max_bytes=LONGEST_PASSWORD).decode(errors="replace").strip()
    except UnusableFileError as error:
        raise ExporterError(f"{file}: {error}") from None
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"
