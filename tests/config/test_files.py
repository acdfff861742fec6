"""Reading files of which the disk may never answer."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.config import files
from exporter.config.files import (
    MissingFileError,
    UnansweredFileError,
    UnusableFileError,
    in_this_thread,
    read_file,
    read_in_thread,
)
from tests.e2e.process import eventually
from tests.support.disk import DeadDisk, impatient


async def read(path: Path) -> bytes:
    return await read_in_thread(lambda: read_file(path, max_bytes=100))


async def test_results_and_errors_come_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    assert await read(tmp_path / "file") == b"content"
    with pytest.raises(MissingFileError, match="there is no such file"):
        await read(tmp_path / "none")
    with pytest.raises(ZeroDivisionError):
        await read_in_thread(lambda: 1 // 0)


@pytest.mark.parametrize("kind", ["directory", "pipe", "too long", "loop"])
def test_a_file_that_cannot_be_read_is_told_and_leaves_no_descriptor_open(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "it"
    match kind:
        case "directory":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "too long":
            path.write_bytes(b"x" * 101)
        case _:
            path.symlink_to(path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UnusableFileError):
        read_file(path, max_bytes=100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_read_that_is_not_answered_fails_with_the_name_of_the_file(tmp_path: Path, dead_disk: DeadDisk) -> None:
    path = dead_disk.file(tmp_path / "file", "content")
    with impatient(), pytest.raises(UnansweredFileError, match="disk or network share") as raised:
        await read(path)
    assert raised.value.path == path


async def test_further_reads_of_it_fail_and_cost_no_further_thread(tmp_path: Path, dead_disk: DeadDisk) -> None:
    path = dead_disk.file(tmp_path / "file", "content")
    with impatient():
        for _ in range(5):
            with pytest.raises(UnansweredFileError):
                await read(path)
        with pytest.raises(UnansweredFileError):
            read_file(path, max_bytes=100)
    assert dead_disk.waiting == 1


async def test_it_can_be_read_once_the_disk_is_back(tmp_path: Path, dead_disk: DeadDisk) -> None:
    path = dead_disk.file(tmp_path / "file", "content")
    with impatient(), pytest.raises(UnansweredFileError):
        await read(path)
    await dead_disk.answers()
    assert await read(path) == b"content"


async def test_other_files_can_be_read_also_in_the_same_folder(tmp_path: Path, dead_disk: DeadDisk) -> None:
    path = dead_disk.file(tmp_path / "file", "content")
    (tmp_path / "other").write_text("of another mount")
    with impatient(), pytest.raises(UnansweredFileError):
        await read(path)
    assert await read(tmp_path / "other") == b"of another mount"


async def test_a_folder_of_unanswered_files_costs_two_threads(tmp_path: Path, dead_disk: DeadDisk) -> None:
    for number in range(20):
        path = dead_disk.file(tmp_path / str(number), "content")
        with impatient(), pytest.raises(UnansweredFileError):
            await read(path)
    assert dead_disk.waiting == 2


async def test_many_reads_may_take_long_where_no_single_one_does(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")

    def many() -> int:
        for _ in range(20):
            read_file(tmp_path / "file", max_bytes=100)
            threading.Event().wait(0.02)
        return 20

    with impatient(0.3):
        assert await read_in_thread(many) == 20


async def test_a_thread_that_was_given_up_reads_nothing_further(tmp_path: Path, dead_disk: DeadDisk) -> None:
    path, after = dead_disk.file(tmp_path / "file", "content"), list[str]()

    def both() -> None:
        read_file(path, max_bytes=100)
        try:
            read_file(path, max_bytes=100)
        except UnansweredFileError:
            after.append("rejected")

    with impatient(), pytest.raises(UnansweredFileError):
        await read_in_thread(both)
    await dead_disk.answers()
    await eventually(lambda: after == ["rejected"], "the thread went on")


def test_a_thread_whose_caller_limits_its_time_reads_a_file_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web.yml").write_bytes(b"content")
    monkeypatch.delattr(files, "daemon_call")
    with ThreadPoolExecutor(1) as threads:
        read = in_this_thread(lambda: read_file(tmp_path / "web.yml", max_bytes=10))
        assert threads.submit(read).result(60) == b"content"
