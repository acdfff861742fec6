"""Standard streams that survive failures of their other end.

A reader that leaves or does not read, a full disk, a descriptor that is closed from the beginning: each costs only the
lines that cannot be written.
"""

import atexit
import contextlib
import errno
import io
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from exporter.redaction import redact

# Maximum number of characters that wait for a reader; further lines are lost.
LONGEST_QUEUE = 1024 * 1024
# Seconds to wait for lines to be written where they must come before something else, and at the end.
DRAIN_TIMEOUT = 2.0
NO_READER = OSError(errno.EAGAIN, "there is no reader of what was written before")


class LineWriter(io.TextIOBase):
    """A stream whose caller never waits and gets no error.

    A thread writes, secrets taken out, in the order of the calls.

    Lines that cannot be written are counted in `lost`; `on_loss` is called with their number by that thread when
    writing works again.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8", *, longest_queue: int = LONGEST_QUEUE) -> None:
        super().__init__()
        self.lost = 0
        self.on_loss: Callable[[int], object] = lambda _lines: None
        self._descriptor = descriptor
        self._encoding = encoding
        self._longest_queue = longest_queue
        self._terminal = os.isatty(descriptor)
        self._changed = threading.Condition()
        self._unfinished = ""
        self._queue: deque[str] = deque()
        self._size = 0
        self._stuck = False
        self._error = NO_READER
        self._reported = 0
        self._within_line = False
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property of the class above, which says that it can be set
        return self._encoding

    def isatty(self) -> bool:
        return self._terminal

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._changed:
            lines, end, rest = (self._unfinished + text).rpartition("\n")
            self._unfinished = rest
            if end:
                self._enqueue(lines + end)
        if self._terminal:
            self.flush()
        return len(text)

    def flush(self) -> None:
        """Queue an unfinished line, too. Does not wait: see `drain`."""
        with self._changed:
            if self._unfinished:
                unfinished, self._unfinished = self._unfinished, ""
                self._enqueue(unfinished)

    def drain(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Wait until all is written, or lost; at most `timeout` seconds, and not at all while the reader is stuck."""
        self.flush()
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._size and not self._stuck:
                if not self._changed.wait(deadline - time.monotonic()):
                    self._stuck = True

    def deliver(self, text: str, timeout: float = DRAIN_TIMEOUT) -> None:
        """Write `text` and wait until it is written.

        Raises OSError if that fails or takes longer than `timeout` seconds.
        """
        with self._changed:
            lost = self.lost
            self._enqueue(text)
        self.drain(timeout)
        with self._changed:
            if self._size:
                raise NO_READER
            if self.lost > lost:
                raise self._error

    def _enqueue(self, text: str) -> None:
        # A longer text passes when nothing else waits.
        if self._size and self._size + len(text) > self._longest_queue:
            self._lose(text, NO_READER)
            return
        self._queue.append(text)
        self._size += len(text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="standard error", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _lose(self, text: str, error: OSError) -> None:
        self.lost += text.count("\n") or 1
        self._error = error

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._changed.wait()
                text = self._queue.popleft()
            error = self._written(text)
            with self._changed:
                self._size -= len(text)
                self._stuck = False
                if error is not None:
                    self._lose(text, error)
                lost = 0
                # Only with an empty queue: the report takes a line, too.
                if error is None and not self._queue:
                    lost, self._reported = self.lost - self._reported, self.lost
                self._changed.notify_all()
            if lost:
                self.on_loss(lost)

    def _written(self, text: str) -> OSError | None:
        """Write all of `text`; return the error, if any."""
        # A line that was cut off must not become the beginning of this one.
        text = f"\n{redact(text)}" if self._within_line else redact(text)
        content = rest = memoryview(text.encode(self._encoding, errors="backslashreplace"))
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except OSError as error:
            self._within_line = self._within_line or len(rest) < len(content)
            return error
        self._within_line = False
        return None

    def _write_some(self, content: memoryview) -> int:
        with contextlib.suppress(BlockingIOError):
            return os.write(self._descriptor, content)
        # Another process that shares the descriptor made it non-blocking.
        select.select([], [self._descriptor], [])
        return 0


# None in a program that uses the package as a library.
_stderr: LineWriter | None = None


def prepare() -> None:
    """Replace the standard streams of this process by robust ones. Call it once, before any file is opened."""
    global _stderr  # noqa: PLW0603 - there is one standard error in a process
    occupy_standard_descriptors()
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - standard input for good
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - standard output for good
    _stderr = LineWriter(2, sys.stderr.encoding if sys.stderr is not None else "utf-8")
    sys.stderr = _stderr
    atexit.register(_stderr.drain)


def occupy_standard_descriptors() -> None:
    """Open those of the numbers 0 to 2 that are closed, so that no socket or file gets one, and with it log lines.

    Writing to them fails with an error.
    """
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:  # noqa: PLR2004 - standard error
            pass
        os.close(descriptor)


def on_lost_lines(told: Callable[[int], object]) -> None:
    """Call `told` with the number of lines that standard error did not take, when it takes lines again."""
    if _stderr is not None:
        _stderr.on_loss = told


def drain_stderr() -> None:
    """Wait, for a bounded time, until standard error is written, before output elsewhere."""
    if _stderr is not None:
        _stderr.drain()


def deliver_stderr(text: str) -> None:
    """Write `text` to standard error and wait until it is written. Raises OSError if it cannot be."""
    if _stderr is not None:
        _stderr.deliver(text)
    else:
        sys.stderr.write(text)
        sys.stderr.flush()
