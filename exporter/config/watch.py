"""The watch over files in use whose content changes between reloads: secrets and certificate authorities."""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import structlog

from exporter.clock import Clock
from exporter.config.files import UnansweredFileError, read_in_thread
from exporter.errors import ExporterError

log = structlog.get_logger()


class FileInUse(Protocol):
    """A file and its last good content."""

    @property
    def path(self) -> Path: ...

    @property
    def identity(self) -> Hashable:
        """Everything but the content."""
        ...

    @property
    def log_fields(self) -> Mapping[str, str]: ...

    def read(self) -> Any:
        """Return the present content. Blocks. Raises ExporterError."""
        ...

    def value(self) -> Any:
        """Return the content in use."""
        ...

    def update(self, content: Any, /) -> None:
        """Use what `read` returned."""
        ...


F = TypeVar("F", bound=FileInUse)


class FileWatch(Generic[F]):
    """Reads files repeatedly and reports those that have another content; a broken one keeps its last good content."""

    def __init__(
        self, kind: str, clock: Clock, interval: float = 2.0, *, on_change: Callable[[Sequence[F]], Awaitable[None]]
    ) -> None:
        """`kind` names the files in the log; `interval` is the pause between two checks in seconds."""
        self._kind = kind
        self._clock = clock
        self._interval = interval
        self._on_change = on_change
        self._files: tuple[F, ...] = ()
        self._broken: set[Hashable] = set()
        # Changes that `on_change` did not take, because it failed.
        self._changed: list[F] = []

    def follow(self, files: Iterable[F]) -> None:
        """Check these from now on. The pause before the next check goes on: frequent reloads do not put it off."""
        self._files = tuple({id(file): file for file in files}.values())
        self._broken.intersection_update(file.identity for file in self._files)
        self._changed = [file for file in self._changed if any(file is other for other in self._files)]

    async def run(self) -> None:
        """Check the files until cancelled."""
        while True:
            await self._clock.sleep(self._interval)
            await self.check()

    async def check(self) -> None:
        """Read all files once."""
        files = self._files
        for file, content in zip(files, await _read_all(files), strict=True):
            if isinstance(content, ExporterError):
                self._report_broken(file, content)
            elif self._take(file, content):
                self._changed.append(file)
        if self._changed:
            await self._on_change(self._changed)
            self._changed = []

    def _take(self, file: F, content: Any) -> bool:
        if file.identity in self._broken:
            self._broken.remove(file.identity)
            message = f"{self._kind} can be used again"
            log.info(message, **file.log_fields)
        if content == file.value():
            return False
        file.update(content)
        message = f"{self._kind} changed"
        log.info(message, **file.log_fields)
        return True

    def _report_broken(self, file: F, error: ExporterError) -> None:
        if file.identity not in self._broken:
            self._broken.add(file.identity)
            message = f"{self._kind} cannot be used; its last good content stays in use"
            log.warning(message, **file.log_fields, error=str(error))


async def _read_all(files: Sequence[FileInUse]) -> list[Any]:
    """Read all files, one after another; those behind one that is not answered are read by another thread."""
    contents: list[Any] = []
    while len(contents) < len(files):
        rest, read = files[len(contents) :], list[Any]()
        try:
            await read_in_thread(lambda rest=rest, read=read: read.extend(map(_content_or_error, rest)))  # type: ignore[misc]
            contents += read
        except UnansweredFileError as error:
            contents += read
            if len(contents) < len(files) and files[len(contents)].path == error.path:
                contents.append(error)
    return contents


def _content_or_error(file: FileInUse) -> Any:
    try:
        return file.read()
    except ExporterError as error:
        return error
