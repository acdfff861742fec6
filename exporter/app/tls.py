"""TLS settings of upstreams as Python wants them, and the watch over the CA files that they name."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial

import structlog

from exporter.clock import Clock
from exporter.config import Tls
from exporter.config.files import UnansweredFileError, UnusableFileError, read_file, read_in_thread
from exporter.errors import ConfigurationError, Mistake

log = structlog.get_logger()

Contexts = Mapping[Tls, ssl.SSLContext]
_MAX_PEM_BYTES = 8 * 1024 * 1024


def context_for(tls: Tls, place: str) -> ssl.SSLContext:
    """The context for `tls`: the very one of before, while the settings and the content of the CA file are the same.

    Blocks while it reads the CA file. Raises ConfigurationError naming a file it cannot use.
    """
    try:
        pem = read_file(tls.ca_file, max_bytes=_MAX_PEM_BYTES) if tls.ca_file is not None else None
        return _made(tls, pem)
    except (UnusableFileError, ssl.SSLError, ValueError) as error:
        reason = str(error) if isinstance(error, UnusableFileError) else "it holds no certificate in PEM form"
        raise ConfigurationError(
            [mistake_at(place, "tls.ca_file", f"{tls.ca_file} holds no usable CA: {reason}")]
        ) from None


# A region goes on over a reload with the context that it has: more than there are regions.
@lru_cache(maxsize=1024)
def _made(tls: Tls, pem: bytes | None) -> ssl.SSLContext:
    authorities = None if pem is None else pem.decode("ascii", "ignore")
    if authorities == "":
        # The system's authorities would stand in for none.
        raise ValueError("no certificate")
    context = ssl.create_default_context(cadata=authorities)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def mistake_at(place: str, path: str, message: str) -> Mistake:
    """A mistake found after loading, at the `place` (FILE:LINE:COL) of the part that it is in."""
    file, line, column = place.rsplit(":", 2)
    return Mistake(file, int(line), int(column), path, message)


class AuthorityFiles:
    """Reads the CA files in use again and again; a changed one gives a new context, a broken one changes nothing."""

    def __init__(
        self, clock: Clock, interval: float = 2.0, *, on_change: Callable[[Contexts], Awaitable[None]]
    ) -> None:
        """`interval` is the pause between two looks in seconds; `on_change` gets all contexts, with those that are new."""
        self._clock = clock
        self._interval = interval
        self._on_change = on_change
        self._contexts: Contexts = {}
        self._broken: set[Tls] = set()

    def follow(self, contexts: Contexts) -> None:
        """Look at the files of these from now on."""
        self._contexts = contexts
        self._broken &= contexts.keys()

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Read all files once."""
        contexts = self._contexts
        changed: dict[Tls, ssl.SSLContext] = {}
        for tls, context in contexts.items():
            found = await self._read(tls) if tls.ca_file is not None else context
            if found is not None and found is not context:
                log.info("CA file changed; new connections use it", path=str(tls.ca_file))
                changed[tls] = found
        if changed:
            await self._on_change({**contexts, **changed})

    async def _read(self, tls: Tls) -> ssl.SSLContext | None:
        try:
            context = await read_in_thread(partial(context_for, tls, ":0:0"))
        except (ConfigurationError, UnansweredFileError) as error:
            if tls not in self._broken:
                self._broken.add(tls)
                reason = error.mistakes[0].message if isinstance(error, ConfigurationError) else str(error)
                log.warning(
                    "CA file cannot be used; its last good content stays in use", path=str(tls.ca_file), error=reason
                )
            return None
        if tls in self._broken:
            self._broken.remove(tls)
            log.info("CA file can be used again", path=str(tls.ca_file))
        return context
