"""`top`, a process in a terminal of 80 columns and 24 lines."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import tempfile
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from rich.cells import cell_len

from exporter.cli.main import main
from exporter.cli.top import Screen, View, line_of
from tests.support import forks
from tests.support.command import DEADLINE
from tests.support.face import Served, guarded
from tests.support.installations import Installation, StagedFace, empty, half_broken, healthy, huge

CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Watched:
    """A running `top`, and all that it has drawn."""

    def __init__(self, process: forks.Process, terminal: int) -> None:
        self.process = process
        self._terminal = terminal
        self._drawn = b""
        os.set_blocking(terminal, False)

    @property
    def lines(self) -> list[str]:
        """The last complete picture."""
        *_, last = self._drawn.decode(errors="ignore").split("\x1b[H")
        return CONTROL.sub("", last).replace("\r", "").split("\n")

    @property
    def left(self) -> bool:
        """Whether the terminal shows what it did before."""
        return b"\x1b[?1049l" in self._drawn

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed."""
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), self._terminal)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def shows(self, wanted: Callable[[list[str]], object]) -> list[str]:
        """Wait for a picture, and return it."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not (len(self.lines) > 1 and wanted(self.lines)):
                    self._read()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError("\n".join(self.lines)) from None
        return self.lines

    async def ended(self) -> int:
        async with asyncio.timeout(DEADLINE):
            while self.process.returncode is None:
                self._read()
                await asyncio.sleep(0.02)
        self._read()
        return self.process.returncode

    def _read(self) -> None:
        try:
            while part := os.read(self._terminal, 65536):
                self._drawn += part
        except OSError:
            pass


@asynccontextmanager
async def watched(folder: Path, *arguments: str) -> AsyncIterator[Watched]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with tempfile.TemporaryFile() as said, os.fdopen(slave, "rb", buffering=0) as terminal:
        env = {"TERM": "xterm-256color", "COLUMNS": "", "LINES": ""}
        process = await forks.start(
            "top", *arguments, cwd=folder, env=env, stdin=terminal, stdout=terminal, stderr=said, warning="error"
        )
        terminal.close()
        try:
            yield Watched(process, master)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            os.close(master)
            said.seek(0)
            assert b"Traceback" not in (text := said.read()), text.decode()


def address(served: Served) -> str:
    return f"--url=http://127.0.0.1:{served.port}/"


async def test_lists_are_chosen_sorted_filtered_and_followed(tmp_path: Path) -> None:
    face = StagedFace(healthy())
    async with guarded(face=face) as served, watched(tmp_path, address(served), "--interval=100ms") as top:
        lines = await top.shows(lambda lines: "All 35 targets work" in lines[0])
        assert len(lines) == 24
        assert max(map(cell_len, lines)) <= 80
        assert "[1 Members]" in lines[1]
        running = [int(line.split()[3]) for line in lines[3:18]]
        assert running == sorted(running, reverse=True)
        top.press("\t")
        lines = await top.shows(lambda lines: "[2 People]" in lines[1])
        assert lines[8].split() == ["total", "of", "5", "83", "130", "2,656", "49", "71"]
        top.press("5/wei\x7f\x7f\x7f王\r")
        lines = await top.shows(lambda lines: "[5 Queues]" in lines[1] and lines[-1].startswith("filter: 王 "))
        assert {line.split()[1] for line in lines[3:9]} == {"王伟"}
        top.press("\x1b6r")
        await top.shows(lambda lines: "[6 Targets]" in lines[1] and "State ↓" in lines[2])
        face.installation = half_broken()
        await top.shows(lambda lines: "xian: no data for 66 min" in lines[0])
        top.press("p")
        lines = await top.shows(lambda lines: "problems only" in lines[-1])
        assert all(line.startswith(("No data", "Failing")) for line in lines[3:20])
        face.installation = empty()
        await top.shows(lambda lines: "Nothing is polled" in lines[0])
        top.press("q")
        assert await top.ended() == 0
        assert top.left


async def test_a_long_list_scrolls_and_the_window_may_change(tmp_path: Path) -> None:
    async with (
        guarded(face=StagedFace(huge(12_000))) as served,
        watched(tmp_path, address(served), "--view=queues") as top,
    ):
        first = await top.shows(lambda lines: "[5 Queues]" in lines[1])
        top.press("\x1b[6~")
        second = await top.shows(lambda lines: lines[3] != first[3])
        assert len(second) == 24
        top.press("\x1b[5~")
        await top.shows(lambda lines: lines[3] == first[3])
        top.resize(50, 12)
        lines = await top.shows(lambda lines: len(lines) == 12)
        assert max(map(cell_len, lines)) <= 50
        top.process.send_signal(signal.SIGTERM)
        assert await top.ended() == 0
        assert top.left


async def test_an_exporter_that_is_lost_is_told(tmp_path: Path) -> None:
    face = StagedFace(healthy())
    async with guarded(face=face) as served:
        async with watched(tmp_path, address(served), "--interval=100ms") as top:
            await top.shows(lambda lines: "All 35 targets work" in lines[0])
            await served.runner.cleanup()
            lines = await top.shows(lambda lines: "The exporter does not answer: " in lines[0])
            assert "[1 Members]" in lines[1]
        async with watched(tmp_path, address(served)) as top:
            assert await top.ended() == 1


@pytest.mark.parametrize(
    "arguments", [["top"], ["top", "--http.config.file=missing"], ["top", "--url=x"], ["top", "--view=x"]]
)
def test_without_a_terminal_or_with_wrong_flags_it_is_wrong_usage(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as end:
        status = int(end.code or 0)
    assert status == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("end", ["SIGTERM", "no terminal"])
async def test_it_ends_while_a_filter_is_typed(tmp_path: Path, end: str) -> None:
    """A signal is no letter, and a terminal that is gone stays readable."""
    async with guarded(face=StagedFace(healthy())) as served, watched(tmp_path, address(served)) as top:
        await top.shows(lambda lines: "All 35 targets work" in lines[0])
        top.press("/bo")
        await top.shows(lambda lines: lines[-1].startswith("filter: bo_"))
        if end == "SIGTERM":
            top.process.terminate()
        else:
            top.hang_up()
        assert await top.ended() == 0


def test_a_status_of_another_version_is_said_to_be_one() -> None:
    status = healthy().status() | {"version": "0.0.1", "jobs": None}
    assert Screen(status, View()).drawn(120).plain.rstrip().endswith("its version: 0.0.1")


def test_a_line_that_does_not_fit_ends_at_a_word() -> None:
    assert line_of("harbin: no data for 85 s", 20) == "harbin: no data…    "
    assert line_of("harbin: no data", 20) == "harbin: no data     "
    assert line_of("无数据的区域", 8) == "无数据… "


@pytest.mark.parametrize("width", [3, 20, 40])
def test_a_picture_fits_a_narrow_terminal(width: int) -> None:
    """Also where a row becomes a block of lines, with an error in it."""
    lines = Screen(half_broken().status(), View("targets")).drawn(width).plain.split("\n")
    assert (len(lines), max(map(cell_len, lines))) == (24, width)


def test_a_list_that_lacks_what_is_not_known_says_so() -> None:
    """As the page does; also where nothing else is in it."""
    made = Installation()
    made.add("xian", "live_jobs", "", "stale")
    lines = [line.strip() for line in Screen(made.status(), View("queues")).drawn(80).plain.splitlines()]
    assert lines[2:4] == ["No jobs are known.", "Queues are missing: there is no current list of xian."]
    made.add_member("kunshan", "physics/bob")
    made.add_member("kunshan", "physics/amy")
    lines = [line.strip() for line in Screen(made.status(), View("members"), height=9).drawn(80).plain.splitlines()]
    assert len(lines) == 9
    assert lines[5].startswith("total of 2")
    assert lines[6] == "Members are missing: there is no current list of xian."
