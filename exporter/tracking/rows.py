"""The tables of the state file: its schema, a batch as rows, and rows as what the tracker remembers.

Every value is held to the same rules when it is written and when it is read. So a file that the exporter wrote can
always be read, and a row that breaks a rule is damage.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec

from exporter.records import JobState
from exporter.tracking.bounds import WaitClass
from exporter.tracking.model import (
    NEVER,
    Gap,
    KnownEnd,
    MemberKey,
    MemberState,
    Pending,
    Phase,
    TrackedJob,
    as_json,
)
from exporter.tracking.tracker import Batch, GroupTotals, MemberChange, MemberTotals, TrackedMember, TrackerState
from exporter.tracking.waits import ClassKey

Stored = str | bytes  # a name or id as it is in the file

SCHEMA: Final = """
CREATE TABLE member (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    group_id TEXT NOT NULL,
    user TEXT NOT NULL,
    last REAL NOT NULL,
    complete REAL NOT NULL,
    oldest_waiting REAL,
    totals TEXT NOT NULL,
    gaps TEXT NOT NULL,
    UNIQUE (source, group_id, user)
);
CREATE TABLE member_group (
    source TEXT NOT NULL,
    group_id TEXT NOT NULL,
    totals TEXT NOT NULL,
    PRIMARY KEY (source, group_id)
) WITHOUT ROWID;
CREATE TABLE job (
    member INTEGER NOT NULL,
    id NOT NULL,
    state TEXT NOT NULL,
    phase TEXT NOT NULL,
    since REAL,
    seen REAL NOT NULL,
    known REAL,
    listed REAL,
    missing REAL,
    cpus INTEGER,
    gpus INTEGER,
    dcus INTEGER,
    queue NOT NULL,
    submitted REAL,
    reported INTEGER NOT NULL,
    scheduler NOT NULL,
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
CREATE TABLE wait_class (
    source NOT NULL,
    group_id NOT NULL,
    queue NOT NULL,
    accelerated INTEGER NOT NULL,
    waits TEXT NOT NULL,
    PRIMARY KEY (source, group_id, queue, accelerated)
) WITHOUT ROWID;
CREATE TABLE finished (
    member INTEGER NOT NULL,
    id NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
CREATE TABLE pending (
    member INTEGER NOT NULL,
    id NOT NULL,
    change TEXT NOT NULL,
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
CREATE TABLE known_end (
    member INTEGER NOT NULL,
    id NOT NULL,
    ends TEXT NOT NULL,
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
CREATE TABLE history (
    source TEXT NOT NULL PRIMARY KEY,
    until REAL NOT NULL
) WITHOUT ROWID;
"""

# SQLite's errors that are the row's fault, not the file's or the disk's.
_BAD_ROW: Final = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)


def is_bad_value(error: Exception) -> bool:
    """Whether a write failed because of what was to be written."""
    return isinstance(error, _BAD_ROW) or not isinstance(error, sqlite3.Error | OSError | MemoryError)


def create_tables(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        connection.execute(statement)


def tables_of(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Every table, index, view and trigger as it was declared; without SQLite's own, such as statistics."""
    declared = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^'"
    return connection.execute(f"{declared} ORDER BY name").fetchall()


def read_all(connection: sqlite3.Connection) -> tuple[TrackerState, dict[MemberKey, int]]:
    """Everything in the file, and the members' row ids. ValueError where a row holds what is never written."""
    run = connection.execute
    state, ids, by_id = TrackerState(), dict[MemberKey, int](), dict[int, TrackedMember]()
    for number, source, group_id, user, last, complete, oldest, totals, gaps in run("SELECT * FROM member"):
        key = MemberKey(_text(source), _text(group_id), _text(user))
        member = TrackedMember(
            MemberState(
                last=_time(last),
                complete=_time(complete),
                oldest_waiting=_time_or_none(oldest),
                gaps=msgspec.json.decode(gaps, type=list[Gap]),
            ),
            msgspec.json.decode(totals, type=MemberTotals),
        )
        ids[key] = number
        state.members[key] = by_id[number] = member
    for source, group_id, totals in run("SELECT * FROM member_group"):
        state.groups[_text(source), _text(group_id)] = msgspec.json.decode(totals, type=GroupTotals)
    for source, group_id, queue, accelerated, waits in run("SELECT * FROM wait_class"):
        name = ClassKey(_text(source), _text(group_id), _text(queue), _flag("accelerated", accelerated))
        state.waits[name] = msgspec.json.decode(waits, type=WaitClass)
    for number, job_id, *row in run("SELECT * FROM job"):
        _owner(by_id, number).state.jobs[_text(job_id)] = _job(*row)
    for number, job_id, time in run("SELECT * FROM finished ORDER BY time"):
        _owner(by_id, number).state.finished[_text(job_id)] = _time(time)
    for number, name, change in run("SELECT * FROM pending"):
        _owner(by_id, number).state.pending[_text(name)] = msgspec.json.decode(change, type=Pending)
    for number, name, ends in run("SELECT * FROM known_end"):
        _owner(by_id, number).state.ends[_text(name)] = msgspec.json.decode(ends, type=tuple[KnownEnd, ...])
    for source, until in run("SELECT * FROM history"):
        state.marks[_text(source)] = _time(until)
    return state, ids


def write_batch(
    connection: sqlite3.Connection, ids: dict[MemberKey, int], batch: Batch, *, isolate: bool
) -> dict[MemberKey, str]:
    """Write a batch inside an open transaction, and bring `ids` up to date.

    With `isolate`, a member with a value that cannot be written is taken out of the file, and returned with the reason:
    at the next start it begins anew, and nothing of it is counted twice. Without, the error is raised (see
    `is_bad_value`).
    """
    for key in batch.forgotten_members:
        _forget(connection, ids.pop(key, None))
    connection.executemany(
        "DELETE FROM member_group WHERE source = ? AND group_id = ?",
        [tuple(map(_stored, group)) for group in batch.forgotten_groups],
    )
    connection.executemany(
        "DELETE FROM wait_class WHERE source = ? AND group_id = ? AND queue = ? AND accelerated = ?",
        [_stored_class(name) for name in batch.forgotten_waits],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO wait_class VALUES (?, ?, ?, ?, ?)",
        [(*_stored_class(name), waits.decode()) for name, waits in batch.waits.items()],
    )
    left_out = {}
    for key, change in batch.members.items():
        if not isolate:
            _write_member(connection, ids, key, change)
            continue
        try:
            with savepoint(connection):
                _write_member(connection, ids, key, change)
        except Exception as error:
            if not is_bad_value(error):
                raise
            _forget(connection, ids.pop(key, None))
            left_out[key] = f"{type(error).__name__}: {error}"
    connection.executemany(
        "INSERT OR REPLACE INTO member_group VALUES (?, ?, ?)",
        [(*map(_stored, group), totals.decode()) for group, totals in batch.groups.items()],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO history VALUES (?, ?)",
        [(_stored(source), _time(until)) for source, until in batch.marks.items()],
    )
    return left_out


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended the transaction already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextmanager
def savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT one")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO one")
        raise
    finally:
        connection.execute("RELEASE one")


def _write_member(
    connection: sqlite3.Connection, ids: dict[MemberKey, int], key: MemberKey, change: MemberChange
) -> None:
    values = (
        _time(change.last),
        _time(change.complete),
        _time_or_none(change.oldest_waiting),
        change.totals.decode(),
        as_json(change.gaps).decode(),
    )
    number = ids.get(key)
    if number is None:
        cursor = connection.execute(
            "INSERT INTO member VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)", (*map(_stored, key), *values)
        )
        number = int(cursor.lastrowid or 0)
    else:
        connection.execute(
            "UPDATE member SET last = ?, complete = ?, oldest_waiting = ?, totals = ?, gaps = ? WHERE id = ?",
            (*values, number),
        )
    if change.rewrite:
        _clear(connection, number)
    write = connection.executemany
    write("DELETE FROM job WHERE member = ? AND id = ?", _gone(number, change.jobs))
    write(
        "INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        _job_rows(number, change.jobs),
    )
    write("DELETE FROM finished WHERE member = ? AND id = ?", _gone(number, change.finished))
    write(
        "INSERT OR REPLACE INTO finished VALUES (?, ?, ?)",
        ((number, _stored(job_id), _time(time)) for job_id, time in change.finished.items() if time is not None),
    )
    write("DELETE FROM pending WHERE member = ? AND id = ?", _gone(number, change.pending))
    write("INSERT OR REPLACE INTO pending VALUES (?, ?, ?)", _json_rows(number, change.pending))
    write("DELETE FROM known_end WHERE member = ? AND id = ?", _gone(number, change.ends))
    write("INSERT OR REPLACE INTO known_end VALUES (?, ?, ?)", _json_rows(number, change.ends))
    ids[key] = number


def _json_rows(number: int, values: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name, value in values.items():
        if value is not None:
            yield number, _stored(name), as_json(value).decode()


def _forget(connection: sqlite3.Connection, number: int | None) -> None:
    _clear(connection, number)
    connection.execute("DELETE FROM member WHERE id = ?", (number,))


def _clear(connection: sqlite3.Connection, number: int | None) -> None:
    connection.execute("DELETE FROM job WHERE member = ?", (number,))
    for table in ("finished", "pending", "known_end"):
        connection.execute(f"DELETE FROM {table} WHERE member = ?", (number,))  # noqa: S608 - one of these names


def _gone(number: int, rows: dict[str, Any]) -> Iterable[tuple[int, Stored]]:
    return ((number, _stored(job_id)) for job_id, row in rows.items() if row is None)


def _job_rows(number: int, jobs: dict[str, TrackedJob | None]) -> Iterator[tuple[Any, ...]]:
    for job_id, job in jobs.items():
        if job is not None:
            *row, queue, submitted, reported, scheduler = msgspec.structs.astuple(job)
            stored = (*row, _stored(queue), submitted, reported, _stored(scheduler))
            _job(*stored)  # the same rules as for reading
            yield number, _stored(job_id), *stored


def _job(state: Any, phase: Any, since: Any, seen: Any, *rest: Any) -> TrackedJob:
    known, listed, missing, cpus, gpus, dcus, queue, submitted, reported, scheduler = rest
    return TrackedJob(
        JobState(state),
        Phase(phase),
        _time_or_none(since),
        _time(seen),
        _time_or_none(known),
        _time_or_none(listed),
        _time_or_none(missing),
        _amount(cpus),
        _amount(gpus),
        _amount(dcus),
        _text(queue),
        _time_or_none(submitted),
        _flag("reported", reported),
        _text(scheduler),
    )


def _flag(name: str, value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError(f"{value!r} does not say whether something is {name}")
    return bool(value)


def _owner(members: dict[int, TrackedMember], number: Any) -> TrackedMember:
    try:
        return members[number]
    except KeyError:
        raise ValueError(f"a job belongs to member {number!r}, which is not there") from None


def _time(value: Any) -> float:
    """Seconds, or NEVER."""
    if isinstance(value, float | int) and (value == NEVER or 0 <= value < float("inf")):
        return float(value)
    raise ValueError(f"{value!r} is no time")


def _time_or_none(value: Any) -> float | None:
    return None if value is None else _time(value)


def _amount(value: Any) -> int | None:
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    raise ValueError(f"{value!r} is no number of cores or devices")


def _stored_class(name: ClassKey) -> tuple[Stored, Stored, Stored, bool]:
    return _stored(name.source), _stored(name.group_id), _stored(name.queue), name.accelerated


def _stored(name: str) -> Stored:
    """Text where it is text; JSON and YAML can also carry halves of surrogate pairs, which SQLite rejects."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode(errors="surrogatepass")
    return name


def _text(name: Any) -> str:
    if isinstance(name, str):
        return name
    if isinstance(name, bytes):
        return name.decode(errors="surrogatepass")
    raise ValueError(f"{name!r} is no name")
