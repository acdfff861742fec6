"""A stream that survives its reader, and whose caller never waits for it."""

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from exporter import redaction
from exporter.streams import LineWriter

# Generous: the machine may be busy. Nothing waits so long unless it is broken.
DEADLINE = 30.0


class Pipe:
    """A small one, both of its ends, and what was read."""

    def __init__(self) -> None:
        self.reader, self.descriptor = os.pipe()
        fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, 4096)
        self.content = b""

    def read(self) -> str:
        """All that is there now."""
        os.set_blocking(self.reader, False)
        with suppress(BlockingIOError):
            while part := os.read(self.reader, 65536):
                self.content += part
        return self.content.decode()

    def close(self) -> None:
        for descriptor in (self.reader, self.descriptor):
            with suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def eventually(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < deadline, "never came true"
        time.sleep(0.005)


def test_lines_arrive_in_the_order_they_were_written_in(pipe: Pipe) -> None:
    writer = LineWriter(pipe.descriptor)
    for number in range(100):
        print("line", number, file=writer)
    writer.drain(DEADLINE)
    assert pipe.read() == "".join(f"line {number}\n" for number in range(100))
    assert writer.lost == 0


def test_a_line_without_an_end_waits_for_it_or_for_a_flush(pipe: Pipe) -> None:
    writer = LineWriter(pipe.descriptor)
    writer.write("one\ntw")
    writer.write("o")
    eventually(lambda: pipe.read() == "one\n")
    writer.flush()
    eventually(lambda: pipe.read() == "one\ntwo")


def test_secrets_are_taken_out_of_all_output(pipe: Pipe) -> None:
    redaction.remember(["t0ken-of-the-region"])
    writer = LineWriter(pipe.descriptor)
    print("error: unknown argument t0ken-of-the-region", file=writer)
    eventually(lambda: pipe.read() == "error: unknown argument <secret>\n")


def test_a_character_that_the_terminal_does_not_know_is_no_error(pipe: Pipe) -> None:
    writer = LineWriter(pipe.descriptor, "ascii")
    print("区域 \ud800", file=writer)
    eventually(lambda: pipe.read() == "\\u533a\\u57df \\ud800\n")


@pytest.mark.parametrize("descriptor", ["left", "full", "closed"])
def test_lines_that_cannot_be_written_are_lost_and_nothing_else(pipe: Pipe, descriptor: str) -> None:
    if descriptor == "left":
        os.close(pipe.reader)
    elif descriptor == "full":
        os.dup2(full := os.open("/dev/full", os.O_WRONLY), pipe.descriptor)
        os.close(full)
    else:
        os.dup2(closed := os.open(os.devnull, os.O_RDONLY), pipe.descriptor)
        os.close(closed)
    writer = LineWriter(pipe.descriptor)
    for number in range(10):
        print("line", number, file=writer)
    writer.drain(DEADLINE)
    assert writer.lost == 10
    with pytest.raises(OSError, match=r"Broken pipe|No space left|Bad file descriptor"):
        writer.deliver("a line that must be seen\n")


def test_a_reader_that_does_not_read_does_not_block(pipe: Pipe) -> None:
    """Lines that do not fit are counted and reported once there is a reader; those before arrive as a whole."""
    writer = LineWriter(pipe.descriptor, longest_queue=10_000)
    told: list[int] = []
    writer.on_loss = told.append
    lines = [f"line {number:03} {'x' * 90}\n" for number in range(1000)]
    for line in lines:
        writer.write(line)
    assert 0 < writer.lost < 1000
    written = 1000 - writer.lost
    with pytest.raises(OSError, match="there is no reader"):
        writer.deliver("a line that must be seen\n", timeout=0.05)
    eventually(lambda: pipe.read().count("\n") >= written)
    eventually(lambda: told)
    arrived = pipe.read().splitlines(keepends=True)[:written]
    # Whole and in order; which ones depends on when the thread had its turns.
    assert arrived == sorted(set(arrived) & set(lines))
    writer.write("it goes on\n")
    eventually(lambda: pipe.read().endswith("it goes on\n"))
    assert sum(told) == writer.lost


def test_waiting_for_a_reader_that_does_not_read_has_an_end(pipe: Pipe) -> None:
    writer = LineWriter(pipe.descriptor)
    writer.write("x" * 100_000 + "\n")
    ended = threading.Event()

    def drain() -> None:
        writer.drain(0.1)
        # Nothing was read since, so there is nothing to wait for.
        writer.drain(10 * DEADLINE)
        ended.set()

    threading.Thread(target=drain, daemon=True).start()
    assert ended.wait(DEADLINE)
    eventually(lambda: len(pipe.read()) == 100_001)
    writer.write("it goes on\n")
    writer.drain(DEADLINE)
    assert pipe.read().endswith("it goes on\n")


def test_what_was_cut_off_does_not_run_into_the_next_line(pipe: Pipe) -> None:
    """A disk that is full takes a part of a line, then nothing."""
    room = 10
    writer = LineWriter(pipe.descriptor)

    def write_some(content: memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        written = os.write(pipe.descriptor, content[:room])
        room -= written
        return written

    writer._write_some = write_some  # type: ignore[method-assign]  # a disk that is full cannot be had
    writer.write("a line that does not fit\n")
    writer.drain(DEADLINE)
    assert writer.lost == 1
    room = 100
    writer.write("the next one\n")
    writer.drain(DEADLINE)
    assert pipe.read() == "a line tha\nthe next one\n"


def test_a_descriptor_that_does_not_wait_loses_nothing(pipe: Pipe) -> None:
    """A process that shares it may have made it so."""
    os.set_blocking(pipe.descriptor, False)
    writer = LineWriter(pipe.descriptor)
    writer.write("x" * 50_000 + "\n")
    eventually(lambda: len(pipe.read()) == 50_001)
    assert writer.lost == 0
