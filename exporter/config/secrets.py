"""Secrets that never show themselves, and the watch over the files that some of them come from."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.config.files import UnansweredFileError, UnusableFileError, read_file, read_in_thread
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

    def __init__(
        self,
        clock: Clock,
        interval: float = 2.0,
        *,
        on_change: Callable[[Sequence[FileSecret]], Awaitable[None]],
    ) -> None:
        """`interval` is the pause between two looks in seconds; `on_change` gets the secrets that have changed."""
        self._secrets: tuple[FileSecret, ...] = ()
        self._clock = clock
        self._interval = interval
        self._on_change = on_change
        self._broken: set[tuple[object, ...]] = set()
        # Changes that `on_change` was not yet told of, because it failed.
        self._changed: list[FileSecret] = []

    def follow(self, secrets: Iterable[FileSecret]) -> None:
        """Look at these from now on. The pause before the next look goes on: frequent reloads do not put it off."""
        self._secrets = tuple({id(secret): secret for secret in secrets}.values())
        self._broken.intersection_update(secret.identity for secret in self._secrets)

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            await self.look()

    async def look(self) -> None:
        """Read all files once."""
        secrets = self._secrets
        for secret, content in zip(secrets, await _read_all(secrets), strict=True):
            if isinstance(content, UnusableSecretError):
                self._report_broken(secret, content)
            elif self._take(secret, content):
                self._changed.append(secret)
        if self._changed:
            await self._on_change(self._changed)
            self._changed = []

    def _take(self, secret: FileSecret, content: str) -> bool:
        if secret.identity in self._broken:
            self._broken.remove(secret.identity)
            _log.info("secret file can be read again", secret=secret.origin, path=str(secret.path))
        if content == secret.value():
            return False
        secret.update(content)
        _log.info("secret file changed", secret=secret.origin, path=str(secret.path))
        return True

    def _report_broken(self, secret: FileSecret, error: UnusableSecretError) -> None:
        if secret.identity not in self._broken:
            self._broken.add(secret.identity)
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


async def _read_all(secrets: Sequence[FileSecret]) -> list[str | UnusableSecretError]:
    """Read all files, one after another; those behind one that is not answered are read by another thread."""
    contents: list[str | UnusableSecretError] = []
    while len(contents) < len(secrets):
        rest, read = secrets[len(contents) :], list[str | UnusableSecretError]()
        try:
            await read_in_thread(lambda rest=rest, read=read: read.extend(map(_read_or_error, rest)))  # type: ignore[misc]
            contents += read
        except UnansweredFileError as error:
            contents += read
            if len(contents) < len(secrets) and secrets[len(contents)].path == error.path:
                contents.append(UnusableSecretError(str(error)))
    return contents


def _read_or_error(secret: FileSecret) -> str | UnusableSecretError:
    try:
        return secret.read()
    except UnusableSecretError as error:
        return error
