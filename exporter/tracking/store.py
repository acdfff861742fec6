"""The tracker's memory on disk: one SQLite file, read and written in one worker thread.

The file is locked while it is open, and released by the system however the process ends. Every `save` is one
transaction of whole polls, on disk when it returns: a process killed at any moment loses at most the polls since, and
finds counters and open spells as they were at one and the same poll.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog

from exporter.errors import ExporterError
from exporter.records import JobState
from exporter.tracking.model import MemberKey, MemberState, Phase, TrackedJob
from exporter.tracking.tracker import Batch, GroupTotals, MemberChange, MemberTotals, TrackedMember, TrackerState

log = structlog.get_logger()

Result = TypeVar("Result")
Stored = str | bytes  # a name or id as it is in the file

APPLICATION_ID: Final = int.from_bytes(b"hpcx")  # marks the file as ours
VERSION: Final = 1
# Room for a large transaction; a longer log is cut when it has been copied into the file.
_LOG_BYTES: Final = 16 * 1024 * 1024
# For a reader that looks into the file just now to get out of the way; another exporter does not.
_LOCK_TIMEOUT: Final = 1.0

_SCHEMA: Final = """
CREATE TABLE member (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    group_id TEXT NOT NULL,
    user TEXT NOT NULL,
    last REAL NOT NULL,
    complete REAL NOT NULL,
    oldest_waiting REAL,
    totals TEXT NOT NULL,
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
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
CREATE TABLE finished (
    member INTEGER NOT NULL,
    id NOT NULL,
    time REAL NOT NULL,
    PRIMARY KEY (member, id)
) WITHOUT ROWID;
"""


class StateFileError(ExporterError):
    """The state file cannot be used or written; the text names it and says what to do."""


class _UnusableError(Exception):
    """The file is there and can be read, but what is in it is not ours, or damaged."""


class Store:
    """The open state file. Calls are made one after the other."""

    def __init__(self, path: Path, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self.path = path
        self._connection = connection
        self._thread = thread
        self._ids: dict[MemberKey, int] = {}

    @classmethod
    async def open(cls, path: Path) -> "Store":
        """Open the file, new if need be. One that is damaged, not ours, or of a later version is set aside.

        StateFileError if another process has it open, or it cannot be opened or created.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="state-file")
        try:
            connection = await asyncio.get_running_loop().run_in_executor(thread, _open, path)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(path, connection, thread)

    async def load(self) -> TrackerState:
        """Everything in the file. If it turns out to be damaged it is set aside, and the answer is empty."""
        return await self._call(self._load)

    async def save(self, batch: Batch) -> None:
        """Write a batch as one transaction. StateFileError if that fails: then nothing of it is written."""
        await self._call(lambda: self._save(batch))

    async def close(self) -> None:
        await self._call(self._connection.close)
        self._thread.shutdown(wait=False)

    async def _call(self, function: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _load(self) -> TrackerState:
        try:
            return self._read()
        except (sqlite3.Error, ValueError, msgspec.MsgspecError) as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error) and isinstance(why := _explained(self.path, error), StateFileError):
                raise why from error
            _set_aside(self.path, f"it is damaged: {error}")
            self._connection = _connect(self.path)
            self._ids = {}
            return TrackerState()

    def _read(self) -> TrackerState:
        """ValueError or a MsgspecError where a row holds what was never written there."""
        run = self._connection.execute
        state, by_id = TrackerState(), dict[int, TrackedMember]()
        for number, source, group_id, user, last, complete, oldest, totals in run("SELECT * FROM member"):
            key = MemberKey(_text(source), _text(group_id), _text(user))
            member = TrackedMember(
                MemberState(last=float(last), complete=float(complete), oldest_waiting=oldest),
                msgspec.json.decode(totals, type=MemberTotals),
            )
            self._ids[key] = number
            state.members[key] = by_id[number] = member
        for source, group_id, totals in run("SELECT * FROM member_group"):
            state.groups[_text(source), _text(group_id)] = msgspec.json.decode(totals, type=GroupTotals)
        for number, job_id, *row in run("SELECT * FROM job"):
            if number in by_id:
                by_id[number].state.jobs[_text(job_id)] = _job(*row)
        for number, job_id, time in run("SELECT * FROM finished ORDER BY time"):
            if number in by_id:
                by_id[number].state.finished[_text(job_id)] = float(time)
        return state

    def _save(self, batch: Batch) -> None:
        # Ids of members that are new in this batch count once the transaction is through.
        ids = dict(self._ids)
        try:
            with _transaction(self._connection) as connection:
                for key in batch.forgotten_members:
                    _forget(connection, ids.pop(key, None))
                connection.executemany(
                    "DELETE FROM member_group WHERE source = ? AND group_id = ?",
                    [tuple(map(_stored, group)) for group in batch.forgotten_groups],
                )
                for key, change in batch.members.items():
                    _write_member(connection, ids, key, change)
                connection.executemany(
                    "INSERT OR REPLACE INTO member_group VALUES (?, ?, ?)",
                    [(*map(_stored, group), totals.decode()) for group, totals in batch.groups.items()],
                )
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise StateFileError(f"state file {self.path}: cannot be written: {error}") from error
        self._ids = ids


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except _UnusableError as error:
        _set_aside(path, str(error))
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = None
    try:
        # Job ids and user names are nobody else's business: SQLite would create it readable for all.
        path.touch(mode=0o600)
        connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT, isolation_level=None)
        _prepare(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, OSError | sqlite3.Error):
            raise _explained(path, error) from error
        raise
    return connection


def _explained(path: Path, error: OSError | sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return _UnusableError(str(error))
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StateFileError(
            f"state file {path}: another process has it open, probably another exporter; "
            "stop that one, or give this one a state_file of its own"
        )
    return StateFileError(
        f"state file {path}: cannot be opened: {error}; "
        "its folder must exist, and both must be writable for the exporter's user"
    )


def _prepare(connection: sqlite3.Connection) -> None:
    """Lock the file, check that it is ours and whole, create what is in it if it is new."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    with _transaction(connection):
        _check(connection)
    # The log is kept beside the file: a poll is one short write at its end, and a crash leaves the file whole.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    # Synced at every transaction, at most one a second: also after a power cut no counter steps back.
    connection.execute("PRAGMA synchronous = FULL")
    if _number(connection, "user_version") == 0:
        with _transaction(connection):
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _check(connection: sqlite3.Connection) -> None:
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and _number(connection, "application_id") != APPLICATION_ID:
        raise _UnusableError("it is a database of another program")
    version = _number(connection, "user_version")
    if version > VERSION:
        raise _UnusableError(f"it was written by a later version of the exporter (format {version}, known {VERSION})")
    if tables and version != VERSION:
        raise _UnusableError(f"its format is {version}, which no exporter wrote")
    fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        raise _UnusableError(f"it is damaged: {fault}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended the transaction already.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _set_aside(path: Path, why: str) -> None:
    """Rename the file, and the log that belongs to it, to the first name that is free."""
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StateFileError(
            f"state file {path}: cannot be used ({why}) and not be renamed: {error}; remove it or name another one"
        ) from error
    log.warning(
        "state file cannot be used and is set aside; counting starts at 0", path=str(path), aside=str(aside), reason=why
    )


def _write_member(
    connection: sqlite3.Connection, ids: dict[MemberKey, int], key: MemberKey, change: MemberChange
) -> None:
    values = (change.last, change.complete, change.oldest_waiting, change.totals.decode())
    number = ids.get(key)
    if number is None:
        cursor = connection.execute(
            "INSERT INTO member VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", (*map(_stored, key), *values)
        )
        number = ids[key] = int(cursor.lastrowid or 0)
    else:
        connection.execute(
            "UPDATE member SET last = ?, complete = ?, oldest_waiting = ?, totals = ? WHERE id = ?", (*values, number)
        )
    if change.rewrite:
        _clear(connection, number)
    write = connection.executemany
    write("DELETE FROM job WHERE member = ? AND id = ?", _gone(number, change.jobs))
    write("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _job_rows(number, change.jobs))
    write("DELETE FROM finished WHERE member = ? AND id = ?", _gone(number, change.finished))
    write(
        "INSERT OR REPLACE INTO finished VALUES (?, ?, ?)",
        ((number, _stored(job_id), time) for job_id, time in change.finished.items() if time is not None),
    )


def _forget(connection: sqlite3.Connection, number: int | None) -> None:
    _clear(connection, number)
    connection.execute("DELETE FROM member WHERE id = ?", (number,))


def _clear(connection: sqlite3.Connection, number: int | None) -> None:
    connection.execute("DELETE FROM job WHERE member = ?", (number,))
    connection.execute("DELETE FROM finished WHERE member = ?", (number,))


def _gone(number: int, rows: dict[str, Any]) -> Iterable[tuple[int, Stored]]:
    return ((number, _stored(job_id)) for job_id, row in rows.items() if row is None)


def _job_rows(number: int, jobs: dict[str, TrackedJob | None]) -> Iterator[tuple[Any, ...]]:
    for job_id, job in jobs.items():
        if job is not None:
            yield number, _stored(job_id), *msgspec.structs.astuple(job)


def _job(state: str, phase: str, *rest: Any) -> TrackedJob:
    return TrackedJob(JobState(state), Phase(phase), *rest)


def _stored(name: str) -> Stored:
    """Text where it is text; JSON and YAML can also carry halves of surrogate pairs, which SQLite refuses."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode(errors="surrogatepass")
    return name


def _text(name: Stored) -> str:
    return name if isinstance(name, str) else bytes(name).decode(errors="surrogatepass")
