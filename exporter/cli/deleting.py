"""`hpc-exporter jobs delete`: shows jobs; with --yes deletes them, once, and looks whether they are gone."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.app import Components, assemble
from exporter.cli import options
from exporter.cli.audit import AuditLog, operator
from exporter.cli.output import complain, show
from exporter.cli.schemas import Audit, Verdict, timestamp
from exporter.cli.sight import Sight, Sights, ended, verdict
from exporter.cli.table import rendered
from exporter.config import Cluster
from exporter.errors import (
    AuthenticationError,
    ExporterError,
    PermissionDeniedError,
    PollError,
    RejectedError,
    TransientError,
)
from exporter.records import Job, JobState
from exporter.sources.once import Cell, Column, number
from exporter.sources.scnet._deletion import (
    Deletion,
    UnsafeNameError,
    check_job_id,
    check_scheduler_id,
    check_user,
    delete_jobs,
)
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.schedulers import ask_schedulers

# More than so many jobs need --i-mean: a slip of the pipeline must not delete everything.
SAFE_NUMBER = 100
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
# What the shell reports of a process that SIGTERM ended.
TERMINATED = 128 + signal.SIGTERM
# The region understood and did nothing: looking once is enough.
REFUSALS = (AuthenticationError, PermissionDeniedError, RejectedError)


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for on the command line, checked; times in seconds."""

    user: str
    job_ids: tuple[str, ...]
    scheduler_id: str | None
    wait: float
    in_query: bool


def run(args: argparse.Namespace) -> int:
    """Show or delete; the exit status. Raises UsageError before anything is sent, ExporterError where nothing was."""
    options.setup_logging(args)
    order = checked(args)
    assembly = assemble(args.config_file)
    cluster = cluster_named(assembly, args.cluster)
    try:
        if args.yes:
            with AuditLog(args.audit_file) as audit_log:
                return asyncio.run(delete(assembly, cluster, order, audit_log))
        return asyncio.run(preview(assembly, cluster, order))
    except asyncio.CancelledError:
        return TERMINATED


def checked(args: argparse.Namespace) -> Order:
    """Everything about the command line that can be known to be wrong before anybody is asked. Raises UsageError."""
    ids = [*args.job_ids, *(ids_in(args.from_file) if args.from_file is not None else ())]
    try:
        check_user(args.user)
        for job_id in ids:
            check_job_id(job_id)
        if args.scheduler_id is not None:
            check_scheduler_id(args.scheduler_id)
    except UnsafeNameError as error:
        raise options.UsageError(f"{error}; nothing was sent") from None
    job_ids = tuple(dict.fromkeys(ids))
    if not job_ids:
        raise options.UsageError("no job ids were given, so nothing was sent")
    check_number(len(job_ids), args.i_mean, needed=args.yes)
    return Order(args.user, job_ids, args.scheduler_id, args.wait, args.parameters_in == "query")


def check_number(given: int, meant: int | None, *, needed: bool) -> None:
    """Raise UsageError where more jobs are named than somebody may have meant."""
    if meant is not None and meant != given:
        raise options.UsageError(f"--i-mean={meant}, but {given} jobs are named; nothing was sent")
    if needed and meant is None and given > SAFE_NUMBER:
        raise options.UsageError(
            f"{given} jobs are named: more than {SAFE_NUMBER} need --i-mean={given} as well; nothing was sent"
        )


def ids_in(file: Path) -> list[str]:
    """The ids in a file, "-" for standard input; what follows # is a comment. Raises UsageError."""
    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise options.UsageError(f"cannot read {file}: {error.strerror}") from None
    lines = text.decode(errors="replace").splitlines()
    return [job_id for line in lines for job_id in line.partition("#")[0].split()]


def cluster_named(assembly: Components, name: str) -> Cluster:
    for cluster in assembly.config.clusters:
        if cluster.name == name:
            return cluster
    known = ", ".join(cluster.name for cluster in assembly.config.clusters) or "none"
    raise options.UsageError(f"the configuration has no cluster {name!r}; it has: {known}")


async def preview(assembly: Components, cluster: Cluster, order: Order) -> int:
    """Show what `delete` would delete; 0 if all of it is there. Raises ExporterError where it cannot be looked up."""
    region = assembly.regions[cluster.name]
    try:
        scheduler_id = await scheduler_for(region, order)
        sight = await Sights(region, order.user, scheduler_id).look()
    except PollError as error:
        raise ExporterError(f"the jobs cannot be looked up: {error}") from None
    finally:
        await assembly.close()
    listed = [sight.jobs[job_id] for job_id in order.job_ids if job_id in sight.jobs]
    show(job_table(listed) if listed else "none of these jobs is listed\n")
    missing = [job_id for job_id in order.job_ids if job_id not in sight.jobs]
    if missing:
        listing = "not listed" if sight.complete else "not in the part of the list that could be read"
        complain(f"{listing}: {' '.join(missing)}")
    would = [job for job in listed if not ended(job)]
    needed = f" --i-mean={len(order.job_ids)}" if len(order.job_ids) > SAFE_NUMBER else ""
    complain(
        f"nothing was deleted. With --yes{needed}, {jobs(len(would))} of {order.user} would be, "
        f"at scheduler {scheduler_id} of {cluster.name}"
    )
    return 1 if missing else 0


def jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


async def scheduler_for(region: Region, order: Order) -> str:
    """The scheduler to delete at. Raises ExporterError where the region has several, PollError where it does not say.

    Asked with the token that deletes, so that a token that has ended is found out, or replaced, before it matters.
    """
    try:
        tokens = region.tokens.of_user(order.user)
        found = await ask_schedulers(region.upstream, tokens, region.cluster.hpc_url)
    except PollError as error:
        if order.scheduler_id is None or isinstance(error, REFUSALS):
            raise
        return order.scheduler_id
    known: dict[str, str] = {each.id: f"{each.id} ({each.name}, {each.type})" for each in found}
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


async def delete(assembly: Components, cluster: Cluster, order: Order, audit_log: AuditLog) -> int:
    """Delete what is there, look again, and report; 0 if all is gone. Raises ExporterError where nothing was sent."""
    stop_on_sigterm()
    region = assembly.regions[cluster.name]
    try:
        try:
            scheduler_id = await scheduler_for(region, order)
            sights = Sights(region, order.user, scheduler_id)
            before = await look_before(sights)
        except PollError as error:
            raise ExporterError(f"the jobs cannot be looked up, so nothing was sent: {error}") from None
        return await delete_seen(Work(region, order, scheduler_id, sights, before), audit_log)
    finally:
        await assembly.close()


def stop_on_sigterm() -> None:
    """End as with Ctrl-C: after the audit lines were written."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is called from a coroutine
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


async def look_before(sights: Sights) -> Sight:
    """What is there before. Nothing, and not completely, where lists cannot be read however often one asks.

    Raises TransientError where they cannot be read just now.
    """
    try:
        return await sights.look()
    except TransientError:
        raise
    except PollError as error:
        complain(f"the jobs cannot be looked up, their ids are taken as they are: {error}")
        return Sight({}, complete=False)


@dataclass(slots=True)
class Work:
    """One deletion under way.

    `sent` are the ids asked for, `answer` what came back, `after` what the last look showed, `gone` what any look proved.
    """

    region: Region
    order: Order
    scheduler_id: str
    sights: Sights
    before: Sight
    sent: tuple[str, ...] = ()
    answer: str = ""
    after: Sight | None = None
    gone: set[str] = field(default_factory=set)

    def verdict(self, job_id: str) -> Verdict:
        """What can be said of a job now."""
        if job_id in self.gone:
            return Verdict.GONE
        if job_id in self.sent:
            return verdict(job_id, self.after)
        if job_id not in self.before.jobs:
            return Verdict.NOT_FOUND if self.before.complete else Verdict.NOT_SENT
        return Verdict.GONE if ended(self.before.jobs[job_id]) else Verdict.NOT_SENT

    def note(self, sight: Sight | None) -> None:
        """Take over what a look showed; None: it failed."""
        self.after = sight
        self.gone |= {job_id for job_id in self.sent if verdict(job_id, sight) is Verdict.GONE}

    def last_seen(self, job_id: str) -> Job | None:
        after = self.after.jobs.get(job_id) if self.after else None
        return after or self.before.jobs.get(job_id)

    @property
    def all_gone(self) -> bool:
        return all(self.verdict(job_id) is Verdict.GONE for job_id in self.order.job_ids)

    @property
    def all_sent_gone(self) -> bool:
        return self.gone.issuperset(self.sent)


async def delete_seen(work: Work, audit_log: AuditLog) -> int:
    """Send the DELETE, look until all is gone or the time is over, and report, whatever happens in between."""
    wanted = tuple(job_id for job_id in work.order.job_ids if to_send(job_id, work.before))
    try:
        if wanted:
            await watch(work, await send(work, wanted))
    finally:
        # Also when interrupted: what was sent must leave a trace.
        audit_log.write(audits(work))
        show(outcome_table(work))
    for kind in (Verdict.STILL_THERE, Verdict.UNVERIFIED, Verdict.NOT_FOUND, Verdict.NOT_SENT):
        named = [job_id for job_id in work.order.job_ids if work.verdict(job_id) is kind]
        if named:
            complain(f"{kind}: {' '.join(named)}")
    return 0 if work.all_gone else 1


def to_send(job_id: str, before: Sight) -> bool:
    """Whether to ask for a job: it is listed and has not ended, or nobody knows."""
    job = before.jobs.get(job_id)
    return not before.complete if job is None else not ended(job)


async def send(work: Work, job_ids: tuple[str, ...]) -> float:
    """Send the one DELETE; the seconds for which it is worth looking. Never raises PollError: looking decides."""
    deletion = Deletion(work.scheduler_id, work.order.user, job_ids)
    try:
        token = await work.region.tokens.of_user(work.order.user).current()
    except PollError as error:
        complain(f"there is no token, so nothing was sent: {error}")
        return 0.0
    work.sent = job_ids
    # The trace of a process that is killed before it can write its audit lines.
    complain(f"asking {work.region.name} to delete {jobs(len(job_ids))} of {work.order.user}: {' '.join(job_ids)}")
    try:
        said = await delete_jobs(
            work.region.upstream, work.region.cluster.hpc_url, deletion, token, in_query=work.order.in_query
        )
    except REFUSALS as error:
        work.answer = f"refused: {error}"
        complain(f"{work.region.name} refused: {error}")
        return 0.0
    except PollError as error:
        work.answer = f"no good answer: {error}"
        complain(f"whether it worked is open, looking: {error}")
        return work.order.wait
    work.answer = said
    complain(f"{work.region.name} says: {said or 'nothing'}")
    return work.order.wait


async def watch(work: Work, wait: float) -> None:
    """Look again and again for so many seconds, at least once, until nothing that was sent is there any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    pause = FIRST_PAUSE
    if work.sent:
        await look_after(work)
    while not work.all_sent_gone and loop.time() < deadline:
        await asyncio.sleep(min(pause, deadline - loop.time()))
        pause = min(2 * pause, LONGEST_PAUSE)
        try:
            async with asyncio.timeout_at(max(deadline, loop.time() + FIRST_PAUSE)):
                await look_after(work)
        except TimeoutError:
            work.note(None)


async def look_after(work: Work) -> None:
    try:
        work.note(await work.sights.look())
    except PollError as error:
        work.note(None)
        complain(f"cannot look: {error}")


def job_table(listed: Sequence[Job]) -> str:
    """Jobs with what they asked for and what they use."""
    columns = [
        *(Column("id", whole=True), Column("state", whole=True, styled=True)),
        *map(number, ("nodes", "cores", "GPUs", "DCUs", "cores in use", "GPUs in use", "DCUs in use")),
        Column("name"),
    ]
    return rendered(columns, [amounts(job) for job in listed], sys.stdout)


def amounts(job: Job) -> Sequence[Cell]:
    return (
        *(job.id, job.state),
        *(job.requested_nodes, job.requested_cpus, job.requested_gpus, job.requested_dcus),
        *(job.allocated_cpus, job.allocated_gpus, job.allocated_dcus, job.name),
    )


def outcome_table(work: Work) -> str:
    """What came of each job."""
    columns = [
        *(Column("id", whole=True), Column("state before", whole=True, styled=True)),
        *(Column("state now", whole=True, styled=True), Column("outcome", whole=True, styled=True), Column("name")),
    ]
    rows = [
        (
            *(job_id, *(state_of(sight, job_id) or "-" for sight in (work.before, work.after))),
            *(work.verdict(job_id), name_of(work, job_id)),
        )
        for job_id in work.order.job_ids
    ]
    return rendered(columns, rows, sys.stdout)


def name_of(work: Work, job_id: str) -> str:
    job = work.last_seen(job_id)
    return "" if job is None else job.name


def state_of(sight: Sight | None, job_id: str) -> JobState | None:
    """The state of a job in a listing; None where it is not listed."""
    job = None if sight is None else sight.jobs.get(job_id)
    return None if job is None else job.state


def audits(work: Work) -> list[Audit]:
    """A record for every job that was named."""
    now, who = timestamp(time.time()), operator()
    return [
        Audit(
            time=now,
            operator=who,
            cluster=work.region.name,
            cluster_id=work.region.cluster.cluster_id,
            scheduler_id=work.scheduler_id,
            user=work.order.user,
            job_id=job_id,
            job_name=name_of(work, job_id),
            state_before=state_of(work.before, job_id),
            state_after=state_of(work.after, job_id),
            sent=job_id in work.sent,
            # A success is no word about a job that was not asked for.
            answer=work.answer if job_id in work.sent or not work.sent else "",
            outcome=work.verdict(job_id),
        )
        for job_id in work.order.job_ids
    ]
