"""Written state is read again; unusable files are set aside or rejected with a message."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, StateFileError, Store, Tracker, TrackerState
from exporter.tracking.store import read
from exporter.tracking.totals import BUCKETS, Histogram
from tests.tracking.files import loaded, pragma, saved
from tests.tracking.lives import INTERVAL, KEY, listing, time_of

OTHER_REGION = MemberKey("xian", KEY.group_id, KEY.user)
OTHER_GROUP = MemberKey(KEY.source, "533686286955839489", KEY.user)


def polled(tracker: Tracker, key: MemberKey, polls: range) -> None:
    for poll in polls:
        tracker.observe(key, listing(poll), time_of(poll), INTERVAL)


async def test_what_was_saved_is_loaded_as_it_was(state_file: Path) -> None:
    tracker = Tracker()
    polled(tracker, KEY, range(1, 30))
    polled(tracker, OTHER_REGION, range(1, 12))
    polled(tracker, OTHER_GROUP, range(1, 2))
    await saved(state_file, tracker)
    state = await loaded(state_file)
    assert state.members == tracker._members
    assert state.groups == tracker._groups


async def test_times_that_are_not_known_survive(state_file: Path) -> None:
    """A clock set back and listings that never completed leave infinite times."""
    tracker = Tracker()
    tracker.observe(KEY, JobListing((Job("1", "", JobState.RUNNING),), rejected=1), 1000.0, INTERVAL)
    tracker.observe(KEY, JobListing((), rejected=1), 500.0, INTERVAL)
    await saved(state_file, tracker)
    assert (await loaded(state_file)).members == tracker._members


@pytest.mark.parametrize("job_id", ["", "中文", "1\x00' OR 1", 'a","b', "🙂"])
async def test_any_job_id_is_kept(state_file: Path, job_id: str) -> None:
    tracker = Tracker()
    key = MemberKey("region", "7", job_id)
    tracker.observe(key, JobListing((Job(job_id, "", JobState.RUNNING, allocated_cpus=2**53),)), 0.0, INTERVAL)
    await saved(state_file, tracker)
    assert (await loaded(state_file)).members == tracker._members


async def test_a_member_forgotten_leaves_nothing_behind(state_file: Path) -> None:
    tracker = Tracker()
    polled(tracker, KEY, range(1, 30))
    polled(tracker, OTHER_GROUP, range(1, 30))
    await saved(state_file, tracker)
    tracker = Tracker(await loaded(state_file))
    tracker.forget_members([OTHER_GROUP], time_of(29) + 8 * 86400)
    await saved(state_file, tracker)
    with sqlite3.connect(state_file) as connection:
        for table in ("members", "groups", "jobs", "finished"):
            keys = [json.loads(key) for (key,) in connection.execute(f"SELECT key FROM {table}")]  # noqa: S608 - constants
            assert {key[1] for key in keys} == {OTHER_GROUP.group_id}
    connection.close()


async def test_the_file_does_not_grow_with_the_number_of_polls(state_file: Path) -> None:
    """Rows come and go; after a month of jobs there are those listed and those of the last 7 days."""
    tracker, (store, _) = Tracker(), await Store.open(state_file)
    sizes = []
    for day in range(1, 61):
        polled(tracker, KEY, range(1440 * day, 1440 * day + 40))
        await store.save(tracker.take_batch())
        sizes.append(await pragma(store, "page_count"))
    await store.close()
    assert max(sizes[30:]) <= max(sizes[:30])
    assert len(tracker._members[KEY].state.finished) <= 7 * 49


def test_an_empty_file_is_a_new_one(state_file: Path) -> None:
    state_file.touch()
    assert asyncio.run(loaded(state_file)) == TrackerState()
    assert not list(state_file.parent.glob("*set-aside*"))


IN_USE = (
    "another process has it open, probably another exporter; stop that one, or give this one a state_file of its own"
)


async def test_a_file_in_use_by_another_exporter_is_rejected(state_file: Path) -> None:
    first, _ = await Store.open(state_file)
    assert await rejection_of(state_file) == f"state file {state_file}: {IN_USE}"
    with pytest.raises(StateFileError) as caught:
        read(state_file)
    assert str(caught.value) == f"state file {state_file}: an exporter has it open; ask that one"
    await first.close()
    await loaded(state_file)


async def rejection_of(path: Path) -> str:
    with pytest.raises(StateFileError) as caught:
        await Store.open(path)
    return str(caught.value)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "tracker.db"
    assert await rejection_of(path) == (
        f"state file {path}: cannot be opened: [Errno 2] No such file or directory: '{path}'; "
        "its folder must exist, and both must be writable for the exporter's user"
    )


async def test_a_folder_with_files_in_its_place_is_rejected(state_file: Path) -> None:
    """A folder given instead of a file in it: other files in there must not be moved."""
    (state_file / "exporter.yml").parent.mkdir()
    (state_file / "exporter.yml").touch()
    there = f"state file {state_file}: {state_file} is a folder with files in it; name a file"
    assert await rejection_of(state_file) == there
    assert (state_file / "exporter.yml").exists()


async def test_the_root_folder_is_rejected() -> None:
    assert await rejection_of(Path("/")) == "state file /: / is a folder with files in it; name a file"


async def test_a_pipe_in_its_place_is_rejected(state_file: Path) -> None:
    for place in (state_file, state_file.with_name("tracker.db-wal")):
        os.mkfifo(place)
        there = f"state file {state_file}: {place} is no regular file; remove it or name another one"
        assert await rejection_of(state_file) == there
        place.unlink()


def test_a_file_that_can_be_neither_used_nor_renamed_is_rejected(state_file: Path) -> None:
    state_file.write_text("gone bad")
    for number in range(1, 11):
        (state_file.with_name(f"tracker.db.set-aside-{number}") / "full").mkdir(parents=True)
    said = asyncio.run(rejection_of(state_file))
    assert said.startswith(
        f"state file {state_file}: cannot be used (it is damaged: file is not a database) and not be "
    )
    assert said.endswith("; remove it or name another one")


def test_a_file_that_nothing_has_open_is_read_and_left_as_it_is(state_file: Path) -> None:
    tracker = Tracker()
    polled(tracker, KEY, range(1, 9))
    asyncio.run(saved(state_file, tracker))
    before = state_file.read_bytes()
    assert read(state_file).members == tracker._members
    assert state_file.read_bytes() == before
    assert list(state_file.parent.iterdir()) == [state_file]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda _path: None, "there is none"),
        (lambda path: path.write_text("gone bad"), "cannot be read: file is not a database"),
        (Path.mkdir, "cannot be read: tracker.db is a folder"),
        (os.mkfifo, "{path} is no regular file; remove it or name another one"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_as_it_is(
    state_file: Path, write: Callable[[Path], object], said: str
) -> None:
    write(state_file)
    before = list(state_file.parent.iterdir())
    with pytest.raises(StateFileError) as caught:
        read(state_file)
    assert str(caught.value) == f"state file {state_file}: {said.format(path=state_file)}"
    assert list(state_file.parent.iterdir()) == before


def test_an_empty_file_is_read_as_a_new_one(state_file: Path) -> None:
    state_file.touch()
    assert read(state_file) == TrackerState()
    assert state_file.read_bytes() == b""


def test_only_its_owner_can_read_it(state_file: Path) -> None:
    asyncio.run(loaded(state_file))
    assert state_file.stat().st_mode & 0o077 == 0


async def test_a_write_that_fails_writes_nothing(state_file: Path) -> None:
    store, _ = await Store.open(state_file)
    tracker = Tracker()
    polled(tracker, KEY, range(1, 5))
    await store.save(tracker.take_batch())
    pages = await pragma(store, "page_count")
    await pragma(store, f"max_page_count = {pages}")
    before = tracker._members[KEY].totals.finished.copy()
    many = JobListing(tuple(Job(str(number), "", JobState.RUNNING) for number in range(10_000, 12_000)))
    tracker.observe(KEY, many, time_of(5), INTERVAL)
    with pytest.raises(StateFileError, match=r"tracker.db: cannot be written: .*full"):
        await store.save(tracker.take_batch())
    await store.close()
    state = await loaded(state_file)
    assert state.members[KEY].totals.finished == before
    assert len(state.members[KEY].state.jobs) == 4


async def test_what_cannot_be_written_does_not_pile_up(state_file: Path) -> None:
    """After a failure a member is written as a whole: what is there at last, not all that came and went."""
    tracker = Tracker()
    polled(tracker, KEY, range(1, 5))
    tracker.give_back(tracker.take_batch())
    for poll in range(5, 500):
        polled(tracker, KEY, range(poll, poll + 1))
        assert not tracker._batch.members
    tracker.give_back(tracker.take_batch())
    await saved(state_file, tracker)
    assert (await loaded(state_file)).members == tracker._members


async def test_a_lost_file_is_written_anew_before_the_first_list_of_a_new_member(state_file: Path) -> None:
    tracker = Tracker()
    tracker.introduce(KEY, time_of(1))
    store, _ = await Store.open(state_file)
    await store.save(tracker.take_batch(everything=True))
    await store.close()
    assert (await loaded(state_file)).members == tracker._members


def test_other_buckets_in_a_later_version_lose_and_invent_nothing() -> None:
    histogram = Histogram((60.0, 300.0, 600.0), [1, 2, 4, 8], 9000.0)
    finer = histogram.rebinned((60.0, 120.0, 300.0, 900.0))
    assert (finer.counts, finer.sum) == ([1, 0, 2, 4, 8], 9000.0)  # what lay below 300 may have lain above 120
    coarser = histogram.rebinned((300.0,))
    assert coarser.counts == [3, 12]
    assert histogram.rebinned(histogram.bounds) == histogram


async def test_buckets_are_stored_with_their_bounds(state_file: Path) -> None:
    tracker = Tracker()
    polled(tracker, KEY, range(1, 9))
    await saved(state_file, tracker)
    state = await loaded(state_file)
    group = state.groups[KEY.source, KEY.group_id]
    assert group.queues[""].runs.bounds == BUCKETS
    group.queues[""].runs = Histogram((180.0,), [3, 0], 540.0)
    assert Tracker(state).group(KEY.source, KEY.group_id).queues[""].runs.counts == [0] * 5 + [3] + [0] * (
        len(BUCKETS) - 5
    )
