"""A state file that is taken away, replaced or damaged while it is open is noticed, told, and written anew."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.tracking import StateFileError, Store, TrackingService
from exporter.tracking.tracker import TrackerState
from tests.support.disk import take_all_room
from tests.support.face import eventually
from tests.tracking.files import (
    Observer,
    ended,
    ended_in,
    fill,
    is_kept,
    loaded,
    make_room,
    polled,
    pragma,
    started,
    written,
)
from tests.tracking.lives import KEY, ended_by

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def service(state_file: Path) -> AsyncIterator[TrackingService]:
    service = await started(state_file)
    await polled(service, range(1, 8))
    yield service
    await service.stop()


def log_of(path: Path) -> Path:
    return path.with_name("tracker.db-wal")


def replace_by(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").rename(path)


def replace_by_foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")


def remove_log(path: Path) -> None:
    log_of(path).unlink()


DOINGS: dict[str, list[Callable[[Path], object]]] = {
    "remove": [Path.unlink],
    "remove with log": [remove_log, Path.unlink],
    "remove log": [remove_log],
    "rename": [lambda path: path.rename(path.with_name("moved-away"))],
    "empty": [Path.unlink, Path.touch],
    "empty in place": [lambda path: os.truncate(path, 0)],
    "shorten in place": [lambda path: os.truncate(path, 5000)],
    "overwrite": [lambda path: path.write_text("something else")],
    "overwrite to the byte": [lambda path: path.write_bytes(b"x" * path.stat().st_size)],
    "overwrite log": [lambda path: log_of(path).write_bytes(b"x" * log_of(path).stat().st_size)],
    "replace by text": [lambda path: replace_by(path, b"something else")],
    "replace by folder": [Path.unlink, Path.mkdir],
    "replace by copy": [lambda path: replace_by(path, path.read_bytes())],
    "replace by foreign": [replace_by_foreign],
    "replace by link": [lambda path: path.rename(path.with_name("x")), lambda path: path.symlink_to("elsewhere-too")],
}


# Reasons for which a file in the place of the one that was open is set aside.
ASIDE = (
    "it is not the file that was open",
    "it is damaged: ",
    "it is a database of another program",
    "tracker.db is a folder",
)


def happens(doing: str, path: Path) -> None:
    for step in DOINGS[doing]:
        step(path)


def inode(path: Path) -> int:
    return path.stat().st_ino


def set_aside(folder: Path) -> list[Path]:
    return list(folder.glob("*set-aside*"))


@pytest.mark.parametrize("checkpointed", [False, True], ids=["pages in the log", "pages in the file"])
@pytest.mark.parametrize("doing", DOINGS)
async def test_it_is_noticed_with_the_next_poll_told_and_written_anew(
    service: TrackingService, state_file: Path, doing: str, checkpointed: bool
) -> None:
    assert service._store is not None
    if checkpointed:
        await pragma(service._store, "wal_checkpoint")
    elif doing == "overwrite to the byte":
        pytest.skip("the log holds every page: nothing is damaged")
    await polled(service, range(8, 9))
    happens(doing, state_file)
    with capture_logs() as logs:
        for poll in range(9, 12):
            await polled(service, range(poll, poll + 1))
    assert ended(service) == ended_by(11)
    warnings = [line for line in logs if "lost" in line["event"]]
    assert len(warnings) == 1, logs
    in_place = "in place" in doing or doing.startswith("overwrite")
    why = "another program wrote to it" if in_place else "it was removed or replaced"
    assert warnings[0]["reason"].startswith(f"state file {state_file}: {why}")
    for line in logs:
        if line not in warnings:
            assert line["event"] == "state file is set aside and written anew from memory"
            assert line["reason"].startswith(ASIDE)
    assert not [line for line in logs if line["log_level"] not in ("warning", "info")]
    if doing in ("remove", "remove with log", "rename", "empty", "replace by link"):
        assert not set_aside(state_file.parent), (
            "nothing was put in its place, and what is left of its log is not taken for a file"
        )
    await is_kept(service, state_file)


async def test_what_was_put_in_its_place_is_kept(service: TrackingService, state_file: Path) -> None:
    replace_by(state_file, b"something else")
    await polled(service, range(8, 9))
    assert state_file.with_name("tracker.db.set-aside-1").read_text() == "something else"


async def test_what_was_moved_away_is_whole(service: TrackingService, state_file: Path) -> None:
    """A backup put in its place."""
    happens("rename", state_file)
    await polled(service, range(8, 9))
    backup = await loaded(state_file.with_name("moved-away"))
    assert backup.members[KEY].totals.finished["completed"] == ended_by(7)


async def test_a_file_that_was_only_touched_stays(service: TrackingService, state_file: Path) -> None:
    """A change of its time alone is looked into, and is nothing to be told."""
    assert service._store is not None
    await pragma(service._store, "wal_checkpoint")
    with capture_logs() as logs:
        for poll in range(8, 12):
            os.utime(state_file)
            os.utime(state_file.with_name("tracker.db-wal"), (poll, poll))
            await polled(service, range(poll, poll + 1))
    assert not logs


async def test_each_time_is_noticed(service: TrackingService, state_file: Path) -> None:
    for poll in range(8, 12):
        happens("remove", state_file)
        await polled(service, range(poll, poll + 1))
    await service.stop()
    assert await ended_in(state_file) == ended_by(11)


async def test_a_folder_that_is_gone_is_told_once_and_the_file_written_when_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    observer = Observer()
    service = await started(folder / "tracker.db", observer)
    await polled(service, range(1, 8))
    shutil.rmtree(folder)
    with capture_logs() as logs:
        for poll in range(8, 12):
            await polled(service, range(poll, poll + 1))
            before = observer.failures
            while observer.failures == before:  # noqa: ASYNC110 - it has no event to wait for, and needs none
                await asyncio.sleep(0.01)
        assert ended(service) == ended_by(11)
        assert [line["log_level"] for line in logs] == ["warning", "error"]
        assert "its folder must exist" in logs[1]["error"]
        folder.mkdir()
        await written(service)
        assert [line["log_level"] for line in logs] == ["warning", "error", "info"]
    await service.stop()
    assert await ended_in(folder / "tracker.db") == ended_by(11)


async def test_a_file_that_another_process_opened_in_its_place_is_left_alone(
    service: TrackingService, state_file: Path
) -> None:
    """Neither while that one has it open nor afterwards: it would find its own counts gone."""
    happens("remove", state_file)
    command = [sys.executable, "-m", "tests.tracking.polls_until_killed", str(state_file), "1", "1000000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220, S603 - our own script
    assert process.stdout is not None
    process.stdout.readline()
    identity = inode(state_file)
    with capture_logs() as logs:
        await polled(service, range(8, 12))
        assert ended(service) == ended_by(11)
        assert [line["log_level"] for line in logs] == ["warning", "error"]
        assert logs[1]["error"] == (
            f"state file {state_file}: another process opened the file that was put in its place, probably another "
            "exporter; give one of the two a state_file of its own and restart this one"
        )
        process.kill()
        process.stdout.close()
        process.wait()
        await asyncio.sleep(0.1)  # for some more attempts
        await polled(service, range(12, 13))
        assert inode(state_file) == identity
        assert len(logs) == 2
        happens("remove", state_file)
        await written(service)
    await service.stop()
    assert await ended_in(state_file) == ended_by(12)


async def test_it_is_locked_again(service: TrackingService, state_file: Path) -> None:
    happens("remove", state_file)
    await polled(service, range(8, 9))
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('SELECT * FROM members')"
    result = subprocess.run(  # noqa: ASYNC221, S603 - our own script
        [sys.executable, "-c", script, str(state_file)], capture_output=True, text=True, check=False
    )
    assert "database is locked" in result.stderr


AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, os.getcwd())
from tests.tracking.files import ended, polled, started
from tests.tracking.lives import KEY

async def main():
    os.setuid(65534)
    path = Path(sys.argv[1])
    service = await started(path)
    await polled(service, range(1, 8))
    path.chmod(0)
    await polled(service, range(8, 12))
    await service.stop()
    service = await started(path)
    print(ended(service), flush=True)
    await service.stop()

asyncio.run(main())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_file_that_may_no_longer_be_read_is_written_anew(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"hpc-exporter-{os.getpid()}"  # noqa: S108 - pytest's own folders are for root only
    folder.mkdir()
    try:
        os.chown(folder, 65534, 65534)
        result = subprocess.run(  # noqa: S603 - our own script
            [sys.executable, "-c", AS_NOBODY, str(folder / "tracker.db")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(folder)
    assert "permission" in result.stdout, result.stderr
    assert result.stdout.splitlines()[-1] == str(ended_by(11))


async def test_a_disk_without_room_stops_nothing(small_disk: Path) -> None:
    path = small_disk / "tracker.db"
    observer = Observer()
    service = await started(path, observer)
    await polled(service, range(1, 3))
    ballast = take_all_room(small_disk)
    with capture_logs() as logs:
        poll = 3
        while not observer.failures:
            await polled(service, range(poll, poll + 1), KEY)
            poll += 1
        for later in range(poll, poll + 5):
            await polled(service, range(later, later + 1))
        assert ended(service) == ended_by(poll + 4)
        ballast.unlink()
        await written(service)
    assert [line["log_level"] for line in logs] == ["error", "info"]
    await service.stop()
    assert await ended_in(path) == ended_by(poll + 4)


def test_a_start_on_a_read_only_disk_says_what_to_do(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)  # noqa: S603, S607 - a test's folder
    with pytest.raises(StateFileError, match="must be writable"):
        asyncio.run(started(small_disk / "tracker.db"))


async def test_a_start_without_room_counts_in_memory(small_disk: Path) -> None:
    path = small_disk / "tracker.db"
    ballast = take_all_room(small_disk)
    with capture_logs() as logs:
        service = await started(path)
        await polled(service, range(1, 8))
        assert ended(service) == ended_by(7)
        assert {line["log_level"] for line in logs} == {"error"}
        ballast.unlink()
        await written(service)
    await service.stop()
    assert await ended_in(path) == ended_by(7)
    assert not set_aside(small_disk)


async def test_a_start_without_room_reads_what_is_there(small_disk: Path) -> None:
    path = small_disk / "tracker.db"
    service = await started(path)
    await polled(service, range(1, 8))
    await service.stop()
    take_all_room(small_disk)
    service = await started(path)
    assert ended(service) == ended_by(7)
    await service.stop()


async def test_an_end_without_room_says_so(state_file: Path) -> None:
    service = await started(state_file)
    await polled(service, range(1, 5))
    await fill(service)
    many = [KEY._replace(user=f"user{number}") for number in range(300)]
    await asyncio.gather(*(polled(service, range(5, 6), key) for key in many))
    with capture_logs() as logs:
        await service.stop()
    assert "may be lost" in logs[-1]["event"]
    assert "full" in logs[-1]["error"]


async def test_with_room_again_everything_is_written(state_file: Path) -> None:
    service = await started(state_file)
    await polled(service, range(1, 5))
    await fill(service)
    many = [KEY._replace(user=f"user{number}") for number in range(300)]
    await asyncio.gather(*(polled(service, range(5, 6), key) for key in many))
    await make_room(service)
    await service.stop()
    assert len((await loaded(state_file)).members) == 301


async def test_a_file_that_does_not_answer_is_rejected(state_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exporter.tracking import store as store_module  # noqa: PLC0415 - the name is taken

    monkeypatch.setattr(store_module, "_OPEN_TIMEOUT", 0.05)
    answers = asyncio.Event()
    loop = asyncio.get_running_loop()

    open_file, stores = Store._open, list[Store]()

    def opened(store: Store) -> TrackerState:
        stores.append(store)
        asyncio.run_coroutine_threadsafe(answers.wait(), loop).result()
        return open_file(store)

    monkeypatch.setattr(Store, "_open", opened)
    with pytest.raises(StateFileError, match="hangs"):
        await Store.open(state_file)
    answers.set()
    # It is not left locked by the attempt: the next one may be answered.
    await eventually(lambda: stores[0]._calls._running == {} and stores[0]._connection is None)
    monkeypatch.setattr(store_module, "_OPEN_TIMEOUT", 60)
    store, _ = await Store.open(state_file)
    await store.close()
