"""A file that cannot be used is set aside, whatever is wrong with it, and counting starts at 0."""

import asyncio
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from math import inf, nan
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from exporter.records import Job, JobListing, JobState
from exporter.tracking import MemberKey, Phase, TrackedJob, Tracker, TrackerState
from exporter.tracking.store import _MOST_SET_ASIDE, Store
from tests.tracking.files import loaded, saved
from tests.tracking.lives import INTERVAL, KEY, listing, time_of


def some_polls() -> Tracker:
    tracker = Tracker()
    for poll in range(1, 12):
        tracker.observe(KEY, listing(poll), time_of(poll), INTERVAL)
    return tracker


def sql(*statements: str) -> Callable[[Path], None]:
    """Return a database of another program, after some SQL."""

    def write(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return write


def changed(*statements: str) -> Callable[[Path], None]:
    """Return a file of ours after some SQL."""

    def write(path: Path) -> None:
        asyncio.run(saved(path, some_polls()))
        sql("PRAGMA writable_schema = ON", *statements)(path)

    return write


def write_damaged_pages(path: Path) -> None:
    tracker = some_polls()
    many = tuple(Job(str(number), "", JobState.RUNNING) for number in range(5000))
    tracker.observe(KEY, JobListing(many), time_of(12), INTERVAL)
    asyncio.run(saved(path, tracker))
    content = bytearray(path.read_bytes())
    content[20000:40000] = bytes(20000)
    path.write_bytes(content)


def write_truncated(path: Path) -> None:
    write_damaged_pages(path)
    path.write_bytes(path.read_bytes()[:30000])


def write_without_its_last_bytes(path: Path) -> None:
    asyncio.run(saved(path, some_polls()))
    path.write_bytes(path.read_bytes()[:-12])


def write_with_log_of_another(path: Path) -> None:
    """Put the log of another program's database beside the file."""
    other = path.with_name("other.db")
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE places (url TEXT)")
        connection.commit()
        log = other.with_name("other.db-wal").read_bytes()
    asyncio.run(saved(path, some_polls()))
    path.with_name(path.name + "-wal").write_bytes(log)


def write_with_a_folder_for_its_log(path: Path) -> None:
    asyncio.run(saved(path, some_polls()))
    path.with_name(path.name + "-wal").mkdir()


def row(table: str, key: Sequence[object], value: object) -> str:
    """Return the SQL that writes a row."""
    key_bytes, value_bytes = msgspec.json.encode(key), msgspec.msgpack.encode(value)
    return f"INSERT OR REPLACE INTO {table} VALUES (x'{key_bytes.hex()}', x'{value_bytes.hex()}')"  # noqa: S608 - of a test


def job(**values: object) -> str:
    good = msgspec.structs.asdict(TrackedJob(JobState.RUNNING, Phase.RUN, 0, 0))
    return row("jobs", (*KEY, "new"), list({**good, **values}.values()))


def pending(**values: object) -> str:
    """Return the SQL that writes a start that waits for its row."""
    times = dict.fromkeys(("low", "high", "listed", "noted"), 5)
    good = {"what": "start", "job_id": "5", "job": ["running", "run", 0, 0], "edge": 0, **times}
    return row("pending", (*KEY, "start 5.000 5"), good | values)


def member(**totals: object) -> str:
    return row("members", KEY, {"state": {"last": 5}, "totals": totals})


def state(**values: object) -> str:
    return row("members", KEY, {"state": {"last": 5, **values}})


def group(**totals: object) -> str:
    return row("groups", KEY[:2], totals)


def histogram(**waits: object) -> str:
    return group(queues={"comp": {"waits": waits}})


def waits(**values: object) -> str:
    return row("waits", ("kunshan", "", "comp", False), values)


FOREIGN = "it is a database of another program"
OTHER_TABLES = "it is damaged: its tables are not those of its format"
STRANGER = ("running", "run", 0, 0)
DAMAGED_ROWS = [
    *(job(state="dancing"), job(phase="asleep"), job(since="noon"), job(seen=inf), job(seen=nan), job(queue=7)),
    *(job(cpus=-1), job(cpus=0.5), job(cpus=2**64 - 1), job(cpus="many"), job(reported=2), job(more=1)),
    *(
        job(since=-0.5),
        job(submitted=-0.5),
        job(listed=-0.5),
        job(listed=-inf),
        job(listed=5, missing=-inf),
        job(missing=5),
    ),
    row("jobs", (*KEY[:2], "stranger", "new"), list(range(14))),
    row("jobs", KEY, ["running", "run", 0, 0]),
    row("jobs", (*KEY, 5.5), ["running", "run", 0, 0]),
    "INSERT INTO jobs VALUES (x'ff', x'00')",
    "INSERT INTO jobs VALUES (5, x'00')",
    "UPDATE jobs SET value = x''",
    "UPDATE jobs SET value = 'text'",
    "UPDATE jobs SET value = 5",
    row("finished", (*KEY, "x"), "yesterday"),
    row("pending", (*KEY, "x"), {"what": "end"}),
    *(pending(low=-1), pending(listed=-inf), pending(edge=-0.5), pending(spell={"job_id": "5", "start": 2, "end": 1})),
    *(state(gaps=[{"start": 1, "end": 5, "accounted": odd}]) for odd in (5, -1, -inf)),
    *(state(complete=6), state(complete=-0.5), state(last=-0.5)),
    row("members", KEY, {"state": {}}),  # with jobs, but never listed
    row("ends", (*KEY, "x"), [{"low": -inf, "high": 1}]),
    row("ends", (*KEY, "x"), [{"low": "long ago", "high": 1}]),
    row("ends", (*KEY, "x"), []),
    *(state(oldest_waiting=odd) for odd in (-0.5, -inf)),
    *(row("members", KEY, {"state": {name: "never"}}) for name in ("last", "complete", "oldest_waiting", "gaps")),
    row("members", KEY, {"totals": []}),
    *(member(transhtions={}), member(transitions={("queued", "flying"): 1}), member(finished={"completed": -1})),
    member(finished={"completed": 2**64 - 1}),
    *(member(finished={"exploded": 1}), member(cpu_seconds=-0.5), member(cpu_seconds=inf)),
    member(unaccounted_seconds=nan),
    *(histogram(counts=[1]), histogram(bounds=[1], counts=[1, -1]), histogram(bounds=[2, 1], counts=[1, 1, 1])),
    *(group(censored={("wait", "boredom"): 1}), group(observed={("wait", "guesses"): 1})),
    row("waits", ("kunshan", "", "comp", 2), {}),
    *(row("waits", ("kunshan", "", "comp", False), "waits"), waits(heads=[99999999]), waits(heads=[1.5])),
    *(waits(heads=[("key", 1, [-1, None, None])]), waits(heads=[("a key that is too long", 1, [])])),
    *(waits(heads=[1] * 257), waits(scores=[(0, 0, "")]), waits(scores=[(0, 0, "yes"), (0, 0, ""), (0, 0, "")])),
    row("marks", ("kunshan",), "noon"),
]


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            lambda path: path.write_text("not a database, but somebody's notes\n" * 100),
            "it is damaged: file is not a database",
        ),
        (lambda path: path.write_text("gone"), "it is damaged: file is not a database"),
        (lambda path: path.write_bytes(bytes(8192)), "it is damaged: file is not a database"),
        # Docker's folder in place of a mounted file that does not exist.
        (Path.mkdir, "tracker.db is a folder"),
        (write_with_a_folder_for_its_log, "tracker.db-wal is a folder"),
        (sql("CREATE TABLE places (url TEXT)"), FOREIGN),
        (sql("CREATE TABLE members (key BLOB)"), FOREIGN),
        (write_with_log_of_another, ""),
        (sql(f"PRAGMA application_id = {int.from_bytes(b'hpcx')}", "PRAGMA user_version = 1"), OTHER_TABLES),
        (sql("PRAGMA user_version = 1"), FOREIGN),
        (write_damaged_pages, "it is damaged: "),
        (write_truncated, "it is damaged: "),
        (write_without_its_last_bytes, "it is damaged: its end is missing"),
        (changed("PRAGMA user_version = 99"), "it was written by a later version of the exporter (format 99, known 1)"),
        (changed("PRAGMA user_version = -1"), "its format is -1, which no exporter wrote"),
        (changed("PRAGMA user_version = 0"), "its format is 0, which no exporter wrote"),
        (changed("PRAGMA application_id = 1"), FOREIGN),
        (changed("DROP TABLE finished"), OTHER_TABLES),
        (changed("CREATE TABLE places (url TEXT)"), OTHER_TABLES),
        (changed("CREATE TRIGGER t AFTER DELETE ON jobs BEGIN DELETE FROM members; END"), OTHER_TABLES),
        (changed("ALTER TABLE jobs RENAME COLUMN value TO content"), OTHER_TABLES),
        (changed("DROP TABLE jobs", "CREATE TABLE jobs (key, value)"), OTHER_TABLES),
        (changed("UPDATE sqlite_schema SET sql = replace(sql, 'BLOB', 'BLOG')"), OTHER_TABLES),
        (changed("UPDATE sqlite_schema SET sql = 'CREATE TABL'"), "it is damaged: malformed database schema"),
        (changed("UPDATE sqlite_schema SET rootpage = 2"), "it is damaged: "),
        *((changed(statement), "it is damaged: ") for statement in DAMAGED_ROWS),
        (
            changed(row("jobs", (*KEY[:2], "stranger", "new"), list(STRANGER))),
            "it is damaged: jobs: 'new' belongs to member ",
        ),
        (changed("DELETE FROM groups"), "it is damaged: members belong to groups that are not there: [('kunshan', "),
        (changed(histogram(bounds=[1], counts=[1])), "it is damaged: the bounds of a histogram do not fit its counts"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_used_is_set_aside_and_counting_starts(
    state_file: Path, write: Callable[[Path], None], reason: str
) -> None:
    write(state_file)
    content = state_file.read_bytes() if state_file.is_file() else b""
    with capture_logs() as logs:
        assert asyncio.run(loaded(state_file)) == TrackerState()
    aside = state_file.with_name("tracker.db.set-aside-1")
    if content:
        # But for SQLite's own header and a log beside it, nothing of it was touched.
        assert aside.read_bytes()[100:] == content[100:] or write is write_with_log_of_another
    assert [line["log_level"] for line in logs] == ["warning"]
    assert logs[0]["event"] == "state file cannot be used and is set aside; counting starts at 0"
    assert logs[0]["reason"].startswith(reason)
    assert logs[0]["aside"] == str(aside)
    # The new file works, and a second mishap takes another name.
    tracker = some_polls()
    asyncio.run(saved(state_file, tracker))
    assert asyncio.run(loaded(state_file)).members == tracker._members
    state_file.write_text("gone bad again")
    asyncio.run(loaded(state_file))
    assert state_file.with_name("tracker.db.set-aside-2").exists()
    assert aside.exists()


def test_statistics_made_by_an_administrator_are_no_damage(state_file: Path) -> None:
    changed("ANALYZE", "VACUUM")(state_file)
    assert KEY in asyncio.run(loaded(state_file)).members
    assert not list(state_file.parent.glob("*set-aside*"))


def test_a_disk_that_damages_every_file_is_not_filled_with_them(state_file: Path) -> None:
    for number in range(_MOST_SET_ASIDE + 3):
        state_file.write_text(f"gone bad {number}")
        assert asyncio.run(loaded(state_file)) == TrackerState()
    assert len(list(state_file.parent.glob("*set-aside-*"))) == _MOST_SET_ASIDE
    assert state_file.with_name("tracker.db.set-aside-1").read_text() == "gone bad 0"


def test_any_flipped_bit_is_survived(tmp_path: Path) -> None:
    """A start with a flipped bit anywhere either works or sets the file aside; others in every run."""
    good = tmp_path / "good.db"
    asyncio.run(saved(good, some_polls()))
    content = good.read_bytes()
    rng = random.Random()  # noqa: S311 - any bit will do
    header = range(100 * 8)
    schema = rng.sample(range(100 * 8, 4096 * 8), 100)
    rest = rng.sample(range(4096 * 8, len(content) * 8), 100)
    for bit in (*header[::8], *schema, *rest):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path = tmp_path / f"{bit}.db"
        path.write_bytes(flipped)
        try:
            survive(path)
        except BaseException as error:
            raise AssertionError(f"bit {bit}") from error


def survive(path: Path) -> None:
    store = Store(path)
    with capture_logs() as logs:
        state = store._open()
    assert bool(logs) == (not state.members), "either works, or is told"
    assert bool(logs) == path.with_name(f"{path.name}.set-aside-1").exists()
    # It can be counted with.
    tracker = Tracker(state)
    for key in [*state.members, MemberKey("kunshan", "1", "another")]:
        tracker.observe(key, listing(20), time_of(20), INTERVAL)
    assert store._save(tracker.take_batch()) == {}
    store._close()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
