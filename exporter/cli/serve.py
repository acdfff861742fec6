"""`hpc-exporter serve`: polls and serves until SIGTERM or SIGINT."""

import argparse
import asyncio
import gc
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from exporter import __version__
from exporter.app import Application, Options
from exporter.app.reload import AutoReload
from exporter.cli import check, options
from exporter.cli.commands import Command, Flag, Group, Value
from exporter.cli.output import print_line
from exporter.clock import SystemClock
from exporter.polling import WHOLE, Shard
from exporter.supervise import stop_on_signals, supervised
from exporter.systemd import Manager, passed_sockets
from exporter.version import revision
from exporter.web.connections import ConnectionLimiter
from exporter.web.listen import address_of, bind, parse_listen_address
from exporter.web.security import WebConfig
from exporter.web.server import create_app, server_of
from exporter.web.settings import load_settings

log = structlog.get_logger()

# Seconds that a request in flight gets when the process is told to stop; twice, since aiohttp then cancels it and waits.
SHUTDOWN_TIMEOUT = 1.5
# A smaller limit of connections is logged as a warning.
FEW_CONNECTIONS = 100

DEFAULT_LISTEN: Final = ":9851"
# Paths that the metrics cannot have.
TAKEN_PATHS: Final = frozenset(
    {"/", "/-/healthy", "/-/ready", "/-/reload", "/api/v1/status", "/api/v1/jobs", "/config"}
)
TAKEN_PREFIXES: Final = ("/static/", "/api/")

EXAMPLE = """example:
  hpc-exporter serve --config.file=exporter.yml
  curl http://localhost:9851/metrics
"""


def _free_path(text: str) -> str:
    """Return a path for the metrics. Raises ValueError for one that is taken."""
    taken = text in TAKEN_PATHS or text.startswith(TAKEN_PREFIXES)
    if not text.startswith("/") or taken or any(char in text for char in "{}?# "):
        raise ValueError(f"{text!r} is not a path that is free, like /metrics")
    return text


def web_server(listen_address: str) -> tuple[Group | Flag, ...]:
    """Return the flags of the server, which `demo` has as well; without one it listens on `listen_address`."""
    return (
        Group("web server"),
        Flag(
            "--web.listen-address",
            f"address to serve on; can be given several times, port 0 picks a free one (default: {listen_address})",
            options.ADDRESS,
            many=True,
        ),
        Flag("--web.systemd-socket", "listen on the sockets that systemd passes, not on --web.listen-address"),
        Flag(
            "--web.config.file",
            "TLS, client certificates, passwords and limits of the server, in the format of Prometheus' exporter-toolkit; read "
            "again when it changes",
            options.FILE,
        ),
        Flag(
            "--web.external-url", "URL of the exporter behind a reverse proxy; its path is served as well", options.URL
        ),
        Flag("--web.telemetry-path", "path of the metrics", Value("PATH", options.read_by(_free_path)), "/metrics"),
        Flag("--web.disable-exporter-metrics", "leave out the exporter's own metrics (hpc_exporter_*, process_*)"),
        Flag(
            "--web.max-requests",
            "maximum number of parallel scrapes, further ones get 503; 0 is no limit",
            options.number(0),
            40,
        ),
    )


COMMAND = Command(
    "poll and serve /metrics (what runs without a command)",
    "Poll all configured targets and serve their metrics until SIGTERM or SIGINT; SIGHUP reloads.",
    EXAMPLE,
    options.VERSION,
    Group("configuration"),
    options.CONFIG_FILE,
    Flag("--config.check", "only check the configuration, like the command check"),
    Flag("--config.enable-auto-reload", "reload automatically when the content of the configuration file changes"),
    Flag("--config.auto-reload-interval", "how often to check for such a change", options.SOME_TIME, "30s"),
    Group("sharding"),
    Flag("--shard", "which part of the targets this instance polls, counted from 0", options.number(0), 0),
    Flag(
        "--total-shards",
        "number of instances that share the targets, each with a --shard of its own",
        options.number(1),
        1,
    ),
    *web_server(DEFAULT_LISTEN),
    *options.logging(),
)


def run(args: argparse.Namespace) -> int:
    if args.config_check:
        return max(check.check(args.config_file), check_web(args.web_config_file))
    shard = shard_of(args)
    return asyncio.run(serve(args, shard))


def shard_of(args: argparse.Namespace) -> Shard:
    """Check the shard's number. Raises UsageError where there is no such part."""
    try:
        return Shard(args.shard, args.total_shards)
    except ValueError as error:
        raise options.UsageError(f"--shard does not fit --total-shards: {error}") from None


def check_web(path: Path | None) -> int:
    """Check the file of --web.config.file, if there is one; the exit status. Raises ConfigurationError."""
    if path is not None:
        load_settings(path)
        print_line(f"{path}: the web configuration is fine")
    return 0


async def serve(
    args: argparse.Namespace, shard: Shard = WHOLE, announce: Callable[[str], None] = lambda _: None
) -> int:
    """Serve until told to stop; the exit status. `announce` is told the URL of every address that is listened on."""
    stop = stop_on_signals()
    clock = SystemClock()
    manager = Manager()
    app = Application(Options(args.config_file, exporter_metrics=not args.web_disable_exporter_metrics, shard=shard))
    app.around_reload = lambda: reloading(manager)
    # Before anything takes time: a SIGHUP without a handler would end the process.
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.request_reload)
    of_shards = {"shard": shard.ordinal, "total_shards": shard.total} if shard.total > 1 else {}
    log.info(
        "starting hpc-exporter", version=__version__, revision=revision(), config=str(args.config_file), **of_shards
    )
    web_config = await WebConfig.load(args.web_config_file, clock)
    background: dict[str, Callable[[], Awaitable[None]]] = {
        "web configuration watch": web_config.watch,
        "systemd watchdog": manager.keep_alive,
    }
    watch = (
        AutoReload(args.config_file, args.config_auto_reload_interval, clock, app.reload)
        if args.config_enable_auto_reload
        else None
    )
    if watch is not None:
        background["configuration watch"] = watch.run
    try:
        if await unless(stop, started(app, watch)):
            async with supervised(background, clock=clock, observer=app.own):
                await serve_until(app, args, stop, announce, web_config=web_config, manager=manager)
    finally:
        await app.stop()
    log.info("stopped")
    return 0


async def started(app: Application, watch: AutoReload | None) -> None:
    if watch is not None:
        await watch.remember()
    tune_collector()
    with collector_paused():
        await app.start()


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`, or cancel it when `stop` is set; whether it was done. Raises what it raises."""
    doing, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        doing.cancel()
    await asyncio.wait({doing})
    if doing.cancelled():
        return False
    doing.result()
    return True


async def serve_until(
    app: Application,
    args: argparse.Namespace,
    stop: asyncio.Event,
    announce: Callable[[str], None],
    *,
    web_config: WebConfig,
    manager: Manager,
) -> None:
    """Listen, and let scrapes in flight finish once `stop` is set."""
    limiter = ConnectionLimiter()
    if limiter.limit < FEW_CONNECTIONS:
        log.warning("few clients can connect: raise the limit of open files (ulimit -n)", connections=limiter.limit)
    served = create_app(
        app,
        telemetry_path=args.web_telemetry_path,
        prefix=urlsplit(args.web_external_url or "").path,
        max_requests=args.web_max_requests,
        config=web_config,
        limiter=limiter,
    )
    runner = server_of(served, shutdown_timeout=SHUTDOWN_TIMEOUT)
    await runner.setup()
    try:
        scheme = "https" if web_config.context else "http"
        for address in await listen(runner, listeners(args), limiter, web_config.context):
            announce(args.web_external_url or f"{scheme}://{address}")
        manager.ready()
        await stop.wait()
        manager.stopping()
        log.info("stopping")
        # Requests of a reload would else wait for it.
        await app.stop_reloading()
    finally:
        await runner.cleanup()


def listeners(args: argparse.Namespace) -> Iterator[socket.socket]:
    """Yield the sockets to listen on. Raises ListenError and NoSocketsError."""
    if args.web_systemd_socket:
        yield from passed_sockets()
        return
    for host, port in args.web_listen_address or [parse_listen_address(DEFAULT_LISTEN)]:
        yield bind(host, port)


async def listen(
    runner: web.AppRunner, sockets: Iterable[socket.socket], limiter: ConnectionLimiter, tls: ssl.SSLContext | None
) -> list[str]:
    """Start serving on all sockets; their addresses, as HOST:PORT. Raises what `sockets` raises."""
    listening: list[str] = []
    for bound in sockets:
        listening.append(address_of(bound))
        await web.SockSite(runner, limiter.listener(bound), ssl_context=tls).start()
        log.info("Listening on", address=listening[-1], tls=tls is not None)
    return listening


@contextmanager
def reloading(manager: Manager) -> Iterator[None]:
    with reload_uncollected(), manager.reloading():
        yield


def tune_collector() -> None:
    """Collect the garbage of the imports, and raise the thresholds: a poll alone is some forty objects.

    A collection of 100,000 young objects, the most there can be, takes about 30 ms; a full one hardly ever takes place.
    """
    gc.collect()
    gc.set_threshold(25_000, 4, 1_000)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep objects created in the block away from the garbage collector: nearly all of them live until the next reload.

    A collection of the objects of 30,000 users blocks the event loop for a second, in whatever thread it runs.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def reload_uncollected() -> Iterator[None]:
    """As `collector_paused`, for reloads: what they froze is collected once it may be as much as all the rest."""
    try:
        with collector_paused():
            yield
    finally:
        _frozen.check()


class Frozen:
    """Bounds frozen garbage by the memory that is in use, in blocks: to count the frozen objects takes 25 ms a million."""

    def __init__(self) -> None:
        self._usual = 0

    def check(self) -> None:
        """Run a full collection where twice as much is in use as after the last one, or at the first check."""
        if self._usual and sys.getallocatedblocks() <= 2 * self._usual:
            return
        if self._usual:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
        self._usual = sys.getallocatedblocks()


# There is one collector in a process.
_frozen = Frozen()
