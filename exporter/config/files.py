"""Reading a small file that somebody else wrote, without surprises."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from exporter.errors import ExporterError

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


def read_file(path: Path, *, max_bytes: int) -> bytes:
    """Return what a regular file holds.

    Raises:
        UnusableFileError: it is not there, not readable, not regular or too long.

    """
    try:
        # Not blocking: opening a pipe that nobody writes to would otherwise wait for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnusableFileError("it is not a regular file")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UnusableFileError(why(error)) from None
    except ValueError:
        raise UnusableFileError("this is not a file's name") from None
    if len(content) > max_bytes:
        raise UnusableFileError(f"it is longer than {max_bytes} bytes")
    return content


def digest(path: Path) -> bytes:
    """What tells the contents of a file apart, and the reasons why it cannot be read. Blocks."""
    try:
        return hashlib.sha256(read_file(path, max_bytes=_MAX_DIGESTED)).digest()
    except UnusableFileError as error:
        return str(error).encode()


def why(error: OSError) -> str:
    """Say in plain words why a file cannot be read."""
    number = error.errno or errno.EIO
    return _PLAIN_WORDS.get(number, os.strerror(number))
