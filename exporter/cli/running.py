"""The running exporter, as commands ask it for its status."""

import argparse
from typing import Any, Final, Self

import msgspec

from exporter.cli import options
from exporter.cli.commands import Flag
from exporter.cli.http_client import Access, Server, http_config, load_access
from exporter.errors import DecodeError, ExporterError, PollError, UpstreamConnectionError
from exporter.http import Response
from exporter.sources.values import UNREADABLE

# Targets of one request, the most there can be.
LIMIT: Final = 10_000


# The flags that say which exporter to ask, and how.
EXPORTER: Final = (
    Flag("--url", "the exporter", options.URL, "http://localhost:9851"),
    http_config("the exporter"),
)


class Client:
    """Asks a running exporter for its status."""

    def __init__(self, url: str, access: Access) -> None:
        self._server = Server(url, access)

    async def status(self) -> dict[str, Any]:
        """Return the status with all targets. Raises PollError."""
        status = await self._page(0)
        targets = status["targets"]
        while (offset := status["page"]["next_offset"]) is not None:
            status = await self._page(offset)
            targets += status["targets"]
        return {**status, "targets": targets}

    async def _page(self, offset: int) -> dict[str, Any]:
        return await self._server.get(f"/api/v1/status?limit={LIMIT}&offset={offset}", decoded)

    async def close(self) -> None:
        await self._server.close()

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self:
        """Return the client that the flags describe. Raises ConfigurationError for a file that cannot be used."""
        return cls(args.url, load_access(args.http_config_file))


def unanswered(url: str, error: PollError) -> ExporterError:
    """Return the error of a command that asked in vain; it tells what to do where nothing listens."""
    hint = "; start the exporter with hpc-exporter serve, or say where it runs with --url=http://HOST:PORT"
    return ExporterError(f"{url}: {error}{hint if isinstance(error, UpstreamConnectionError) else ''}")


def decoded(response: Response) -> dict[str, Any]:
    """Return the status in an answer. Raises DecodeError."""
    try:
        status = msgspec.json.decode(response.body, type=dict[str, Any])
        if {"targets", "sources", "summary", "page", "time"} <= status.keys():
            return status
    except UNREADABLE:
        pass
    raise DecodeError(f"HTTP {response.status}: this is no status of an hpc-exporter; is the address right?")
