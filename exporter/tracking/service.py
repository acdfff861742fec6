"""The tracker with its file: observes listings, writes them in the background, shows counters once they are written."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from exporter.clock import Clock, SystemClock
from exporter.records import EndedJob, JobListing
from exporter.supervise import TaskObserver, supervise
from exporter.threads import off_loop
from exporter.tracking.model import MemberKey
from exporter.tracking.store import StateFileError, StateFileLostError, Store
from exporter.tracking.totals import GroupTotals, MemberTotals, TrackedMember
from exporter.tracking.tracker import Batch, GroupKey, Step, Tracker
from exporter.tracking.waits import WaitView

log = structlog.get_logger()

# A listing of more jobs than this is worked through in a thread; below it takes the event loop a few milliseconds.
_LARGE: Final = 2000
_RETRY_PAUSE: Final = 10.0  # after a write that failed
# Seconds after which a write counts as hanging; then counters are shown although they are not on disk.
_HANG_TIMEOUT: Final = 5.0
_STOP_TIMEOUT: Final = 5.0
_FORGET_INTERVAL: Final = 3600.0


class TrackingObserver(TaskObserver, Protocol):
    """Receives what happens to the writer and its file."""

    def state_file_write_failed(self) -> None: ...


class _Unobserved:
    def task_started(self, task: str) -> None: ...
    def task_restarted(self, task: str) -> None: ...
    def state_file_write_failed(self) -> None: ...


def steady_unix_time(clock: Clock) -> Callable[[], float]:
    """Return Unix time that goes on evenly from now on, whatever happens to the machine's clock meanwhile."""
    base = clock.now() - clock.monotonic()
    return lambda: base + clock.monotonic()


class _Staged:
    """Counters that are shown when their polls are on disk; `shown` is set then."""

    def __init__(self) -> None:
        self.members: dict[MemberKey, MemberTotals] = {}
        self.groups: dict[GroupKey, GroupTotals] = {}
        self.waits: dict[str, tuple[WaitView, ...]] = {}
        self.shown = asyncio.Event()


class TrackingService:
    """Counts what happens to jobs, and remembers it in `state_file`; without one, until the process ends.

    Counters of `member` and `group` are on disk already: one that was scraped does not step back when the process is
    killed. While the file cannot be written they go on all the same, and the observer counts each failure. The
    counts of `tracker` are those in memory, written or not.
    """

    def __init__(
        self,
        state_file: Path | None = None,
        *,
        clock: Clock | None = None,
        flush_interval: float = 1.0,
        observer: TrackingObserver | None = None,
    ) -> None:
        """`flush_interval` is the time between two writes in seconds: polls that come meanwhile share the next one."""
        self._observer: TrackingObserver = observer or _Unobserved()
        self._state_file = state_file
        self._flush_interval = flush_interval
        self._clock = clock or SystemClock()
        self.time = steady_unix_time(self._clock)
        self.tracker = Tracker(persistent=state_file is not None)
        self._store: Store | None = None
        # Errors logged since the last successful write: each is logged once.
        self._told: set[str] = set()
        self._left_out: set[MemberKey] = set()
        self._members: dict[MemberKey, MemberTotals] = {}
        self._groups: dict[GroupKey, GroupTotals] = {}
        self._waits: dict[str, tuple[WaitView, ...]] = {}
        self._staged = _Staged()
        self._news = asyncio.Event()
        self._working = asyncio.Lock()
        self._flushing = asyncio.Lock()
        self._keep: frozenset[MemberKey] | None = None
        # Of sources whose history is read: for how many seconds a start or an end waits for its row.
        self.graces: Mapping[str, float] = {}
        # Sources that turned out to have no history: nothing waits for its rows.
        self._without_history: set[str] = set()
        self._forgotten_at = self._clock.monotonic()
        self._tasks: set[asyncio.Task[int]] = set()
        self._writer: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open and read the state file. StateFileError if another process uses it or it cannot be opened."""
        if self._state_file is None:
            return
        self._store, state = await Store.open(self._state_file)
        self.tracker = Tracker(state)
        self._members = {key: self.tracker.member(key) for key in self.tracker.members()}
        self._groups = {group: self.tracker.group(*group) for group in {(key[0], key[1]) for key in self._members}}
        self._waits = {source: self.tracker.waits(source, self.time()) for source in self.tracker.sources_with_waits()}
        self._writer = asyncio.create_task(
            supervise("tracker writer", self._write_on, clock=self._clock, observer=self._observer)
        )

    async def stop(self) -> None:
        """Finish listings under way, write everything, and close the file; give up on a disk that hangs."""
        await asyncio.sleep(0)  # lets tasks of callers that have not begun hand in their listings
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await self._close()
        except TimeoutError:
            if self._store is not None:
                self._store.give_up()
                self._store = None
            self._end_writer()
            self._told.add(f"it takes longer than {_STOP_TIMEOUT:g} s to write; its disk may hang")
        if self._told:
            log.error(
                "state file could not be written at the end; the last polls may be lost",
                path=str(self._state_file),
                error="; ".join(sorted(self._told)),
            )

    async def _close(self) -> None:
        async with self._flushing:  # the writer sleeps now: nothing is torn
            self._end_writer()
        if self._store is not None:
            try:
                await self._flush()
            except Exception:
                log.exception("tracker writer failed at the end; please report this")
                self._told.add("the writer failed")
            await self._store.close()
            self._store = None

    def _end_writer(self) -> None:
        """Stop writing: from now on, listings are counted in memory only."""
        if self._writer is not None:
            self._writer.cancel()
            self._writer = None
        self._show(self._take_staged())

    async def observe(self, key: MemberKey, listing: JobListing, at: float, interval: float) -> int:
        """Observe a member's listing of the time `at` (see `time`); return when `member` and `group` show it.

        `interval` is the configured time between two polls of the member, in seconds. Returns the number of reported
        times that do not fit what the polls saw.
        """
        # A task of its own: a caller that is cancelled must not leave a listing half counted.
        return await asyncio.shield(self._task(self._take_in(key, listing, at, interval)))

    async def take_ends(self, source: str, rows: Sequence[EndedJob], until: float) -> int:
        """Count rows of a source's history, which was read up to the time `until`; return when they are shown.

        Those of users that are neither configured nor remembered are left out. Returns the number of times in them that do not
        fit what the polls saw.
        """
        self._without_history.discard(source)
        known = {key.user: key for key in (*self.tracker.members(), *(self._keep or ())) if key.source == source}
        of_members: dict[MemberKey, list[EndedJob]] = {}
        for row in rows:
            if (key := known.get(row.user)) is not None:
                of_members.setdefault(key, []).append(row)
        return await asyncio.shield(self._task(self._take_in_ends(source, of_members, until)))

    async def _take_in_ends(self, source: str, rows: Mapping[MemberKey, Sequence[EndedJob]], until: float) -> int:
        disagreements, staged = 0, self._staged
        async with self._working:
            grace = self.graces.get(source, 0.0)
            for key, of_member in rows.items():
                work = partial(Tracker.work_ends, rows=of_member, at=self.time(), grace=grace)
                disagreements += await self._work(key, len(of_member), work)
                staged = self._stage(key)
                await asyncio.sleep(0)
            self.tracker.set_mark(source, until)
            self._news.set()
        if rows:
            await staged.shown.wait()
        return disagreements

    async def _work(self, key: MemberKey, size: int, work: Callable[[TrackedMember], Step]) -> int:
        """Apply `work`, which is of this size, to a member and count the result; return the number of disagreements."""
        member = self.tracker.join(key)
        try:
            step = await off_loop(size, _LARGE, lambda: work(member))
            self.tracker.record(key, step)
        except BaseException:
            # Some of it may have been applied: the file gets the whole member.
            self.tracker.rewrite({key})
            raise
        return step.update.events.disagreements

    def history_is_missing(self, source: str) -> None:
        """Note that a source has no history, until rows of it come."""
        self._without_history.add(source)

    def member(self, key: MemberKey) -> MemberTotals:
        return self._members.get(key) or MemberTotals()

    def group(self, source: str, group_id: str) -> GroupTotals:
        return self._groups.get((source, group_id)) or GroupTotals().copied()

    def waits(self, source: str) -> tuple[WaitView, ...]:
        """Return the bounds for jobs submitted now; the same object while nothing changes."""
        return self._waits.get(source, ())

    def members_of(self, source: str) -> list[MemberKey]:
        """Return the members of a source that are remembered."""
        return [key for key in self._members if key.source == source]

    def forget_members(self, keep: Collection[MemberKey], others: Collection[MemberKey] = ()) -> None:
        """Name the members that are configured now, at the start and after a reload.

        Further ones stay for 7 days after their last poll, so that an edit of the configuration can be undone; but
        `others`, which another shard follows or followed meanwhile, are forgotten immediately, even if they are to be
        kept from now on.
        """
        self._keep = frozenset(keep)
        self._forget_now(others)

    def _task(self, work: Coroutine[Any, Any, int]) -> "asyncio.Task[int]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _take_in(self, key: MemberKey, listing: JobListing, at: float, interval: float) -> int:
        async with self._working:
            grace = None if key.source in self._without_history else self.graces.get(key.source)
            work = partial(Tracker.work, listing=listing, at=at, interval=interval, grace=grace)
            size = len(listing.jobs) + len(self.tracker.join(key).state.jobs)
            disagreements = await self._work(key, size, work)
            staged = self._stage(key)
        await staged.shown.wait()
        return disagreements

    def _stage(self, key: MemberKey) -> _Staged:
        group = (key.source, key.group_id)
        staged = self._staged
        staged.members[key] = self.tracker.member(key)
        staged.groups[group] = self.tracker.group(*group)
        staged.waits[key.source] = self.tracker.waits(key.source, self.time())
        if self._writer is None or self._told:
            self._show(self._take_staged())
        self._news.set()
        return staged

    def _take_staged(self) -> _Staged:
        staged, self._staged = self._staged, _Staged()
        return staged

    def _show(self, staged: _Staged) -> None:
        self._members.update(staged.members)
        self._groups.update(staged.groups)
        self._waits.update(staged.waits)
        staged.shown.set()

    async def _write_on(self) -> None:
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._flush()
                if self._told:
                    self._news.set()
                await self._clock.sleep(_RETRY_PAUSE if self._told else self._flush_interval)
                if self._clock.monotonic() - self._forgotten_at > _FORGET_INTERVAL:
                    self._forget_now()
        except BaseException:
            if self._writer is not None:
                # Until it has been restarted and has written, counters are shown without it.
                self._told.add("the writer failed")
                self._show(self._take_staged())
                self._news.set()
            raise

    async def _flush(self) -> None:
        """Write what has changed, then show it; show it all the same where it cannot be written."""
        async with self._flushing:
            async with self._working:
                batch, staged = self.tracker.take_batch(), self._take_staged()
            try:
                if self._store and (batch or self._told):
                    await self._save(self._store, batch, staged)
            finally:
                self._show(staged)

    async def _save(self, store: Store, batch: Batch, staged: _Staged) -> None:
        try:
            try:
                left_out = await self._saved(store, batch, staged)
            except StateFileLostError as error:
                log.warning("state file is lost; everything is written anew", path=str(store.path), reason=str(error))
                async with self._working:
                    batch = self.tracker.take_batch(everything=True)
                left_out = await self._saved(store, batch, staged)
        except StateFileError as error:
            self._fail(str(error))
            return
        self._note_left_out(left_out)
        if self._told:
            self._told.clear()
            log.info("state file is written again", path=str(store.path))

    async def _saved(self, store: Store, batch: Batch, staged: _Staged) -> dict[MemberKey, str]:
        try:
            return await self._written(store, batch, staged)
        except BaseException:
            self.tracker.give_back(batch)
            raise

    async def _written(self, store: Store, batch: Batch, staged: _Staged) -> dict[MemberKey, str]:
        """Write a batch, however long it takes. While the disk hangs, counters are shown all the same, and nothing piles up."""
        saving = asyncio.create_task(store.save(batch))
        try:
            while not (await asyncio.wait({saving}, timeout=_HANG_TIMEOUT))[0]:
                self._fail(
                    f"state file {store.path}: no answer for {_HANG_TIMEOUT:g} s; its disk or network file system hangs"
                )
                self._show(staged)
                self._show(self._take_staged())
                self.tracker.give_back(Batch())
            return await saving
        finally:
            saving.cancel()

    def _fail(self, error: str) -> None:
        self._observer.state_file_write_failed()
        if error not in self._told:
            self._told.add(error)
            log.error("state file cannot be written; counting goes on in memory", error=error)

    def _note_left_out(self, left_out: dict[MemberKey, str]) -> None:
        self.tracker.rewrite(left_out.keys())
        for key in left_out.keys() - self._left_out:
            log.error(
                "a member cannot be written to the state file and starts at 0 after a restart; please report this",
                source=key.source,
                group_id=key.group_id,
                user=key.user,
                error=left_out[key],
            )
        if left_out:
            self._observer.state_file_write_failed()
        self._left_out = set(left_out)

    def _forget_now(self, others: Collection[MemberKey] = ()) -> None:
        self._forgotten_at = self._clock.monotonic()
        if self._keep is not None:
            members, groups = self.tracker.forget_members(self._keep, self.time(), others)
            for key in members:
                self._members.pop(key, None)
            for group in groups:
                self._groups.pop(group, None)
            self._waits = {source: self.tracker.waits(source, self.time()) for source in self._waits}
            self._news.set()
