"""The tracker's memory on disk: one SQLite file.

The file is locked while it is open, and released by the system however the process ends. Every `save` is one
transaction of whole polls, on disk when it returns: a process killed at any moment loses at most the polls since, and
finds counters and open spells as they were at one and the same poll.
"""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import structlog

from exporter.errors import ExporterError
from exporter.threads import BlockingCalls
from exporter.tracking import rows
from exporter.tracking.model import MemberKey
from exporter.tracking.rows import transaction
from exporter.tracking.tracker import Batch, TrackerState

log = structlog.get_logger()

Result = TypeVar("Result")

APPLICATION_ID: Final = int.from_bytes(b"hpcx")  # marks the file as ours
VERSION: Final = 1
# Room for a large transaction; a longer log is cut when it has been copied into the file.
_LOG_BYTES: Final = 16 * 1024 * 1024
# For a reader that looks into the file just now to get out of the way; another exporter does not.
_LOCK_TIMEOUT: Final = 1.0
_OPEN_TIMEOUT: Final = 30.0
# A transaction that takes long may still succeed, so nothing shorter would tell what is on disk.
_WRITE_TIMEOUT: Final = float("inf")
# Older damaged files are of no use; a disk that damages each must not be filled with them.
_MOST_SET_ASIDE: Final = 10
_COMPANIONS: Final = ("-wal", "-shm", "-journal")

# Results of SQLite that say something about the system, not about what is in the file.
_ENVIRONMENT: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
    }
)


class StateFileError(ExporterError):
    """The state file cannot be used or written; the text names it and says what to do."""


class StateFileLostError(StateFileError):
    """The open state file is gone, replaced or damaged. The next `save` begins a new one and must hold everything."""


def read(path: Path) -> TrackerState:
    """Read a file that no process has open; nothing is created, changed or set aside. Blocks. Raises StateFileError."""
    if not _look_at(path):
        raise StateFileError(f"state file {path}: there is none")
    try:
        _require_regular(path)
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", timeout=_LOCK_TIMEOUT, uri=True)) as file:
            return TrackerState() if _check(file, path) else rows.read_all(file)
    except (OSError, sqlite3.Error) as error:
        if _is_busy(error):
            raise StateFileError(f"state file {path}: an exporter has it open; ask that one") from error
        raise StateFileError(f"state file {path}: cannot be read: {error}") from error
    except (_UnusableError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise StateFileError(f"state file {path}: cannot be read: {error}") from error


class _UnusableError(Exception):
    """The file is there and can be read, but what is in it is not ours, or damaged."""


class _Seen(NamedTuple):
    """The system's facts about an open file, to notice changes by other programs."""

    identity: tuple[int, int]  # device, inode
    size: int
    changed: int  # nanoseconds


class Store:
    """The open state file. Calls are made one after the other, each in a thread that is not joined at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._calls = BlockingCalls()
        self._connection: sqlite3.Connection | None = None
        # The file and the log beside it: as they were opened, and as they were left by the last write.
        self._identities: list[tuple[int, int] | None] = []
        self._seen: list[_Seen | None] = []
        # A file in the place of ours that another process had open: it is left alone from then on.
        self._foreign: tuple[int, int] | None = None

    @classmethod
    async def open(cls, path: Path) -> tuple["Store", TrackerState]:
        """Open the file, new if need be, and read it.

        One that is damaged, not ours, or of a later version is set aside.

        A new file for which the disk has no room is begun by the first `save` that finds some. StateFileError if
        another process has the file open, or it cannot be opened, created or set aside.
        """
        store = cls(path)
        try:
            return store, await store._call(store._open, timeout=_OPEN_TIMEOUT)
        except BaseException:
            store.give_up()
            raise

    async def save(self, batch: Batch) -> dict[MemberKey, str]:
        """Write a batch as one transaction.

        Returns the members that hold a value which cannot be written, with the reason. They are not in the file any
        more; their next change has to hold everything (`MemberChange.rewrite`). StateFileError if nothing of the batch
        could be written, StateFileLostError if in addition the file has to be written anew.
        """
        return await self._call(lambda: self._save(batch), timeout=_WRITE_TIMEOUT)

    async def close(self) -> None:
        await self._call(self._close, timeout=_WRITE_TIMEOUT)

    def give_up(self) -> None:
        """Close the file without waiting for it, once the call under way ends: until then it stays locked."""
        self._calls.finally_run("state file", self._close)

    async def _call(self, function: Callable[[], Result], *, timeout: float) -> Result:  # noqa: ASYNC109 - handed on
        try:
            return await self._calls.run("state file", function, timeout=timeout)
        except TimeoutError:
            raise StateFileError(
                f"state file {self.path}: no answer within {timeout:g} s; its disk or network file system hangs"
            ) from None

    def _open(self) -> TrackerState:
        new = not (there := _look_at(self.path)) or not there.size
        try:
            return self._opened()
        except _UnusableError as error:
            _set_aside(self.path, str(error), "state file cannot be used and is set aside; counting starts at 0")
        except StateFileError as error:
            if not new or not _is_full(error.__cause__):
                raise
        try:
            return self._opened()
        except StateFileError as error:
            if not _is_full(error.__cause__):
                raise
            log.error("no room for the state file; counting in memory until there is", error=str(error))  # noqa: TRY400 - a traceback would say nothing more
            return TrackerState()

    def _opened(self, *, anew: bool = False) -> TrackerState:
        """Open and read the file that is there, or a new one.

        Raises _UnusableError if it is damaged, or `anew` and not new.
        """
        connection = None
        try:
            _require_regular(self.path)
            _create(self.path)
            connection = sqlite3.connect(
                self.path, timeout=_LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            _prepare(connection, self.path, only_new=anew)
            state = rows.read_all(connection)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, OSError | sqlite3.Error):
                raise _explained(self.path, error) from error
            if isinstance(error, ValueError | TypeError | ArithmeticError | RecursionError):
                raise _UnusableError(f"it is damaged: {error}") from error
            raise
        self._connection, self._seen = connection, self._look()
        self._identities = _identities(self._seen)
        return state

    def _save(self, batch: Batch) -> dict[MemberKey, str]:
        if self._connection is None:
            self._begin_anew()
        elif lost := self._lost():
            raise self._abandoned(lost)
        try:
            with transaction(self._open_file()) as connection:
                left_out = rows.write_batch(connection, batch)
        except sqlite3.Error as error:
            if rows.is_bad_value(error):
                raise
            if isinstance(why := _explained(self.path, error), _UnusableError):
                raise self._abandoned(str(why)) from error
            raise StateFileError(f"state file {self.path}: cannot be written: {error}") from error
        finally:
            self._seen = self._look()
        # Looked at again: what was written to a file without a name is not on disk.
        if _identities(self._seen) != self._identities:
            raise self._abandoned("it was removed or replaced")
        return left_out

    def _look(self) -> list[_Seen | None]:
        return [_look_at(self.path), _look_at(_beside(self.path, "-wal"))]

    def _lost(self) -> str:
        """Return why the open file is lost; nothing if it is as it was left."""
        now = self._look()
        if _identities(now) != self._identities:
            return "it was removed or replaced"
        if _is_forbidden(self.path):
            return "the permission to read and write it was taken away"
        if _sizes(now) != _sizes(self._seen):
            return "another program wrote to it"
        if now != self._seen:
            try:
                # Another program wrote to it, or only touched it. Pages that were read before do not tell.
                connection = self._open_file()
                connection.execute("PRAGMA shrink_memory")
                _require_whole(connection)
            except (sqlite3.Error, _UnusableError) as error:
                return f"another program wrote to it: {error}"
        return ""

    def _abandoned(self, why: str) -> StateFileLostError:
        with suppress(sqlite3.Error):
            # A file that was moved away is whole without the log that stays behind.
            self._open_file().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._close()
        main, log_beside = self._look()
        if (
            log_beside
            and log_beside.identity in self._identities
            and (not main or main.identity not in self._identities)
        ):
            # SQLite would take it for that of the file that is there now.
            with suppress(OSError):
                _beside(self.path, "-wal").unlink()
        return StateFileLostError(f"state file {self.path}: {why}")

    def _begin_anew(self) -> None:
        """Create a new file. A file in its place is set aside, unless another process has or had it open."""
        there = _look_at(self.path)
        if there is not None and there.identity == self._foreign:
            raise self._taken()
        try:
            try:
                _require_permission(self.path)
                self._opened(anew=True)
            except _UnusableError as error:
                _set_aside(self.path, str(error), "state file is set aside and written anew from memory")
                self._opened(anew=True)
        except StateFileError as error:
            if there is not None and _is_busy(error.__cause__):
                self._foreign = there.identity
                raise self._taken() from error
            raise
        except _UnusableError as error:
            raise StateFileError(f"state file {self.path}: a new one cannot be used: {error}") from error

    def _taken(self) -> StateFileError:
        return StateFileError(
            f"state file {self.path}: another process opened the file that was put in its place, probably another "
            "exporter; give one of the two a state_file of its own and restart this one"
        )

    def _open_file(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the state file is not open")
        return self._connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # On a full disk the log beside the file cannot be copied into it, and stays.
            with suppress(sqlite3.Error):
                connection.close()


def _look_at(path: Path) -> _Seen | None:
    try:
        there = path.stat()
    except OSError:
        return None
    return _Seen((there.st_dev, there.st_ino), there.st_size, there.st_mtime_ns)


def _identities(seen: list[_Seen | None]) -> list[tuple[int, int] | None]:
    return [there and there.identity for there in seen]


def _sizes(seen: list[_Seen | None]) -> list[int | None]:
    return [there and there.size for there in seen]


def _is_forbidden(path: Path) -> bool:
    """Whether a file of ours could not be opened again, and another one can be put in its place.

    On a file system that became read-only it cannot: there the open file will do when it is writable again.
    """
    with suppress(OSError):
        mine = path.stat().st_uid == os.geteuid()
        return mine and not os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)
    return False


def _require_permission(path: Path) -> None:
    if _is_forbidden(path):
        raise _UnusableError("it may not be read and written")


def _beside(path: Path, suffix: str) -> Path:
    # SQLite puts its files beside the file itself, not beside a link to it.
    return Path(os.path.realpath(path) + suffix)


def _require_regular(path: Path) -> None:
    """Raise an error for anything but files: a pipe would hang, a device would be written to."""
    for place in (path, *(_beside(path, suffix) for suffix in _COMPANIONS)):
        with suppress(FileNotFoundError):
            mode = place.stat().st_mode
            if stat.S_ISREG(mode):
                continue
            if not stat.S_ISDIR(mode):
                raise StateFileError(f"state file {path}: {place} is no regular file; remove it or name another one")
            # Docker makes an empty folder of a file that is to be mounted and is not there.
            if any(place.iterdir()):
                raise StateFileError(f"state file {path}: {place} is a folder with files in it; name a file")
            raise _UnusableError(f"{place.name} is a folder")


def _create(path: Path) -> None:
    """Create the file for its owner alone, since job ids and user names are private: SQLite's is readable for all."""
    # Not opened where it is there: to close it would release a lock that this process has on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _explained(path: Path, error: OSError | sqlite3.Error) -> Exception:
    code = _code(error)
    if _is_busy(error):
        return StateFileError(
            f"state file {path}: another process has it open, probably another exporter; "
            "stop that one, or give this one a state_file of its own"
        )
    # A header can say that the file must not be written.
    forbids = code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    if isinstance(error, OSError) or (code & 0xFF in _ENVIRONMENT and not forbids):
        return StateFileError(
            f"state file {path}: cannot be opened: {error}; "
            "its folder must exist, and both must be writable for the exporter's user"
        )
    return _UnusableError(f"it is damaged: {error}")


def _code(error: BaseException | None) -> int:
    return int(getattr(error, "sqlite_errorcode", 0))


def _is_full(error: BaseException | None) -> bool:
    return _code(error) & 0xFF == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)


def _is_busy(error: BaseException | None) -> bool:
    return _code(error) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _prepare(connection: sqlite3.Connection, path: Path, *, only_new: bool) -> None:
    """Lock the file, check that it is ours and whole, create what is in it if it is new."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    with transaction(connection):
        new = _check(connection, path)
        if only_new and not new:
            raise _UnusableError("it is not the file that was open")
    # The log is kept beside the file: a poll is one short write at its end, and a crash leaves the file whole.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    # Synced at every transaction, at most one a second: also after a power cut no counter steps back.
    connection.execute("PRAGMA synchronous = FULL")
    if new:
        with transaction(connection):
            rows.create_tables(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")


def _check(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is new. Raises _UnusableError where it is neither new nor whole and ours."""
    tables = rows.tables_of(connection)
    application, version = _number(connection, "application_id"), _number(connection, "user_version")
    if not tables and application == version == 0:
        return True
    if application != APPLICATION_ID:
        raise _UnusableError("it is a database of another program")
    if version > VERSION:
        raise _UnusableError(f"it was written by a later version of the exporter (format {version}, known {VERSION})")
    if version != VERSION:
        raise _UnusableError(f"its format is {version}, which no exporter wrote")
    if tables != _tables():
        raise _UnusableError("it is damaged: its tables are not those of its format")
    if _ends_within_a_page(connection, path):
        raise _UnusableError("it is damaged: its end is missing")
    _require_whole(connection)
    return False


def _ends_within_a_page(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether a part of the last page is missing, which SQLite takes for zeros. It may still be in a log beside the file."""
    size, log_size = _sizes([_look_at(path), _look_at(_beside(path, "-wal"))])
    return not log_size and (size or 0) % _number(connection, "page_size") != 0


@cache
def _tables() -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        rows.create_tables(connection)
        return rows.tables_of(connection)


def _require_whole(connection: sqlite3.Connection) -> None:
    fault = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if fault != "ok":
        raise _UnusableError(f"it is damaged: {fault}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def _set_aside(path: Path, why: str, event: str) -> None:
    """Rename the file, and what belongs to it, to the first name that is free."""
    real = Path(os.path.realpath(path))
    names = [real.with_name(f"{real.name}.set-aside-{number + 1}") for number in range(_MOST_SET_ASIDE)]
    aside = next((name for name in names if not name.exists()), names[-1])
    try:
        for suffix in ("", *_COMPANIONS):
            with suppress(FileNotFoundError):
                _beside(real, suffix).replace(_beside(aside, suffix))
    except OSError as error:
        raise StateFileError(
            f"state file {path}: cannot be used ({why}) and not be renamed: {error}; remove it or name another one"
        ) from error
    log.warning(event, path=str(path), aside=str(aside), reason=why)
