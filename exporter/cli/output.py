"""Destinations of results: standard output, a file that is replaced as a whole, a pipe."""

import contextlib
import errno
import io
import os
import re
import select
import shutil
import stat
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.cells import cell_len

from exporter.errors import ExporterError
from exporter.redaction import redact
from exporter.streams import drain_stderr
from exporter.text import printable

# The reader, node_exporter for example, seldom runs as the user that writes.
READABLE_BY_ALL = 0o644
# Symbolic links to follow; the limit of the kernel.
LONGEST_CHAIN = 40
# Messages: if more targets of a source than this have the same problem, they share a line.
ALIKE = 3
# Seconds to wait for the other end of a pipe.
PATIENCE = 10.0
NO_READER = "no process reads this pipe"


class OutputError(ExporterError):
    """A result could not be written."""


class IncompleteWriteError(ExporterError):
    """`rest` could not be written."""

    def __init__(self, reason: str, rest: bytes) -> None:
        super().__init__(reason)
        self.rest = rest


def warn(*texts: str) -> None:
    """Print each text to standard error. A broken standard error does not stop the command."""
    print_error(*(f"hpc-exporter: {text}" for text in texts))


def print_error(*texts: str) -> None:
    """Print these without the program's name, for texts that begin with a file's."""
    for text in texts:
        with contextlib.suppress(OSError):
            for line in _plain(text).split("\n"):
                sys.stderr.write(indented(line, sys.stderr, "  "))
            sys.stderr.flush()
        drain_stderr()


def warn_alike(troubles: Iterable[tuple[str, str, str]]) -> None:
    """Warn of the problems of targets: source, other names and text of each. Many with the same text share a line."""
    alike: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for source, name, text in troubles:
        alike[source, text].append(name)
    for (source, text), names in alike.items():
        if len(names) <= ALIKE:
            warn(*(f"{source} {name}{text}" for name in names))
        else:
            warn(f"{source}: {len(names):,} targets ({', '.join(names[:ALIKE])}, ...){text}")


def indented(text: str, stream: TextIO, indent: str) -> str:
    """Return a line as a terminal shows it without breaking words, further lines with an `indent`; else unchanged."""
    width = terminal_width(stream)
    lines = [""]
    for number, word in enumerate(text.split(" ")):
        longer = f"{lines[-1]} {word}" if number else word
        if width is None or cell_len(longer) <= width or not lines[-1].strip():
            lines[-1] = longer
        else:
            lines.append(indent + word)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def terminal_width(stream: TextIO) -> int | None:
    """Cells in a line of the terminal, or what COLUMNS says; None where the text goes elsewhere."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def _plain(text: str) -> str:
    """`text` without secrets and terminal control sequences. It may have several lines."""
    return printable(redact(text), but="\n")


def print_line(text: str) -> None:
    """Print a line, or several, for a person. Raises OutputError."""
    print_text(_plain(text) + "\n")


def write(text: str, file: Path | None = None) -> None:
    """Put `text`, in UTF-8, into `file` or else on standard output. Raises OutputError."""
    if file is not None:
        write_file(file, text)
    else:
        _write_stdout(_fit_for(sys.stdout.isatty(), text).encode(errors="replace"))


def _fit_for(terminal: bool, text: str) -> str:
    """`text` unchanged for programs; without control sequences for a terminal."""
    return printable(text, but="\n") if terminal else text


def write_table(rendered: Callable[[TextIO], str], file: Path | None) -> None:
    """Print a table as the terminal can show it, or put it into `file`, plain and as wide as it needs to be.

    Raises OutputError.
    """
    if file is None:
        print_text(rendered(sys.stdout))
    else:
        write(rendered(io.StringIO()), file)


def print_text(text: str) -> None:
    """Print a table, which may have colours, in whatever encoding the terminal has. Raises OutputError."""
    _write_stdout(text.encode(sys.stdout.encoding or "utf-8", errors="backslashreplace"))


def _write_stdout(content: bytes) -> None:
    """Write to standard output. Raises OutputError for a write error; exits quietly with status 1 at a closed pipe."""
    # Keeps the order of the two streams on a terminal.
    drain_stderr()
    with _checked_stdout():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def flush_stdout() -> None:
    """Flush the buffers of `print`. Raises OutputError and SystemExit as the functions above."""
    with _checked_stdout():
        sys.stdout.flush()


@contextmanager
def _checked_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _abandon_stdout()
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        # The reader may never read what is still in the buffer.
        _abandon_stdout()
        raise
    except OSError as error:
        _abandon_stdout()
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror
        raise OutputError(f"cannot write to standard output: {reason}") from None


def _abandon_stdout() -> None:
    """Redirect to /dev/null: Python flushes at exit, and would report the error again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_file(file: Path, text: str) -> None:
    """Put `text` into `file`: a regular file is replaced, a pipe or a device is written into. Raises OutputError.

    Symbolic links are followed. A missing file is created.
    """
    if (descriptor := _own_descriptor(file)) is not None:
        # Not replaced: what is behind it may be opened for appending, or shared.
        if descriptor == sys.stdout.fileno():
            write(text)
        else:
            _write_open(file, descriptor, text)
        return
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror}") from None
    if stat.S_ISREG(mode):
        replace_file(Path(os.path.realpath(file)), text.encode(errors="replace"))
    elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            descriptor = open_to_write(file)
        except OSError as error:
            raise OutputError(f"cannot write {file}: {error.strerror}") from None
        try:
            _write_open(file, descriptor, text)
        finally:
            os.close(descriptor)
    else:
        kind = "a folder" if stat.S_ISDIR(mode) else "neither a file nor a pipe nor a terminal"
        raise OutputError(f"cannot write {file}: it is {kind}")


def _own_descriptor(file: Path) -> int | None:
    """Return the number of the open file of this process that `file` stands for, as /dev/stdout does.

    None for any other.
    """
    for _ in range(LONGEST_CHAIN):
        # Not by `Path.resolve`: up to Python 3.12 it raises a RuntimeError where links run in a circle.
        folder = Path(os.path.realpath(file.parent))
        if re.fullmatch(rf"/proc/{os.getpid()}(/task/\d+)?/fd|/dev/fd", str(folder)) and file.name.isdecimal():
            return int(file.name)
        try:
            file = folder / file.readlink()
        except OSError:
            return None
    return None


def _write_open(file: Path, descriptor: int, text: str) -> None:
    try:
        write_all(descriptor, _fit_for(os.isatty(descriptor), text).encode(errors="replace"))
    except IncompleteWriteError as error:
        raise OutputError(f"cannot write {file}: {error}") from None


def open_to_write(file: Path, flags: int = 0) -> int:
    """Return a descriptor of `file` for `write_all`. Raises OSError.

    A pipe without a reader is an error, when opened and when written to: waiting for a reader might never end.
    """
    try:
        return os.open(file, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | flags, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO and file.is_fifo():
            error.strerror = NO_READER
        raise


def write_all(descriptor: int, content: bytes) -> None:
    """Write `content`, if possible with one system call. Raises IncompleteWriteError."""
    rest = content
    try:
        while rest:
            if not select.select([], [descriptor], [], PATIENCE)[1]:
                raise IncompleteWriteError(NO_READER, rest)
            rest = rest[os.write(descriptor, rest) :]
    except OSError as error:
        raise IncompleteWriteError(error.strerror or type(error).__name__, rest) from None


def replace_file(file: Path, content: bytes) -> None:
    """Replace `file` atomically. Raises OutputError; the old file then stays."""
    try:
        with _beside(file) as (descriptor, temporary):
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(stream.fileno(), READABLE_BY_ALL)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror}") from None


@contextmanager
def _beside(file: Path) -> Iterator[tuple[int, Path]]:
    """Yield a temporary file in the folder of `file`, open for writing; removed at the end if it is still there.

    Its name begins with a dot and does not end in ``.prom``, so that the textfile collector ignores it.
    """
    descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        yield descriptor, temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
