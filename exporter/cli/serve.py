"""`hpc-exporter serve`: polls and serves until SIGTERM or SIGINT."""

import argparse
import asyncio
import os
import platform
import signal
from collections.abc import Callable, Sequence

import structlog
from aiohttp import web

from exporter import __version__
from exporter.app import Application, Options
from exporter.cli import check, options
from exporter.errors import ConfigurationError
from exporter.log import redact_with
from exporter.web import bind, create_app, server_logger
from exporter.web.listen import address_of

log = structlog.get_logger()

# A scrape in flight when the process is told to stop gets this long, in seconds.
SHUTDOWN_TIMEOUT = 10.0

EXAMPLE = """example:
  hpc-exporter serve --config.file=exporter.yml
  curl http://localhost:9851/metrics
"""


def version_text() -> str:
    """The answer to --version, in the shape of Prometheus' own programs."""
    revision = os.environ.get("HPC_EXPORTER_REVISION", "unknown")
    return f"hpc-exporter, version {__version__} (revision: {revision})\n  python version: {platform.python_version()}"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "serve",
        help="poll and serve /metrics (what runs without a command)",
        description="Poll all configured targets and serve their metrics until SIGTERM or SIGINT; SIGHUP reloads.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_config_file(parser)
    parser.add_argument(
        "--config.check",
        dest="config_check",
        action="store_true",
        help="only check the configuration, like the command check",
    )
    options.add_web(parser, options.DEFAULT_LISTEN)
    options.add_logging(parser)
    parser.add_argument("--version", action="version", version=version_text())
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.config_check:
        return check.check(args.config_file)
    options.setup_logging(args)
    return asyncio.run(serve(args))


def ignore(_address: str) -> None:
    """Tell nobody; the log has a line about every address."""


async def serve(args: argparse.Namespace, announce: Callable[[str], None] = ignore) -> int:
    """Serve until told to stop; the exit status. `announce` is told every address (HOST:PORT) that is listened on."""
    stop = stop_on_signals()
    app = Application(Options(args.config_file, exporter_metrics=not args.disable_exporter_metrics))
    redact_with(app.secret_values)
    # Before anything takes time: a SIGHUP without a handler would end the process.
    reload_on_sighup(app)
    log.info("starting hpc-exporter", version=__version__, config=str(args.config_file))
    await app.start()
    try:
        await serve_until(app, args, stop, announce)
    finally:
        await app.stop()
    log.info("stopped")
    return 0


async def serve_until(
    app: Application, args: argparse.Namespace, stop: asyncio.Event, announce: Callable[[str], None]
) -> None:
    """Listen, reload on SIGHUP, and let scrapes in flight finish once `stop` is set."""
    runner = web.AppRunner(
        create_app(app, telemetry_path=args.telemetry_path, max_requests=args.max_requests),
        access_log=None,
        logger=server_logger(),
        shutdown_timeout=SHUTDOWN_TIMEOUT,
    )
    await runner.setup()
    try:
        for address in await listen(runner, args.listen_addresses or [args.default_listen]):
            announce(address)
        await stop.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()


async def listen(runner: web.AppRunner, addresses: Sequence[tuple[str, int]]) -> list[str]:
    """Start serving on all addresses; those really listened on, as HOST:PORT. Raises ListenError."""
    listening: list[str] = []
    for host, port in addresses:
        listener = bind(host, port)
        await web.SockSite(runner, listener).start()
        listening.append(address_of(listener))
        log.info("Listening on", address=listening[-1])
    return listening


def stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def reload_on_sighup(app: Application) -> None:
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await app.reload()
        except ConfigurationError as error:
            # Its text says all; a traceback would only hide it.
            log.error("the configuration was not reloaded; the old one goes on", error=str(error))  # noqa: TRY400

    def start() -> None:
        task = asyncio.ensure_future(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, start)
