"""The tables of the state file: a batch as rows, and rows as what the tracker remembers.

Each table has keys, as JSON, and values, as msgpack. A value is read back before it is written: so a file that the exporter
wrote can always be read, and a row that cannot is damage.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final

import msgspec

from exporter.tracking.bounds import WaitClass
from exporter.tracking.model import NEVER, PARTS, KnownEnd, MemberKey, MemberState, Pending, Time, TrackedJob
from exporter.tracking.totals import GroupTotals, TrackedMember
from exporter.tracking.tracker import Batch, GroupKey, MemberChange, TrackerState
from exporter.tracking.waits import ClassKey

EntryKey = tuple[str, str, str, str]  # a member's, and the id

# The types of each table's keys and values. A row of `members` has all of a member but its `PARTS`.
TABLES: Final[dict[str, tuple[Any, Any]]] = {
    "members": (MemberKey, TrackedMember),
    "jobs": (EntryKey, TrackedJob),
    "finished": (EntryKey, Time),
    "pending": (EntryKey, Pending),
    "ends": (EntryKey, Annotated[tuple[KnownEnd, ...], msgspec.Meta(min_length=1)]),
    "groups": (GroupKey, GroupTotals),
    "waits": (ClassKey, WaitClass),
    "marks": (tuple[str], Time),
}

# SQLite's errors that are the row's fault, not the file's or the disk's.
_BAD_ROW: Final = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_DECODE: Final = {
    table: (msgspec.json.Decoder(key).decode, msgspec.msgpack.Decoder(value).decode)
    for table, (key, value) in TABLES.items()
}


def is_bad_value(error: Exception) -> bool:
    """Whether a write failed because of what was to be written."""
    return isinstance(error, _BAD_ROW) or not isinstance(error, sqlite3.Error | OSError | MemoryError)


def create_tables(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        connection.execute(f"CREATE TABLE {table} (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")


def tables_of(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Every table, index, view and trigger as it was declared; without SQLite's own, such as statistics."""
    declared = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite^_%' ESCAPE '^'"
    return connection.execute(f"{declared} ORDER BY name").fetchall()


def read_all(connection: sqlite3.Connection) -> TrackerState:
    """Everything in the file. ValueError where a row holds what is never written."""
    members: dict[MemberKey, TrackedMember] = dict(_read(connection, "members"))
    for part in PARTS:
        for (*owner, name), value in _read(connection, part):
            if (member := members.get(MemberKey(*owner))) is None:
                raise ValueError(f"{part}: {name!r} belongs to member {owner!r}, which is not there")
            getattr(member.state, part)[name] = value
    for key, member in members.items():
        if contradiction := _contradiction_in(member.state):
            raise ValueError(f"member {key!r}: {contradiction}")
        member.state.finished = dict(sorted(member.state.finished.items(), key=lambda item: item[1]))
    groups: dict[GroupKey, GroupTotals] = dict(_read(connection, "groups"))
    if homeless := {key[:2] for key in members} - groups.keys():
        raise ValueError(f"members belong to groups that are not there: {sorted(homeless)}")
    marks = {source: until for (source,), until in _read(connection, "marks")}
    return TrackerState(members, groups, dict(_read(connection, "waits")), marks)


def _contradiction_in(state: MemberState) -> str:
    """Return why no tracker wrote this state; empty where one may have."""
    if state.complete > state.last:
        return "a complete listing is later than the last one"
    if any(NEVER < time < 0 for time in (state.last, state.complete)):
        return "a listing lies before 1970"
    if state.last == NEVER and (state.jobs or state.pending):
        return "it has jobs, and was never listed"
    if any(job.missing is not None and job.listed is None for job in state.jobs.values()):
        return "a job is missing, and was never listed"
    return ""


def write_batch(connection: sqlite3.Connection, batch: Batch) -> dict[MemberKey, str]:
    """Write a batch inside an open transaction.

    A member with a value that cannot be written is taken out of the file, and returned with the reason: at the next start it
    begins anew, and nothing of it is counted twice.
    """
    for key in batch.forgotten:
        _forget(connection, key)
    left_out = {}
    for key, change in batch.members.items():
        try:
            with savepoint(connection):
                _write_member(connection, key, change)
        except Exception as error:
            if not is_bad_value(error):
                raise
            _forget(connection, key)
            left_out[key] = f"{type(error).__name__}: {error}"
    for table, rows in batch.others.items():
        _put(connection, table, rows.items())
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
        # A full disk may have ended the transaction already, and the savepoint with it.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        raise
    connection.execute("RELEASE one")


def _write_member(connection: sqlite3.Connection, key: MemberKey, change: MemberChange) -> None:
    if change.rewrite:
        _forget(connection, key)
    _put(connection, "members", [(key, change.member)])
    for part, entries in change.parts.items():
        _put(connection, part, (((*key, name), _encoded(part, value)) for name, value in entries.items()))


def _encoded(part: str, value: Any) -> bytes | None:
    """Return a value as it is written; None stays. Raises an exception for one that could not be read."""
    if value is None:
        return None
    _, decode = _DECODE[part]
    encoded = msgspec.msgpack.encode(value)
    decode(encoded)
    return encoded


def _put(
    connection: sqlite3.Connection, table: str, rows: Iterable[tuple[tuple[str | bool, ...], bytes | None]]
) -> None:
    """Write rows of a table; one without a value is deleted."""
    encoded = [(msgspec.json.encode(key), value) for key, value in rows]
    gone = [(key,) for key, value in encoded if value is None]
    connection.executemany(f"DELETE FROM {table} WHERE key = ?", gone)  # noqa: S608 - one of TABLES, as below
    kept = [row for row in encoded if row[1] is not None]
    connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", kept)  # noqa: S608


def _forget(connection: sqlite3.Connection, member: MemberKey) -> None:
    key = msgspec.json.encode(member)
    connection.execute("DELETE FROM members WHERE key = ?", (key,))
    first = key.removesuffix(b"]") + b","
    for part in PARTS:
        # No UTF-8 has a byte of only ones.
        connection.execute(f"DELETE FROM {part} WHERE key BETWEEN ? AND ?", (first, first + b"\xff"))  # noqa: S608 - one of PARTS


def _read(connection: sqlite3.Connection, table: str) -> Iterator[tuple[Any, Any]]:
    decode_key, decode_value = _DECODE[table]
    for key, value in connection.execute(f"SELECT key, value FROM {table}"):  # noqa: S608 - one of TABLES
        yield decode_key(key), decode_value(value)
