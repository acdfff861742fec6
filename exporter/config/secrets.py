"""Secrets that never show themselves, and the watch over the files that some of them come from."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.config.files import UnusableFileError, read_file
from exporter.errors import ExporterError
from exporter.redaction import hold

_log = structlog.get_logger(__name__)
_MAX_BYTES = 64 * 1024
_PRINTABLE_ASCII = range(0x20, 0x7F)


class UnusableSecretError(ExporterError):
    """A secret cannot be read or used; the text says why and shows nothing of it."""


class Secret(ABC):
    """A value that must not be seen. `origin` says where it comes from, in words fit for a message."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    @abstractmethod
    def value(self) -> str:
        """Return the secret itself, as it is now. Keep it no longer than one request needs it."""

    def __repr__(self) -> str:
        return f"<secret: {self.origin}>"


class InlineSecret(Secret):
    """A secret from the configuration's own text, equal to another of the same content."""

    def __init__(self, content: str, origin: str = "token", *, header: bool = True) -> None:
        super().__init__(origin)
        self._content = checked(content, header=header)
        self._known = hold(self._content)

    def value(self) -> str:
        return self._content

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InlineSecret) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)


class FileSecret(Secret):
    """A secret from a file, equal to another of the same path; it holds the last good content.

    `header` says that the content is sent in an HTTP header, which not every character survives.
    """

    def __init__(self, path: Path, origin: str = "", *, header: bool = True) -> None:
        """Read the file at once.

        Raises:
            UnusableSecretError: the file cannot be read, or its content cannot be used.

        """
        super().__init__(origin or f"file {path}")
        self.path = path
        self.header = header
        self.update(self.read())

    def value(self) -> str:
        return self._content

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything but the content: two secrets that share it can be one object."""
        return self.path, self.header, self.origin

    def read(self) -> str:
        """Return what the file holds now, without surrounding white space. Blocks; changes nothing.

        Raises:
            UnusableSecretError: the file cannot be read, or its content cannot be used.

        """
        return checked(_read_text(self.path), header=self.header)

    def update(self, content: str) -> None:
        """Take over what `read` returned."""
        self._content = content
        self._known = hold(content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileSecret) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


class SecretFiles:
    """Reads secret files again and again, and tells of every change."""

    # How long to wait for the disk before saying so: a dead network file system answers never.
    patience = 30.0

    def __init__(
        self,
        secrets: Iterable[FileSecret],
        clock: Clock,
        interval: float = 2.0,
        on_change: Callable[[FileSecret], None] = lambda _: None,
    ) -> None:
        """`interval` is the pause between two looks in seconds; `on_change` is called after the secret has changed."""
        self._secrets = tuple({id(secret): secret for secret in secrets}.values())
        self._clock = clock
        self._interval = interval
        self._on_change = on_change
        self._broken: set[int] = set()
        self._slow = False

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while self._secrets:
            await self._clock.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Read all files once."""
        for secret, content in zip(self._secrets, await self._read_all(), strict=True):
            if isinstance(content, UnusableSecretError):
                self._report_broken(secret, content)
            else:
                self._take(secret, content)

    async def _read_all(self) -> list[str | UnusableSecretError]:
        # One thread at a time, however long the disk takes: a second one would hang like the first.
        reading = asyncio.create_task(asyncio.to_thread(_read_each, self._secrets))
        try:
            await asyncio.wait({reading}, timeout=self.patience)
            if not reading.done():
                self._slow = True
                _log.warning("reading the secret files takes long; the last good secrets stay in use")
            contents = await reading
        finally:
            reading.cancel()
        if self._slow:
            self._slow = False
            _log.info("the secret files can be read again")
        return contents

    def _take(self, secret: FileSecret, content: str) -> None:
        if id(secret) in self._broken:
            self._broken.remove(id(secret))
            _log.info("secret file can be read again", secret=secret.origin, path=str(secret.path))
        if content != secret.value():
            secret.update(content)
            _log.info("secret file changed", secret=secret.origin, path=str(secret.path))
            self._on_change(secret)

    def _report_broken(self, secret: FileSecret, error: UnusableSecretError) -> None:
        if id(secret) not in self._broken:
            self._broken.add(id(secret))
            _log.warning(
                "secret file cannot be used; its last good content stays in use",
                secret=secret.origin,
                path=str(secret.path),
                error=str(error),
            )


def checked(content: str, *, header: bool) -> str:
    """Return `content` without surrounding white space.

    Raises:
        UnusableSecretError: it is empty, or holds a character that would not arrive as it was sent.

    """
    content = content.strip()
    if not content:
        raise UnusableSecretError("it is empty")
    if len(content.splitlines()) > 1:
        raise UnusableSecretError("it has more than one line")
    if any(character < " " or character == "\x7f" for character in content):
        raise UnusableSecretError("it holds a control character")
    if header and not all(ord(character) in _PRINTABLE_ASCII for character in content):
        raise UnusableSecretError("it holds a character that cannot travel in an HTTP header: only ASCII can")
    return content


def _read_text(path: Path) -> str:
    try:
        return read_file(path, max_bytes=_MAX_BYTES).decode("utf-8-sig")
    except UnusableFileError as error:
        raise UnusableSecretError(str(error)) from None
    except UnicodeDecodeError:
        raise UnusableSecretError("it is not UTF-8 text") from None


def _read_each(secrets: Iterable[FileSecret]) -> list[str | UnusableSecretError]:
    return [_read_or_error(secret) for secret in secrets]


def _read_or_error(secret: FileSecret) -> str | UnusableSecretError:
    try:
        return secret.read()
    except UnusableSecretError as error:
        return error
