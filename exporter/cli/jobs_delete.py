"""`hpc-exporter jobs delete`: shows jobs; with --yes deletes them and verifies that they are gone."""

import argparse
import asyncio
import errno
import getpass
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import msgspec

from exporter.app import Components, assemble
from exporter.cli import output
from exporter.cli.job_table import job_row, job_table
from exporter.cli.options import UsageError
from exporter.cli.output import IncompleteWriteError, OutputError, open_to_write, print_text, warn, write_all
from exporter.cli.schemas import Audit, Verdict
from exporter.cli.terminal import rendered
from exporter.clock import timestamp
from exporter.config import Cluster
from exporter.errors import (
    AuthenticationError,
    ExporterError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    TransientError,
)
from exporter.records import ENDED, Job, JobListing, by_id
from exporter.redaction import redact
from exporter.sources.collector import Subject
from exporter.sources.once import Column
from exporter.sources.scnet._deletion import (
    Deletion,
    UnsafeNameError,
    check_job_id,
    check_scheduler_id,
    check_user,
    delete_jobs,
)
from exporter.sources.scnet.member_jobs import MEMBER_JOBS, read_jobs
from exporter.sources.scnet.own_jobs import own_jobs
from exporter.sources.scnet.owner import Owner
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.schedulers import ask_schedulers
from exporter.sources.scnet.subjects import MEMBER
from exporter.streams import deliver_stderr
from exporter.text import counted, escaped

# More jobs need --expect-count: a slip of the pipeline must not delete everything.
SAFE_NUMBER: Final = 100
# Bytes of --from-file: /dev/zero has no end.
LONGEST_LIST: Final = 4 << 20
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
# Exit status that shells report for a process ended by SIGTERM.
TERMINATED: Final = 128 + signal.SIGTERM
# The region understood the request and did nothing: one lookup is enough.
REJECTIONS = (AuthenticationError, PermissionDeniedError, RejectedError)


@dataclass(frozen=True, slots=True)
class _Order:
    """The arguments of the command line, checked; times in seconds."""

    user: str
    job_ids: tuple[str, ...]
    scheduler_id: str | None
    wait: float
    in_query: bool


def run(args: argparse.Namespace) -> int:
    """Show or delete; the exit status. Raises UsageError before anything is sent, ExporterError where nothing was."""
    order = _checked(args)
    components = assemble(args.config_file)
    cluster = _cluster_named(components, args.cluster)
    try:
        if args.yes:
            with AuditLog(args.audit_file) as audit_log:
                return asyncio.run(_delete(components, cluster, order, audit_log))
        return asyncio.run(_preview(components, cluster, order))
    except asyncio.CancelledError:
        return TERMINATED


def _checked(args: argparse.Namespace) -> _Order:
    """Check all that can be checked before the first request. Raises UsageError."""
    ids = [*args.job_ids, *(_ids_in(args.from_file) if args.from_file is not None else ())]
    try:
        check_user(args.user)
        for job_id in ids:
            check_job_id(job_id)
        if args.scheduler_id is not None:
            check_scheduler_id(args.scheduler_id)
    except UnsafeNameError as error:
        raise UsageError(f"{error}; nothing was sent") from None
    job_ids = tuple(dict.fromkeys(ids))
    given, meant = len(job_ids), args.expect_count
    if not given:
        raise UsageError("no job ids were given, so nothing was sent")
    if meant not in (None, given):
        raise UsageError(f"--expect-count={meant}, but {given} jobs are named; nothing was sent")
    if args.yes and meant is None and given > SAFE_NUMBER:
        raise UsageError(
            f"{given} jobs are named: more than {SAFE_NUMBER} need --expect-count={given} as well; nothing was sent"
        )
    return _Order(args.user, job_ids, args.scheduler_id, args.wait, args.parameters_in == "query")


def _ids_in(file: Path) -> list[str]:
    """Return the ids in a file, "-" for standard input; a comment begins with #. Raises UsageError."""
    try:
        content = sys.stdin.buffer.read(LONGEST_LIST + 1) if str(file) == "-" else _beginning_of(file)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; nothing was sent") from None
    if len(content) > LONGEST_LIST:
        raise UsageError(f"{file} is longer than {LONGEST_LIST >> 20} MiB; nothing was sent")
    # Editors of Windows put a mark before the first id.
    lines = content.decode("utf-8-sig", errors="replace").splitlines()
    return [job_id for line in lines for job_id in line.partition("#")[0].split()]


def _beginning_of(file: Path) -> bytes:
    """Return a file, or a little more than LONGEST_LIST of it. Raises OSError, also for a pipe without a writer."""
    with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY)) as stream:
        ready, _, _ = select.select([stream], [], [], output.PATIENCE)
        # None while there is a writer that has written nothing yet: that one is waited for.
        first = b"" if ready else stream.read(1)
        if not ready and first == b"":
            raise OSError(errno.EPIPE, "no process writes to this pipe")
        os.set_blocking(stream.fileno(), True)
        return (first or b"") + stream.read(LONGEST_LIST + 1)


def _cluster_named(components: Components, name: str) -> Cluster:
    """Return the region of this name. Raises UsageError."""
    clusters = {cluster.name: cluster for cluster in components.config.clusters}
    if name in components.slurm and name not in clusters:
        raise UsageError(f"{name} is a Slurm cluster: delete its jobs with scancel")
    if name not in clusters:
        raise UsageError(f"the configuration has no cluster {name!r}; it has: {', '.join(clusters) or 'none'}")
    return clusters[name]


async def _preview(components: Components, cluster: Cluster, order: _Order) -> int:
    """Show what `delete` would delete; 0 if all of it is there. Raises ExporterError where it cannot be looked up."""
    region = components.regions[cluster.name]
    try:
        scheduler_id = await _scheduler_for(region, order)
        lookup = JobLookup(region, order.user, scheduler_id)
        snapshot = await lookup.fetch()
    except PollError as error:
        raise ExporterError(f"the jobs cannot be looked up: {error}") from None
    finally:
        await components.close()
    listed = [snapshot.jobs[job_id] for job_id in order.job_ids if job_id in snapshot.jobs]
    print_text(
        job_table([job_row(lookup.subject, job) for job in listed]) if listed else "none of these jobs is listed\n"
    )
    missing = [job_id for job_id in order.job_ids if job_id not in snapshot.jobs]
    if missing:
        listing = "not listed" if snapshot.complete else "not in the part of the list that could be read"
        warn(f"{listing}: {' '.join(missing)}")
    would = counted(sum(not ended(job) for job in listed), "job")
    needed = f" --expect-count={len(order.job_ids)}" if len(order.job_ids) > SAFE_NUMBER else ""
    warn(
        f"nothing was deleted. With --yes{needed}, {would} of {order.user} would be, at scheduler {scheduler_id} of "
        f"{cluster.name}"
    )
    return 1 if missing else 0


async def _delete(components: Components, cluster: Cluster, order: _Order, audit_log: "AuditLog") -> int:
    """Delete the listed jobs, verify, and report; 0 if all are gone. Raises ExporterError where nothing was sent."""
    # Cancels the task, as Ctrl-C does, so that the audit lines are still written.
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    region = components.regions[cluster.name]
    try:
        try:
            scheduler_id = await _scheduler_for(region, order)
            lookup = JobLookup(region, order.user, scheduler_id)
            before = await _look_before(lookup)
        except PollError as error:
            raise ExporterError(f"the jobs cannot be looked up, so nothing was sent: {error}") from None
        return await _Run(region, order, scheduler_id, lookup, before).carry_out(audit_log)
    finally:
        await components.close()


async def _scheduler_for(region: Region, order: _Order) -> str:
    """Return the scheduler to delete at.

    Raises ExporterError where the region has several, PollError where it is unknown.

    Requested with the token that deletes, so that an expired token is noticed, or replaced, before the DELETE.
    """
    try:
        token = region.tokens.of_user(order.user)
        found = await ask_schedulers(region.upstream, token, region.cluster.hpc_url)
    except PollError as error:
        if order.scheduler_id is None or isinstance(error, REJECTIONS):
            raise
        return order.scheduler_id
    known = {str(each.id): f"{each.id} ({each.name}, {each.type})" for each in found}
    listed = ", ".join(known.values())
    if order.scheduler_id is not None:
        if known and order.scheduler_id not in known and not found.rejected:
            raise ExporterError(f"{region.name} has no scheduler {order.scheduler_id}; it has: {listed}")
        return order.scheduler_id
    if not known:
        raise ExporterError(f"{region.name} lists no scheduler; say which one with --scheduler-id")
    if len(known) > 1 or found.rejected:
        raise ExporterError(f"{region.name} has several schedulers; say which one with --scheduler-id: {listed}")
    check_scheduler_id(next(iter(known)))
    return next(iter(known))


# Lookups.


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """The jobs that a list showed, by id. `complete`: a job that is not in `jobs` is not there."""

    jobs: Mapping[str, Job]
    complete: bool


def ended(job: Job) -> bool:
    """Whether a listed job is over; one in an unknown state is not."""
    return job.state in ENDED


def verdict(job_id: str, snapshot: JobSnapshot | None) -> Verdict:
    """Return the verdict of a lookup on a job; None: the lookup failed."""
    if snapshot is None:
        return Verdict.UNVERIFIED
    job = snapshot.jobs.get(job_id)
    if job is not None:
        return Verdict.GONE if ended(job) else Verdict.STILL_THERE
    return Verdict.GONE if snapshot.complete else Verdict.UNVERIFIED


class JobLookup:
    """The lists in which a user's jobs can be seen, the better one first."""

    def __init__(self, region: Region, user: str, scheduler_id: str) -> None:
        self._region = region
        self._scheduler_id = scheduler_id
        self._memberships = [subject for subject in MEMBER.subjects(region.cluster, "") if subject.user == user]
        self._own = Subject(region.name, user, region.cluster.place, user=user)

    @property
    def subject(self) -> Subject:
        """The user, as a member of the first group where they are one."""
        return next(iter(self._memberships), self._own)

    async def fetch(self) -> JobSnapshot:
        """Return the first list that can be read. Raises PollError: that of the first one, where none can be."""
        if not self._memberships:
            return await self._of_owner()
        # Member lists are documented better, but need a group's administrator and name no scheduler.
        try:
            endpoints = [self._region.endpoint(MEMBER_JOBS, membership) for membership in self._memberships]
            return _snapshot([await endpoint.get(read_jobs) for endpoint in endpoints])
        except PollError as error:
            with suppress(PollError):
                return await self._of_owner()
            raise error from None

    async def _of_owner(self) -> JobSnapshot:
        """Return the jobs of the token's own user; an absence proves something only where that is the user in question.

        A token of unknown owner may list the user's jobs.
        """
        owner = Owner(self._region, self._own)
        mine = await owner.mine()
        listing = await own_jobs(self._region, self._scheduler_id, owner.token, None if mine else self._own.user)
        return _snapshot([listing], known=mine)


def _snapshot(listings: Sequence[JobListing], *, known: bool = True) -> JobSnapshot:
    """Return the jobs of all listings by their id; `known`: they are those of the user in question."""
    jobs = by_id([job for listing in listings for job in listing.jobs])
    return JobSnapshot(jobs, known and all(listing.complete for listing in listings))


async def _look_before(lookup: JobLookup) -> JobSnapshot:
    """Return the jobs before the deletion; an empty, incomplete snapshot where no list can be read.

    Raises TransientError where the lists are temporarily unavailable.
    """
    try:
        return await lookup.fetch()
    except TransientError:
        raise
    except PollError as error:
        warn(f"the jobs cannot be looked up, their ids are taken as they are: {error}")
        return JobSnapshot({}, complete=False)


# Deletion.


class AuditLog:
    """Audit lines, one JSON object for each job, appended to a file or written to standard error.

    Enter it before anything is sent: a deletion that cannot be recorded is not begun. Raises OutputError.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        if self._file is not None:
            try:
                # Lines are on the disk when they are written.
                self._descriptor = open_to_write(self._file, os.O_APPEND | os.O_CREAT | os.O_DSYNC)
            except OSError as error:
                raise OutputError(f"cannot open {self._file}, so nothing was sent: {error.strerror}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def write(self, records: list[Audit]) -> None:
        """Append a line for each record. Lines that cannot be written go to standard error; raises OutputError then."""
        lines = "".join(f"{escaped(redact(msgspec.json.encode(record).decode()))}\n" for record in records)
        if self._descriptor is None:
            _write_stderr(lines)
            return
        try:
            # In one piece, so that the lines of simultaneous commands do not mix.
            write_all(self._descriptor, lines.encode())
        except IncompleteWriteError as error:
            warn(f"cannot write to {self._file}: {error}; the lines that are missing there:")
            _write_stderr(error.rest.decode(errors="replace"))
            raise OutputError(f"the deletion was not recorded in {self._file}") from None


def _write_stderr(lines: str) -> None:
    """Write audit lines to standard error. Raises OutputError."""
    try:
        deliver_stderr(lines)
    except OSError as error:
        raise OutputError(f"the deletion was not recorded on standard error: {error.strerror}") from None


def operator() -> str:
    """Login name of the operator, prefixed by SUDO_USER."""
    name = f"uid {os.getuid()}"
    # KeyError up to Python 3.12: a user without an entry in the user database, as in a container.
    with suppress(OSError, KeyError):
        name = getpass.getuser()
    before = os.environ.get("SUDO_USER")
    return f"{before} as {name}" if before else name


@dataclass(slots=True)
class _Run:
    """One deletion under way.

    `sent` are the ids in the DELETE, `answer` the response, `after` the last lookup, `gone` the jobs that any lookup
    proved to be gone.
    """

    region: Region
    order: _Order
    scheduler_id: str
    lookup: JobLookup
    before: JobSnapshot
    sent: tuple[str, ...] = ()
    answer: str = ""
    after: JobSnapshot | None = None
    gone: set[str] = field(default_factory=set)

    async def carry_out(self, audit_log: AuditLog) -> int:
        """Send the DELETE, look until all is gone or the time is over, and report, also after an error."""
        wanted = tuple(job_id for job_id in self.order.job_ids if self._worth_sending(job_id))
        try:
            if wanted:
                await self._watch(await self._send(wanted))
        finally:
            # Also when interrupted: a DELETE that was sent must leave a trace.
            audit_log.write(self._audits())
            print_text(self._table())
        for kind in (Verdict.STILL_THERE, Verdict.UNVERIFIED, Verdict.NOT_FOUND, Verdict.NOT_SENT):
            named = [job_id for job_id in self.order.job_ids if self._verdict(job_id) is kind]
            if named:
                warn(f"{kind}: {' '.join(named)}")
        return 0 if all(self._verdict(job_id) is Verdict.GONE for job_id in self.order.job_ids) else 1

    def _worth_sending(self, job_id: str) -> bool:
        """Whether a job is listed and has not ended, or may be there."""
        job = self.before.jobs.get(job_id)
        return not self.before.complete if job is None else not ended(job)

    async def _send(self, job_ids: tuple[str, ...]) -> float:
        """Send the one DELETE; the seconds for which to look. Never raises PollError: the lookup decides."""
        region, order = self.region, self.order
        deletion = Deletion(self.scheduler_id, order.user, job_ids)
        try:
            token = await region.tokens.of_user(order.user).current()
        except PollError as error:
            warn(f"there is no token, so nothing was sent: {error}")
            return 0.0
        self.sent = job_ids
        # All that is left of a process that is killed before it writes its audit lines.
        warn(f"asking {region.name} to delete {counted(len(job_ids), 'job')} of {order.user}: {' '.join(job_ids)}")
        try:
            said = await delete_jobs(region.upstream, region.cluster.hpc_url, deletion, token, in_query=order.in_query)
        except REJECTIONS as error:
            self.answer = f"rejected: {error}"
            warn(f"{region.name} rejected: {error}")
            return 0.0
        except PollError as error:
            self.answer = f"no good answer: {error}"
            warn(f"whether it worked is open, looking: {error}")
            return order.wait
        self.answer = said
        warn(f"{region.name} says: {said or 'nothing'}")
        return order.wait

    async def _watch(self, wait: float) -> None:
        """Look for `wait` seconds, at least once, until all jobs that were sent are gone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        pause = FIRST_PAUSE
        if self.sent:
            await self._look_again()
        while not self.gone.issuperset(self.sent) and loop.time() < deadline:
            await asyncio.sleep(min(pause, deadline - loop.time()))
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                async with asyncio.timeout_at(max(deadline, loop.time() + FIRST_PAUSE)):
                    await self._look_again()
            except TimeoutError:
                self.after = None

    async def _look_again(self) -> None:
        try:
            self.after = await self.lookup.fetch()
        except PollError as error:
            self.after = None
            warn(f"cannot look: {error}")
        self.gone |= {job_id for job_id in self.sent if verdict(job_id, self.after) is Verdict.GONE}

    def _verdict(self, job_id: str) -> Verdict:
        """Return the present verdict on a job."""
        if job_id in self.gone:
            return Verdict.GONE
        if job_id in self.sent:
            return verdict(job_id, self.after)
        if job_id not in self.before.jobs:
            return Verdict.NOT_FOUND if self.before.complete else Verdict.NOT_SENT
        return Verdict.GONE if ended(self.before.jobs[job_id]) else Verdict.NOT_SENT

    def _listed(self, job_id: str) -> tuple[Job | None, Job | None]:
        """Return a job as it was listed before and as it was listed last; None where it was not."""
        return self.before.jobs.get(job_id), self.after.jobs.get(job_id) if self.after else None

    def _name(self, job_id: str) -> str:
        return next((job.name for job in reversed(self._listed(job_id)) if job is not None), "")

    def _table(self) -> str:
        """Return the verdict on each job."""
        columns = [
            *(Column("id", whole=True), Column("state before", whole=True, styled=True)),
            *(Column("state now", whole=True, styled=True), Column("outcome", whole=True, styled=True), Column("name")),
        ]
        rows = [
            (
                job_id,
                *(job.state if job else "-" for job in self._listed(job_id)),
                *(self._verdict(job_id), self._name(job_id)),
            )
            for job_id in self.order.job_ids
        ]
        return rendered(columns, rows, sys.stdout)

    def _audits(self) -> list[Audit]:
        """Return a record for every job that was named."""
        now, who = timestamp(time.time()), operator()
        return [
            Audit(
                time=now,
                operator=who,
                cluster=self.region.name,
                cluster_id=self.region.cluster.cluster_id,
                scheduler_id=self.scheduler_id,
                user=self.order.user,
                job_id=job_id,
                job_name=self._name(job_id),
                state_before=before.state if before else None,
                state_after=after.state if after else None,
                sent=job_id in self.sent,
                # The response says nothing about a job that was not sent.
                answer=self.answer if job_id in self.sent or not self.sent else "",
                outcome=self._verdict(job_id),
            )
            for job_id in self.order.job_ids
            for before, after in [self._listed(job_id)]
        ]
