"""Secrets that never show themselves."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from exporter.config.files import UnusableFileError, read_file
from exporter.errors import ExporterError
from exporter.redaction import hold

_MAX_BYTES = 64 * 1024


class UnusableSecretError(ExporterError):
    """A secret cannot be read or used; the text says why and shows nothing of it."""


class Secret(ABC):
    """A value that must not be shown. `origin` says where it comes from, for messages."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    @abstractmethod
    def value(self) -> str:
        """Return the secret itself, as it is now. Do not keep it longer than a request."""

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
        """Read the file.

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
        """Everything but the content: two secrets that share it can be one object. The path may be written in other words."""
        return self.path, self.header, self.origin.partition(" ")[0]

    @property
    def log_fields(self) -> Mapping[str, str]:
        return {"secret": self.origin, "path": str(self.path)}

    def read(self) -> str:
        """Return the present content of the file, without surrounding white space. Blocks; changes nothing.

        Raises:
            UnusableSecretError: the file cannot be read, or its content cannot be used.

        """
        return checked(_read_text(self.path), header=self.header)

    def update(self, content: str) -> None:
        """Use what `read` returned."""
        self._content = content
        self._known = hold(content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileSecret) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)


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
    if header and not content.isascii():
        raise UnusableSecretError("it holds a character that cannot travel in an HTTP header: only ASCII can")
    return content


def _read_text(path: Path) -> str:
    try:
        return read_file(path, max_bytes=_MAX_BYTES).decode("utf-8-sig")
    except UnusableFileError as error:
        raise UnusableSecretError(str(error)) from None
    except UnicodeDecodeError:
        raise UnusableSecretError("it is not UTF-8 text") from None
