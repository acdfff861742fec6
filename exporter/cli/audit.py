"""The record of every deletion: one line of JSON a job."""

import errno
import getpass
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import msgspec

from exporter.cli.output import OutputError, complain
from exporter.cli.schemas import Audit
from exporter.redaction import redact
from exporter.streams import deliver_stderr
from exporter.text import escaped


class AuditLog:
    """Where audit lines go: a file that is only ever appended to, or standard error.

    To be entered before anything is sent: a deletion that cannot be recorded is not begun. Raises OutputError.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stream: BinaryIO | None = None

    def __enter__(self) -> Self:
        if self._file is not None:
            try:
                # Unbuffered: lines are appended in one piece, so that two commands at once do not mix theirs.
                self._stream = self._file.open("ab", buffering=0)
            except OSError as error:
                raise OutputError(f"cannot open {self._file}, so nothing was sent: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def write(self, records: list[Audit]) -> None:
        """Append a line for each record. Lines that the file does not take go to standard error; OutputError then."""
        lines = "".join(f"{escaped(redact(msgspec.json.encode(record).decode()))}\n" for record in records).encode()
        if self._stream is None:
            write_stderr(lines)
            return
        written = 0
        try:
            written = self._stream.write(lines)
            synchronize(self._stream)
        except OSError as error:
            self._give_up(lines[written:], error.strerror or type(error).__name__)
        if written < len(lines):
            self._give_up(lines[written:], "it is full")

    def _give_up(self, lines: bytes, reason: str) -> None:
        complain(f"cannot write to {self._file}: {reason}; the lines that are missing there:")
        write_stderr(lines)
        raise OutputError(f"the deletion was not recorded in {self._file}")


def write_stderr(lines: bytes) -> None:
    """Raises OutputError."""
    try:
        deliver_stderr(lines.decode(errors="replace"))
    except OSError as error:
        raise OutputError(f"the deletion was not recorded on standard error: {error.strerror}") from None


def synchronize(stream: BinaryIO) -> None:
    """Bring what was written to the disk, where there is one: pipes and terminals refuse."""
    try:
        os.fsync(stream.fileno())
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):
            raise


def operator() -> str:
    """Who runs this: the login, and behind sudo the one before."""
    name = f"uid {os.getuid()}"
    # KeyError up to Python 3.12: a user without an entry among the users, as in a container.
    with suppress(OSError, KeyError):
        name = getpass.getuser()
    before = os.environ.get("SUDO_USER")
    return f"{before} as {name}" if before else name
