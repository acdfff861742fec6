"""What the web server demands of its clients now: the settings' file, read again when it changes."""

import asyncio
import ssl
import time
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import structlog
from aiolimiter import AsyncLimiter

from exporter.clock import Clock
from exporter.config.files import digest
from exporter.errors import ConfigurationError
from exporter.web.guard.settings import WebSettings, load_settings
from exporter.web.guard.tls import subject_alternative_names

log = structlog.get_logger()

# Pause in seconds between two looks where no request causes one.
LOOK_INTERVAL: Final = 1.0
# A request waits so long for the disk, then goes by what was known.
PATIENCE: Final = 2.0
# A file that is just being written is looked at again after so many seconds, and so many times.
SETTLE: Final = 0.05
SETTLE_LOOKS: Final = 20
# Certificate and key are replaced one after the other: for so long, what they were is used where they do not fit.
ROTATION_GRACE: Final = 5.0

_Fingerprint = dict[Path, bytes]


class Policy:
    """One state of the settings, and the connections that they admit."""

    def __init__(self, settings: WebSettings, before: "Policy | None" = None) -> None:
        """`before` is the policy until now, whose connections and limit go on where nothing about them changed."""
        self.settings = settings
        self.contexts: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()
        self.limiter = made_limiter(settings)
        if before is not None and before.settings.tls == settings.tls:
            self.contexts = before.contexts
        if before is not None and before.settings.rate_limit == settings.rate_limit:
            self.limiter = before.limiter
        if settings.context is not None:
            self.contexts.add(settings.context)

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a connection came in under what is demanded now, and its client has one of the names wanted."""
        tls = self.settings.tls
        if tls is None:
            return True
        if transport.get_extra_info("sslcontext") not in self.contexts:
            return False
        certificate = transport.get_extra_info("peercert") or {}
        return not tls.allowed_sans or bool(tls.allowed_sans & subject_alternative_names(certificate))

    async def within_rate(self) -> bool:
        """Whether there is room for one more request; if so, it is taken."""
        if self.limiter is None:
            return True
        if not self.limiter.has_capacity():
            return False
        await self.limiter.acquire()
        return True


def made_limiter(settings: WebSettings) -> AsyncLimiter | None:
    """A full bucket, or None for no limit."""
    rate = settings.rate_limit
    return AsyncLimiter(rate.burst, rate.burst * rate.interval) if rate else None


class PolicyFile:
    """Follows the file. `current` is asked before every connection and every request."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        """Without a `path` everybody is welcome. Reads the file at once; raises ConfigurationError."""
        self._path = path
        self._clock = clock
        self._fingerprint: _Fingerprint = {}
        self._look: asyncio.Task[None] | None = None
        self._unfit_since: float | None = None
        self._complaint = ""
        self.broken = False
        settings = WebSettings()
        if path is not None:
            self._fingerprint = fingerprint([path])
            settings = load_settings(path)
            self._fingerprint |= fingerprint(settings.files)
        self.policy = Policy(settings)
        self._warn()

    async def current(self) -> Policy:
        """The policy for who comes now: the file is looked at first, unless the disk does not answer."""
        if self._path is not None:
            if self._look is None or self._look.done():
                self._look = asyncio.create_task(self._look_again())
            await asyncio.wait({self._look}, timeout=PATIENCE)
        return self.policy

    async def follow(self) -> None:
        """Look at the file until cancelled, so that a mistake is in the log before somebody comes."""
        while self._path is not None:
            await self._clock.sleep(LOOK_INTERVAL)
            await self.current()

    async def _look_again(self) -> None:
        assert self._path is not None  # noqa: S101 - who calls sees to it
        found = await asyncio.to_thread(fingerprint, self._fingerprint)
        if found != self._fingerprint:
            found = await asyncio.to_thread(settled, found)
        elif self._complaint == "":
            return
        # Only what the settings name may be half replaced; they themselves say at once what is demanded.
        rotating = found[self._path] == self._fingerprint[self._path] and not self.broken
        try:
            settings = await asyncio.to_thread(load_settings, self._path)
        except ConfigurationError as error:
            self._refuse(error, found, rotating=rotating)
            return
        named = await asyncio.to_thread(fingerprint, settings.files)
        self._fingerprint = {self._path: found[self._path], **named}
        self._unfit_since, self._complaint = None, ""
        self.policy, self.broken = Policy(settings, self.policy), False
        log.info("the web configuration was read again", file=str(self._path))
        self._warn()

    def _refuse(self, error: ConfigurationError, found: _Fingerprint, *, rotating: bool) -> None:
        now = self._clock.monotonic()
        self._unfit_since = now if self._unfit_since is None else self._unfit_since
        complaint, self._complaint = self._complaint, str(error)
        if rotating and now - self._unfit_since < ROTATION_GRACE:
            return
        if not self.broken or complaint != self._complaint:
            log.error("the web configuration cannot be used: all is refused until it is mended", error=str(error))
        self._fingerprint, self.broken = found, True

    def _warn(self) -> None:
        for warning in self.policy.settings.warnings:
            log.warning(warning)


def fingerprint(paths: Iterable[Path]) -> _Fingerprint:
    """What tells the contents of files apart, unreadable ones included. Blocks."""
    return {path: digest(path) for path in paths}


def settled(found: _Fingerprint) -> _Fingerprint:
    """The fingerprint once nobody writes any more: half a file could demand less than the whole. Blocks."""
    for _ in range(SETTLE_LOOKS):
        time.sleep(SETTLE)
        again = fingerprint(found)
        if again == found:
            break
        found = again
    return found
