"""Results: in a file from one moment to the next, or on standard output."""

import os
import select
import socket
import stat
import threading
from pathlib import Path

import pytest

from exporter.cli import output
from exporter.cli.output import OutputError, replace_file, write_file


def test_a_file_is_replaced_and_readable_by_all(tmp_path: Path) -> None:
    file = tmp_path / "hpc.prom"
    file.write_text("old")
    file.chmod(0o600)
    inode = file.stat().st_ino
    replace_file(file, b"new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    # Another file under the same name: a reader that has the old one open goes on with that.
    assert file.stat().st_ino != inode
    assert [each.name for each in tmp_path.iterdir()] == ["hpc.prom"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o644


@pytest.mark.parametrize("place", ["no/such/folder/x", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=place):
        replace_file(tmp_path / place, b"x")
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_links_that_run_in_a_circle_are_named(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OutputError, match="Too many levels of symbolic links"):
        write_file(tmp_path / "circle" / "x", "")


def test_a_failure_half_way_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hpc.prom"
    file.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        replace_file(file, b"new")
    assert file.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["hpc.prom"]


def test_the_target_of_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "hpc.prom"
    (tmp_path / "middle").symlink_to("folder/hpc.prom")
    link = tmp_path / "hpc.prom"
    link.symlink_to("middle")
    for text in ("first", "second"):
        write_file(link, text)
        assert target.read_text() == text
        assert link.is_symlink()
        assert not target.is_symlink()
    assert [each.name for each in target.parent.iterdir()] == ["hpc.prom"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    opened = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(opened, True)
    # A reader that is faster than the writer would see the end.
    other = os.open(pipe, os.O_WRONLY)

    def reader() -> None:
        # Before there is a writer, a read would return the end immediately.
        select.select([opened], [], [])
        with os.fdopen(opened, encoding="utf-8") as stream:
            read.append(stream.read())

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    write_file(pipe, text := "x" * 200_000)
    os.close(other)
    thread.join(30)
    assert read == [text]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_without_a_reader_is_an_error_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match=r"pipe: no process reads this pipe$"):
        write_file(pipe, "x")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_is_no_longer_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "PATIENCE", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(OutputError, match=r"pipe: no process reads this pipe$"):
            write_file(pipe, "x" * 2_000_000)
    finally:
        os.close(reader)


@pytest.mark.parametrize("link", [False, True])
def test_a_device_is_written_into(tmp_path: Path, link: bool) -> None:
    def through(device: str) -> Path:
        if not link:
            return Path(device)
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(device)
        return tmp_path / "link"

    write_file(through("/dev/null"), "x")
    with pytest.raises(OutputError, match="No space left on device"):
        write_file(through("/dev/full"), "x")
    for device in ("/dev/null", "/dev/full"):
        assert stat.S_ISCHR(Path(device).stat().st_mode)


def test_a_terminal_is_written_into_and_not_steered() -> None:
    main, terminal = os.openpty()
    try:
        for file in (Path(os.ttyname(terminal)), Path(f"/dev/fd/{terminal}")):
            write_file(file, 'x{name="\u009b31m\u202e\a"} 1\n')
            assert os.read(main, 1000).decode() == 'x{name="\ufffd31m\ufffd\ufffd"} 1\r\n'
    finally:
        os.close(main)
        os.close(terminal)


@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}", "link"])
def test_an_open_file_of_the_process_is_written_to_as_it_is(tmp_path: Path, name: str) -> None:
    """As /dev/stdout where standard output goes to a file that is appended to."""
    (tmp_path / "log").write_text("before\n")
    with (tmp_path / "log").open("a") as log:
        (tmp_path / "link").symlink_to(f"/dev/fd/{log.fileno()}")
        write_file(tmp_path / name.format(log.fileno()), "after\n")
    assert (tmp_path / "log").read_text() == "before\nafter\n"
    assert (tmp_path / "link").is_symlink()


def test_other_special_files_are_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(OutputError, match="neither a file nor a pipe"):
            write_file(tmp_path / "socket", "x")
    with pytest.raises(OutputError, match="it is a folder"):
        write_file(tmp_path, "x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="Too many levels"):
        write_file(tmp_path / "loop", "x")
