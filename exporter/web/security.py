"""Access to the web server: --web.config.file, kept up to date, and the middleware that applies it to every request."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog
from aiohttp import web, web_response
from aiohttp.typedefs import Handler, Middleware
from aiolimiter import AsyncLimiter

from exporter.clock import Clock
from exporter.config.files import digest, in_this_thread
from exporter.errors import ConfigProblem, ConfigurationError
from exporter.threads import BlockingCalls
from exporter.web.middleware import CONNECTION, disconnect, rejection
from exporter.web.passwords import PasswordChecks, TooManyChecksError
from exporter.web.settings import WebSettings, load_settings
from exporter.web.tls import CurrentContext, current_context, subject_alternative_names

log = structlog.get_logger()

T = TypeVar("T")

# Seconds between two checks of the files.
WATCH_INTERVAL: Final = 1.0
# Seconds that reading the files may take.
READ_TIMEOUT: Final = 3.0
CHALLENGE: Final = 'Basic realm="hpc-exporter", charset="UTF-8"'
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SAME_SITE: Final = frozenset({"same-origin", "none"})
HEADERS: Final[web.RequestKey[Mapping[str, str]]] = web.RequestKey("HEADERS", Mapping)

# Software and version are not revealed, either by aiohttp's own answers to malformed requests.
web_response.SERVER_SOFTWARE = ""  # type: ignore[attr-defined]

_Fingerprint = dict[Path, bytes]


class WebConfig:
    """The web configuration in force: the last one that was valid.

    `context` is the TLS context for listeners, None for plain HTTP; it follows every change.
    """

    def __init__(self, path: Path | None, clock: Clock, settings: WebSettings, fingerprint: _Fingerprint) -> None:
        """Take `settings`, those of the file at `path`, read when its files had this `fingerprint`."""
        self._path = path
        self._clock = clock
        self._calls = BlockingCalls()
        self._loaded = self._seen = fingerprint
        self._error = ""
        self.settings = settings
        self.context: CurrentContext | None = current_context(settings.context) if settings.context else None
        self._limiter = make_rate_limiter(settings)
        for warning in settings.warnings:
            log.warning(warning)

    @classmethod
    async def load(cls, path: Path | None, clock: Clock) -> "WebConfig":
        """Read the file at `path`; without one every client is served. Raises ConfigurationError."""
        if path is None:
            return cls(None, clock, WebSettings(), {})
        settings, found = await within_time(BlockingCalls(), path, partial(read, path))
        return cls(path, clock, settings, found)

    async def watch(self) -> None:
        """Check the files for changes until cancelled."""
        while self._path is not None:
            await self._clock.sleep(WATCH_INTERVAL)
            await self.refresh(self._path)

    async def refresh(self, path: Path) -> None:
        """Check the files once, and apply them where they changed.

        A change is applied when two successive checks found the same: half a file could demand less than the whole, and
        a certificate is replaced before or after its key.
        """
        try:
            found = await within_time(self._calls, path, partial(fingerprint, self._loaded))
            settled, self._seen = found == self._seen, found
            # After a failure, files may matter that the settings in force do not name.
            if not settled or (found == self._loaded and not self._error):
                return
            settings, self._loaded = await within_time(self._calls, path, partial(read, path))
        except ConfigurationError as error:
            self._keep(str(error))
        else:
            self._seen, self._error = self._loaded, ""
            self._apply(settings)

    def allows(self, transport: asyncio.BaseTransport) -> bool:
        """Return whether a connection meets the TLS settings in force, and its client has one of the names allowed."""
        tls = self.settings.tls
        if tls is None:
            return True
        tls_object = transport.get_extra_info("ssl_object")
        if not isinstance(tls_object, ssl.SSLObject) or getattr(tls_object.context, "settings", None) != tls:
            return False
        certificate = transport.get_extra_info("peercert") or {}
        return not tls.allowed_sans or bool(tls.allowed_sans & subject_alternative_names(certificate))

    async def within_rate(self) -> bool:
        """Return whether the rate limit allows one more request, and count it if so."""
        if self._limiter is None:
            return True
        if not self._limiter.has_capacity():
            return False
        await self._limiter.acquire()
        return True

    def _apply(self, settings: WebSettings) -> None:
        if (settings.tls is None) != (self.context is None):
            log.warning(
                "TLS is turned on or off in the web configuration, which needs a restart; all else in it is in force",
                tls_now=self.context is not None,
                tls_configured=settings.tls is not None,
            )
            settings = replace(settings, context=self.settings.context)
        if self.context is not None and settings.context is not None:
            self.context.current = settings.context
        if settings.rate_limit != self.settings.rate_limit:
            self._limiter = make_rate_limiter(settings)
        self.settings = settings
        log.info("the web configuration was read again", file=str(self._path))
        for warning in settings.warnings:
            log.warning(warning)

    def _keep(self, error: str) -> None:
        if error != self._error:
            log.error("the web configuration cannot be used; the one before stays in force", error=error)
        self._error = error


def make_rate_limiter(settings: WebSettings) -> AsyncLimiter | None:
    """Return a full bucket, or None for no limit."""
    rate = settings.rate_limit
    return AsyncLimiter(rate.burst, rate.burst * rate.interval) if rate else None


async def within_time(calls: BlockingCalls, path: Path, call: Callable[[], T]) -> T:
    """Return the result of a call that reads the file at `path`.

    Raises ConfigurationError if the disk does not answer.
    """
    try:
        return await calls.run(path, in_this_thread(call), timeout=READ_TIMEOUT)
    except TimeoutError:
        message = f"the disk did not answer within {READ_TIMEOUT:g} s"
        raise ConfigurationError([ConfigProblem(str(path), 1, 1, "", message)]) from None


def read(path: Path) -> tuple[WebSettings, _Fingerprint]:
    """Return the settings and a fingerprint of their files from before these were read. Blocks.

    Raises ConfigurationError.
    """
    own = fingerprint([path])
    named = fingerprint(load_settings(path).files)
    # Read twice, since only the settings name the other files: a change in between is found by the next check.
    settings = load_settings(path)
    return settings, own | {file: named.get(file, b"") for file in settings.files}


def fingerprint(paths: Iterable[Path]) -> _Fingerprint:
    """Return digests of the contents of files, or of the reasons why they cannot be read. Blocks."""
    return {path: digest(path) for path in paths}


def access(config: WebConfig, passwords: PasswordChecks) -> Middleware:
    """Return the middleware that rejects requests which the web configuration does not allow."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        settings = config.settings
        request[HEADERS] = settings.headers
        if request.transport is None or not config.allows(request.transport):
            return disconnect(request)
        rejected = await reject(request, config, passwords)
        if CONNECTION in request:
            request[CONNECTION].trusted = rejected is None
            request[CONNECTION].suspicious = rejected is not None and "Authorization" in request.headers
        return await handler(request) if rejected is None else rejected

    return middleware


async def reject(request: web.Request, config: WebConfig, passwords: PasswordChecks) -> web.Response | None:
    """Return the answer to a request that is not allowed, None for one that is."""
    if not await config.within_rate():
        return rejection(429, "Too many requests: see rate_limit in the web configuration.", {"Retry-After": "1"})
    users, authorization = config.settings.users, request.headers.get("Authorization")
    suspicious = CONNECTION in request and request[CONNECTION].suspicious
    try:
        if users and not await passwords.check(
            authorization, users, address=request.remote or "", suspicious=suspicious
        ):
            return rejection(401, "Unauthorized", {"WWW-Authenticate": CHALLENGE})
    except TooManyChecksError:
        return rejection(503, "Too many passwords to check, try again later.", {"Retry-After": "5"})
    if request.method not in SAFE_METHODS and is_cross_site(request):
        return rejection(403, "Requests that change something are not accepted from pages of other sites.")
    return None


def is_cross_site(request: web.Request) -> bool:
    """Return whether a browser sent this request for a page of another origin.

    Programs other than browsers send neither of these headers. A page of the exporter's own has the host and port that
    the request is sent to.
    """
    sites = request.headers.getall("Sec-Fetch-Site", [])
    origins = request.headers.getall("Origin", [])
    return any(site not in SAME_SITE for site in sites) or any(
        origin.partition("://")[2].lower() != request.headers.get("Host", "").lower() or "://" not in origin
        for origin in origins
    )


async def add_headers(request: web.Request, answer: web.StreamResponse) -> None:
    """Put the configured headers onto an answer that is about to be sent; an ``on_response_prepare`` handler."""
    answer.headers.popall("Server", None)
    answer.headers.update(request.get(HEADERS, {}))
