"""Bounded reads of small files: of their size, and of the time that a dead disk takes."""

import asyncio
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final, TypeVar

from exporter.errors import ExporterError
from exporter.text import in_units
from exporter.threads import daemon_call, in_daemon_thread

T = TypeVar("T")

# Seconds after which the read of one file counts as failed: a dead network file system never answers.
READ_TIMEOUT: Final = 10.0
# If this many reads in a folder hang, its other files are not tried: each would take another thread.
_UNANSWERED_IN_FOLDER = 2
_MAX_DIGESTED = 8 * 1024 * 1024
_PLAIN_WORDS = {
    errno.ENOENT: "there is no such file",
    errno.ENOTDIR: "there is no such file",
    errno.EACCES: "permission denied",
    errno.EISDIR: "it is a directory",
    errno.ELOOP: "its symbolic links run in a circle",
    errno.ENAMETOOLONG: "its name is too long",
}


class UnusableFileError(ExporterError):
    """A file cannot be read; the text says why, without its name."""


class MissingFileError(UnusableFileError):
    """There is no such file."""


class UnansweredFileError(UnusableFileError):
    """The disk that a file is on does not answer."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"reading it takes longer than {READ_TIMEOUT:g} seconds: is the disk or network share that it is on there?"
        )
        self.path = path


class _Reader:
    """The file that a thread reads, since when, and whether its caller has given up."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.since = 0.0
        self.abandoned = False

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        self.path, self.since = path, time.monotonic()
        _readers.add(self)
        try:
            yield
        finally:
            _readers.discard(self)
            self.path = None

    @property
    def remaining(self) -> float:
        """Seconds until the read under way counts as failed."""
        return READ_TIMEOUT if self.path is None else self.since + READ_TIMEOUT - time.monotonic()


# All that are reading at the moment.
_readers: set[_Reader] = set()
_current: ContextVar[_Reader | None] = ContextVar("_current", default=None)


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a regular file. Blocks, for `READ_TIMEOUT` at most where the disk does not answer.

    Raises:
        UnusableFileError: it is not there, not readable, not regular or too long, or its disk does not answer.

    """
    return answered(path, lambda: _read_or_explain(path, max_bytes))


def answered(path: Path, call: Callable[[], T]) -> T:
    """Return the result of a call that needs the file at `path`, and may hang with its disk.

    A thread of `read_in_thread` or `in_this_thread` makes the call itself. Any other, such as the main thread of a
    command, waits for it no longer than `READ_TIMEOUT`. Raises UnansweredFileError, also while an earlier call for the
    file hangs.
    """
    reader = _current.get()
    if (reader is not None and reader.abandoned) or _unanswered(path):
        raise UnansweredFileError(path)
    if reader is not None:
        with reader.reading(path):
            return call()

    def run() -> T:
        with _Reader().reading(path):
            return call()

    try:
        return daemon_call(run, name="file reader").result(READ_TIMEOUT)
    except TimeoutError:
        raise UnansweredFileError(path) from None


def in_this_thread(read: Callable[[], T]) -> Callable[[], T]:
    """Return `read` for a thread whose caller limits its time.

    Each file is read in that thread, not in a further one.
    """

    def run() -> T:
        _current.set(_Reader())
        return read()

    return run


async def read_in_thread(read: Callable[[], T]) -> T:
    """Return the result of `read`, which reads files one after another; it runs in a daemon thread.

    A `read` of many files may take its time, each single one may not: the thread of one that hangs is left behind, and
    further reads of that file fail until it ends.

    Raises:
        UnansweredFileError: a file was not read within `READ_TIMEOUT`.
        Exception: whatever `read` raises.

    """
    reader = _Reader()

    def run() -> T:
        _current.set(reader)
        return read()

    running = in_daemon_thread(run, name="file reader")
    try:
        while not running.done():
            path, remaining = reader.path, reader.remaining
            if path is not None and remaining <= 0:
                raise UnansweredFileError(path)
            await asyncio.wait({running}, timeout=remaining)
        return running.result()
    finally:
        reader.abandoned = True


def digest(path: Path) -> bytes:
    """Digest of the content of a file, or of the reason why it cannot be read. Blocks."""
    try:
        return hashlib.sha256(read_file(path, max_bytes=_MAX_DIGESTED)).digest()
    except UnusableFileError as error:
        return str(error).encode()


def why(error: OSError) -> str:
    """Return the reason why a file cannot be read, in plain words."""
    number = error.errno or errno.EIO
    return _PLAIN_WORDS.get(number, os.strerror(number))


def _read_or_explain(path: Path, max_bytes: int) -> bytes:
    try:
        return _read(path, max_bytes)
    except FileNotFoundError as error:
        raise MissingFileError(why(error)) from None
    except OSError as error:
        raise UnusableFileError(why(error)) from None
    except ValueError:
        raise UnusableFileError("this is not a file's name") from None


def _read(path: Path, max_bytes: int) -> bytes:
    # Not blocking: opening a pipe without a writer would otherwise never return.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise UnusableFileError(_PLAIN_WORDS[errno.EISDIR])
        if not stat.S_ISREG(mode):
            raise UnusableFileError("it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise UnusableFileError(f"it is longer than {in_units(max_bytes)}")
    return content


def _unanswered(path: Path) -> bool:
    hanging = [reader.path for reader in tuple(_readers) if reader.path is not None and reader.remaining <= 0]
    in_folder = sum(other.parent == path.parent for other in hanging)
    return path in hanging or in_folder >= _UNANSWERED_IN_FOLDER
