"""The routes of `serve`."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from exporter.app.status import Selection
from exporter.clock import SystemClock
from exporter.errors import ConfigurationError
from exporter.metrics.negotiate import accepts_gzip, negotiate
from exporter.metrics.render import Format
from exporter.web.guard import Doorkeeper, Logins, PolicyFile, add_headers, connection, gate, send
from exporter.web.page import ROWS, StatusPage
from exporter.web.query import QueryError, selection_of
from exporter.web.static_files import PREFIX, answer_with, static_files
from exporter.web.texts import Texts, chosen_language

log = structlog.get_logger()

Made = TypeVar("Made")
TEXT: Final = "text/plain"
# The page runs and shows nothing but our own files; names from anywhere are text.
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
# Seconds in which a scrape has to be read; no Prometheus waits nearly as long.
SENDING_TIMEOUT: Final = 120.0


class Face(Protocol):
    """What the web needs of the application."""

    @property
    def ready(self) -> bool: ...
    async def metrics(self, fmt: Format, *, compress: bool) -> bytes: ...
    async def status_as(self, made: Callable[[dict[str, Any]], Made], selection: Selection) -> Made: ...
    def effective_config(self) -> str: ...
    async def reload(self) -> None: ...
    def http_request(self, path: str, code: int) -> None: ...


def create_app(
    face: Face,
    *,
    telemetry_path: str = "/metrics",
    max_requests: int = 40,
    sending_timeout: float = SENDING_TIMEOUT,
    keeper: Doorkeeper | None = None,
) -> web.Application:
    """The web application; at most `max_requests` scrapes are served at once (0: any number).

    Who has not read an answer after `sending_timeout` seconds is hung up on. `keeper` knows who may come in; without
    one everybody may.
    """
    keeper = keeper or Doorkeeper(PolicyFile(None, SystemClock()))
    logins = Logins()
    app = web.Application(
        middlewares=[connection(keeper, sending_timeout), counting(face, telemetry_path), gate(keeper, logins)]
    )
    app.on_response_prepare.append(add_headers)
    app.on_cleanup.append(logins.stop)
    routes = Routes(face, telemetry_path, max_requests, sending_timeout)
    app.router.add_get("/", routes.page)
    app.router.add_get(telemetry_path, routes.metrics)
    app.router.add_get("/-/healthy", routes.healthy)
    app.router.add_get("/-/ready", routes.ready)
    app.router.add_route("POST", "/-/reload", routes.reload)
    app.router.add_route("PUT", "/-/reload", routes.reload)
    app.router.add_get("/api/v1/status", routes.status)
    app.router.add_get("/config", routes.config)
    app.router.add_get(f"{PREFIX}{{name}}", routes.static)
    return app


class Routes:
    """One method a path."""

    def __init__(self, face: Face, telemetry_path: str, max_requests: int, sending_timeout: float) -> None:
        self._face = face
        self._telemetry_path = telemetry_path
        self._max_requests = max_requests
        self._sending_timeout = sending_timeout
        self._scrapes = 0
        self._static = static_files()

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        if self._max_requests and self._scrapes >= self._max_requests:
            return web.Response(
                status=503, text=f"Limit of concurrent requests reached ({self._max_requests}), try again later.\n"
            )
        self._scrapes += 1
        try:
            body = await self._body(request.headers)
            answer = self._answer(request.headers, len(body))
            # Here, not by whoever comes after: a slow reader takes one of the places, too.
            await send(request, answer, self._sending_timeout, body)
        finally:
            self._scrapes -= 1
        return answer

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        compress = accepts_gzip(headers.get("Accept-Encoding"))
        return await self._face.metrics(negotiate(headers.get("Accept")), compress=compress)

    def _answer(self, headers: Mapping[str, str], length: int) -> web.StreamResponse:
        fmt = negotiate(headers.get("Accept"))
        answer = web.StreamResponse(headers={"Content-Type": fmt.content_type, "Vary": "Accept, Accept-Encoding"})
        answer.content_length = length
        if accepts_gzip(headers.get("Accept-Encoding")):
            answer.headers["Content-Encoding"] = "gzip"
        return answer

    async def healthy(self, _request: web.Request) -> web.Response:
        return web.Response(text="hpc-exporter is healthy.\n")

    async def ready(self, _request: web.Request) -> web.Response:
        if self._face.ready:
            return web.Response(text="hpc-exporter is ready.\n")
        return web.Response(status=503, text="Not ready: some targets have not been tried yet.\n")

    async def reload(self, _request: web.Request) -> web.Response:
        try:
            await self._face.reload()
        except ConfigurationError as error:
            return web.Response(status=500, text=f"The configuration was not reloaded:\n{error}\n")
        return web.Response(text="The configuration was reloaded.\n")

    async def status(self, request: web.Request) -> web.Response:
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        try:
            selection = selection_of(request.query)
        except QueryError as error:
            body = msgspec.json.encode({"error": str(error)})
            return web.Response(status=400, body=body, content_type="application/json", headers=headers)
        body = await self._face.status_as(msgspec.json.encode, selection)
        answer = web.Response(
            body=body, content_type="application/json", headers=headers, zlib_executor_size=COMPRESSED_ON_LOOP
        )
        answer.enable_compression()
        return answer

    async def config(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._face.effective_config(), content_type=TEXT)

    async def page(self, request: web.Request) -> web.Response:
        try:
            selection = selection_of(request.query, default_limit=ROWS)
        except QueryError as error:
            return web.Response(status=400, text=f"{error}\n")
        language = chosen_language(request.query.get("lang"), request.headers.get("Accept-Language"))
        query = request.query

        def html(status: dict[str, Any]) -> str:
            return StatusPage(status, Texts(language), self._telemetry_path, query).html()

        page = await self._face.status_as(html, selection)
        return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS)

    async def static(self, request: web.Request) -> web.Response:
        file = self._static.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return answer_with(file, request)


def counting(face: Face, telemetry_path: str) -> Middleware:
    """Middleware that counts requests by path and status. A path that is no route is `other`: strangers choose it."""
    known = frozenset({"/", telemetry_path, "/-/healthy", "/-/ready", "/-/reload", "/api/v1/status", "/config"})

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        path = "/static" if request.path.startswith(PREFIX) else request.path if request.path in known else "other"
        try:
            answer = await handler(request)
        except web.HTTPException as refusal:
            face.http_request(path, refusal.status)
            raise
        except Exception:
            # aiohttp logs it and answers so.
            face.http_request(path, 500)
            raise
        face.http_request(path, answer.status)
        return answer

    return middleware


def server_logger() -> logging.Logger:
    """What aiohttp's server logs to: a stranger's malformed request is worth a line at most, never a traceback."""
    logger = logging.getLogger(__name__)
    logger.addFilter(without_malformed_requests)
    return logger


def without_malformed_requests(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        log.debug("malformed HTTP request", error=record.exc_info[1].message, where=record.getMessage())
        return False
    return True
