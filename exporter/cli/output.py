"""Where results go: standard output, or a file that is replaced as a whole."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.errors import ExporterError
from exporter.redaction import redact

# Whoever collects the file, node_exporter say, is seldom the user who writes it.
READABLE_BY_ALL = 0o644


class OutputError(ExporterError):
    """A result could not be handed over."""


def complain(*texts: str) -> None:
    """Say each of these on standard error, without secrets. That nobody listens must not end what is under way."""
    lines = "".join(f"hpc-exporter: {text}\n" for text in texts)
    with contextlib.suppress(OSError):
        print(redact(lines), end="", file=sys.stderr, flush=True)


def write(text: str, file: Path | None = None) -> None:
    """Put `text`, in UTF-8, into `file` or else on standard output. Raises OutputError."""
    content = text.encode(errors="replace")
    if file is not None:
        replace_file(file, content)
    else:
        write_stdout(content)


def show(text: str) -> None:
    """Print `text` for a person, in whatever encoding the terminal has. Raises OutputError."""
    write_stdout(text.encode(sys.stdout.encoding or "utf-8", errors="backslashreplace"))


def write_stdout(content: bytes) -> None:
    """Raises OutputError where standard output is full; a reader that has left has seen enough: then status 1, quietly."""
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        abandon_stdout()
        raise SystemExit(1) from None
    except OSError as error:
        abandon_stdout()
        raise OutputError(f"cannot write to standard output: {error.strerror}") from None


def abandon_stdout() -> None:
    """Python tries to write the rest when it ends, and complains."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def replace_file(file: Path, content: bytes) -> None:
    """Let `file` hold `content` from one moment to the next: a reader sees the old or the new, never a part.

    Raises OutputError; the old file then stays as it is.
    """
    try:
        with beside(file) as (descriptor, temporary):
            with os.fdopen(descriptor, "wb") as stream:
                os.fchmod(stream.fileno(), READABLE_BY_ALL)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror}") from None


@contextmanager
def beside(file: Path) -> Iterator[tuple[int, Path]]:
    """A new file in the folder of `file`, open for writing; removed at the end if it is still there.

    A reader that collects ``*.prom`` does not see it: its name begins with a dot and ends otherwise.
    """
    descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.", suffix=".tmp")
    temporary = Path(name)
    try:
        yield descriptor, temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
