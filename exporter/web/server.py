"""The routes of `serve`."""

import hashlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from itertools import accumulate
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import msgspec
import structlog
from aiohttp import hdrs, web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler

from exporter.app.joblist import JobSelection
from exporter.app.status import Selection
from exporter.clock import SystemClock
from exporter.errors import ConfigurationError
from exporter.metrics.format import Format
from exporter.text import encodable
from exporter.web.connections import KEEPALIVE_TIMEOUT, ConnectionLimiter
from exporter.web.csv import COLUMNS, csv_of
from exporter.web.lists import PER_JOB, missing_sources
from exporter.web.middleware import connection, counting, limit_requests, send
from exporter.web.negotiation import accepts_gzip, negotiate
from exporter.web.page import StatusPage
from exporter.web.passwords import WAITING, PasswordChecks
from exporter.web.query import QueryError, job_selection_of, page_query, selection_of
from exporter.web.security import WebConfig, access, add_headers
from exporter.web.settings import WebSettings
from exporter.web.texts import Texts, chosen_language

log = structlog.get_logger()

T = TypeVar("T")
TEXT: Final = "text/plain"
STATIC_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# The page loads only the exporter's own files; names from upstreams are text.
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Language",
    "X-Content-Type-Options": "nosniff",
}
# Bytes of an answer above which it is compressed in a thread.
COMPRESSED_ON_LOOP: Final = 16 * 1024
API_PATHS: Final = ("/api/v1/status", "/api/v1/jobs")
# Header of a CSV that lacks what is not known: the regions and clusters whose jobs or members these are.
MISSING: Final = "X-Missing-Sources"
MOST_NAMES: Final = 50
# Bytes of them; many clients take a header of 8 KiB.
MOST_OF_NAMES: Final = 8000
CSV_PATHS: Final = tuple(f"/api/v1/{view}.csv" for view in COLUMNS)
# Seconds in which an answer has to be read; the scrape timeout of Prometheus is shorter.
SENDING_TIMEOUT: Final = 60.0


class ExporterApi(Protocol):
    """The application, as far as it is served."""

    @property
    def ready(self) -> bool: ...
    async def metrics(self, fmt: Format, *, compress: bool) -> bytes: ...
    async def status_as(
        self, made: Callable[[dict[str, Any]], T], selection: Selection, wanted: Callable[[], bool]
    ) -> T: ...
    async def effective_config(self) -> str: ...
    async def reload(self) -> None: ...
    def http_request(self, path: str, code: int) -> None: ...


def create_app(
    exporter: ExporterApi,
    *,
    telemetry_path: str = "/metrics",
    prefix: str = "",
    max_requests: int = 40,
    sending_timeout: float = SENDING_TIMEOUT,
    config: WebConfig | None = None,
    limiter: ConnectionLimiter | None = None,
) -> web.Application:
    """Return the web application. Everything is served below the path `prefix` as well, if there is one.

    At most `max_requests` scrapes are served simultaneously (0: any number), and as many requests for each of the
    status page, the status as JSON and the configuration. A client that has not read an answer after `sending_timeout`
    seconds is disconnected. `config` says which requests are allowed, by default all; `limiter` is that of the
    listeners.
    """
    config = config or WebConfig(None, SystemClock(), WebSettings(), {})
    limiter = limiter or ConnectionLimiter()
    # Clients that guess passwords must not hold all connections: most of them are answered, and then idle.
    passwords = PasswordChecks(max(1, min(WAITING, limiter.limit // 4)))
    known = frozenset({"/", telemetry_path, "/-/healthy", "/-/ready", "/-/reload", *API_PATHS, "/config", *CSV_PATHS})
    app = web.Application(
        middlewares=[
            connection(limiter, sending_timeout),
            counting(exporter.http_request, known, prefix),
            access(config, passwords),
        ]
    )
    app.on_response_prepare.append(add_headers)
    # Before requests in flight are waited for.
    app.on_shutdown.append(passwords.stop)
    app.on_cleanup.append(limiter.close)
    routes = Routes(exporter, telemetry_path, sending_timeout)
    served = routes.served(max_requests)
    app.add_routes(served)
    if prefix:
        app.add_routes([web.route(each.method, prefix + each.path, each.handler, **each.kwargs) for each in served])
        app.router.add_get(prefix, routes.to_page)
    return app


class Routes:
    """The handlers, one for each path."""

    def __init__(self, exporter: ExporterApi, telemetry_path: str, sending_timeout: float) -> None:
        self._exporter = exporter
        self._telemetry_path = telemetry_path
        self._sending_timeout = sending_timeout
        self._static = read_static()

    def served(self, max_requests: int) -> list[web.RouteDef]:
        """Return all routes; of those that cost much, each serves at most `max_requests` requests simultaneously."""

        def limited(handler: Handler) -> Handler:
            return limit_requests(handler, max_requests, self._sending_timeout)

        return [
            web.get("/", limited(self.page)),
            web.get(self._telemetry_path, limited(self.metrics)),
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
            web.put("/-/reload", self.reload),
            web.get("/api/v1/status", limited(self.status)),
            web.get("/api/v1/jobs", limited(self.jobs)),
            *(web.get(path, limited(self.csv)) for path in CSV_PATHS),
            web.get("/config", limited(self.config)),
            web.get("/static/{name}", self.static),
        ]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        fmt, compress = negotiate(listed(request, hdrs.ACCEPT)), accepts_gzip(listed(request, hdrs.ACCEPT_ENCODING))
        body = await self._exporter.metrics(fmt, compress=compress)
        answer = web.StreamResponse(headers={"Content-Type": fmt.content_type, "Vary": "Accept, Accept-Encoding"})
        answer.content_length = len(body)
        if compress:
            answer.headers["Content-Encoding"] = "gzip"
        await send(request, answer, self._sending_timeout, body)
        return answer

    async def healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="hpc-exporter is healthy.\n")

    async def ready(self, _request: web.Request) -> web.Response:
        if self._exporter.ready:
            return web.Response(text="hpc-exporter is ready.\n")
        return web.Response(status=503, text="Not ready: some targets have not been tried yet.\n")

    async def reload(self, _request: web.Request) -> web.Response:
        try:
            await self._exporter.reload()
        except ConfigurationError as error:
            return web.Response(status=500, text=f"The configuration was not reloaded:\n{encodable(str(error))}\n")
        return web.Response(text="The configuration was reloaded.\n")

    async def status(self, request: web.Request) -> web.Response:
        return await self._json(request, lambda: selection_of(request.query), msgspec.json.encode)

    async def jobs(self, request: web.Request) -> web.Response:
        def encoded(status: dict[str, Any]) -> bytes:
            about = {name: status["jobs"][name] for name in ("enabled", "missing")}
            return msgspec.json.encode({"time": status["time"], **about, **status["job_page"].facts()})

        return await self._json(request, lambda: Selection(limit=0, jobs=job_selection_of(request.query)), encoded)

    async def _json(
        self, request: web.Request, selected: Callable[[], Selection], encoded: Callable[[dict[str, Any]], bytes]
    ) -> web.Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        try:
            selection = selected()
        except QueryError as error:
            body = msgspec.json.encode({"error": str(error)})
            return web.Response(status=400, body=body, content_type="application/json", headers=headers)
        body = await self._status_as(request, encoded, selection)
        return compressed(request, body, "application/json", headers)

    async def csv(self, request: web.Request) -> web.Response:
        view = request.path.rpartition("/")[2].removesuffix(".csv")
        try:
            query = page_query({**request.query, "view": view}, sys.maxsize)
        except QueryError as error:
            return web.Response(status=400, text=f"{error}\n")
        texts = Texts(chosen_language(request.query.get("lang"), listed(request, hdrs.ACCEPT_LANGUAGE)))
        bom = request.query.get("bom") == "1"

        def made(status: dict[str, Any]) -> tuple[bytes, list[str]] | None:
            if view == "jobs" and not status["jobs"]["enabled"]:
                return None
            return csv_of(status, texts, query, bom=bom).encode(), missing_sources(status, view)

        found = await self._status_as(request, made, everything(query.selection.jobs))
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        if found is None:
            return web.Response(status=404, text=f"Single jobs are listed with {PER_JOB} only.\n", headers=headers)
        content, missing = found
        headers["Content-Disposition"] = f'attachment; filename="{view}.csv"'
        if missing:
            headers[MISSING] = names_in_header(missing)
        return compressed(request, content, "text/csv", headers, charset="utf-8")

    async def config(self, _request: web.Request) -> web.Response:
        return web.Response(text=encodable(await self._exporter.effective_config()), content_type=TEXT)

    async def page(self, request: web.Request) -> web.Response:
        try:
            query = page_query(request.query)
        except QueryError as error:
            return web.Response(status=400, text=f"{error}\n")
        texts = Texts(chosen_language(request.query.get("lang"), listed(request, hdrs.ACCEPT_LANGUAGE)))

        def html(status: dict[str, Any]) -> bytes:
            return StatusPage(status, texts, self._telemetry_path, query).html().encode()

        page = await self._status_as(request, html, everything(query.selection.jobs))
        return compressed(request, page, "text/html", PAGE_HEADERS, charset="utf-8")

    async def _status_as(self, request: web.Request, made: Callable[[dict[str, Any]], T], selection: Selection) -> T:
        """Return the result of `made` for the status. Raises ConnectionAbortedError where the client left before its turn."""
        return await self._exporter.status_as(made, selection, lambda: request.transport is not None)

    async def to_page(self, request: web.Request) -> web.Response:
        """Add the slash that relative links need."""
        raise web.HTTPPermanentRedirect(request.rel_url.with_path(f"{request.path}/", keep_query=True))

    async def static(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self._static:
            raise web.HTTPNotFound
        content_type, content = self._static[request.match_info["name"]]
        tag = hashlib.sha256(content).hexdigest()[:16]
        # Browsers revalidate each time: after an update, the page must not run an old script.
        headers = {"Cache-Control": "no-cache", "ETag": f'"{tag}"', "X-Content-Type-Options": "nosniff"}
        if any(each.value in (tag, "*") for each in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, headers={"Content-Type": content_type, **headers})


def compressed(
    request: web.Request, body: bytes, content_type: str, headers: Mapping[str, str], charset: str | None = None
) -> web.Response:
    """Return an answer that is compressed where the client takes that, a long one in a thread."""
    answer = web.Response(
        body=body, content_type=content_type, charset=charset, headers=headers, zlib_executor_size=COMPRESSED_ON_LOOP
    )
    if accepts_gzip(listed(request, hdrs.ACCEPT_ENCODING)):
        # aiohttp's own choice ignores weights, also one of 0.
        answer.enable_compression(web.ContentCoding.gzip)
    return answer


def listed(request: web.Request, header: str) -> str:
    """Return a header whose value is a list, which may be in several lines; empty where it was not sent."""
    return ", ".join(request.headers.getall(header, ()))


def server_of(app: web.Application, *, shutdown_timeout: float) -> web.AppRunner:
    """Return the server of an application. A request in flight at the end gets twice `shutdown_timeout` seconds."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=server_logger(),
        keepalive_timeout=KEEPALIVE_TIMEOUT,
        shutdown_timeout=shutdown_timeout,
        # Bodies are skipped: one that is not what its coding says would be logged as an error of the server.
        auto_decompress=False,
    )


def names_in_header(names: Sequence[str]) -> str:
    """Return names for a header, percent-encoded; a star stands for further ones than clients take in one line."""
    encoded = [quote(name, safe="") for name in names[:MOST_NAMES]]
    ends = accumulate(len(name) + len(", ") for name in encoded)
    shown = [name for name, end in zip(encoded, ends, strict=True) if end < MOST_OF_NAMES]
    return ", ".join([*shown, "*"] if len(names) > len(shown) else shown)


def everything(jobs: JobSelection | None) -> Selection:
    """Return the selection of all targets, which lists sort, filter and count as a whole, and of some single jobs."""
    return Selection(limit=sys.maxsize, jobs=jobs)


def read_static() -> dict[str, tuple[str, bytes]]:
    """Return type and content of each file in the package's folder `static`, by name. Blocks."""
    files = resources.files("exporter.web").joinpath("static").iterdir()
    return {
        file.name: (STATIC_TYPES[suffix], file.read_bytes())
        for file in files
        if (suffix := file.name.rpartition(".")[2]) in STATIC_TYPES
    }


def server_logger() -> logging.Logger:
    """Return the logger for aiohttp's server, which logs malformed requests on one line, for debugging only."""
    logger = logging.getLogger(__name__)
    logger.addFilter(without_malformed_requests)
    return logger


def without_malformed_requests(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        log.debug("malformed HTTP request", error=record.exc_info[1].message, where=record.getMessage())
        return False
    return True
