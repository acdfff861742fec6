"""`hpc-exporter jobs list`: the jobs of configured members, and which members could not be read."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.app import Components, assemble
from exporter.app.target_info import target_infos
from exporter.cli import options
from exporter.cli.output import complain, show, write
from exporter.cli.progress import progress
from exporter.cli.schemas import JobRow, Jobs, UnreadMember, encoded, failure, timestamp
from exporter.cli.table import rendered
from exporter.errors import PollError
from exporter.polling import TargetKey
from exporter.records import Job, JobListing
from exporter.sources.collector import Subject
from exporter.sources.jobs import allocated, requested
from exporter.sources.once import Cell, Column, number
from exporter.sources.scnet.member_jobs import MEMBER_JOBS, read_jobs

# A state that nobody knows is shown with so much of its spelling: what Slurm's longest words need.
LONGEST_WORD = 20


@dataclass(frozen=True, slots=True)
class Filters:
    """What to list; None lets everything pass."""

    clusters: Sequence[str] | None
    groups: Sequence[str] | None
    users: Sequence[str] | None
    states: Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A member to ask for."""

    key: TargetKey
    subject: Subject


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found of a member: a listing, or the reason why there is none."""

    wanted: Wanted
    listing: JobListing
    error: PollError | None = None

    @property
    def complete(self) -> bool:
        return self.error is None and self.listing.complete


def run(args: argparse.Namespace) -> int:
    options.setup_logging(args)
    assembly = assemble(args.config_file)
    filters = Filters(args.cluster, args.group, args.user, args.state)
    wanted = chosen(assembly, filters)
    return asyncio.run(list_jobs(assembly, wanted, filters, args.format))


def chosen(assembly: Components, filters: Filters) -> list[Wanted]:
    """The configured members that pass. Raises UsageError for a name that is none: nothing would pass for no jobs."""
    members = [
        Wanted(key, info.subject) for key, info in target_infos(assembly.config).items() if info.collector.lists_jobs
    ]
    if not members:
        raise options.UsageError("the configuration has no members, so there is nobody whose jobs can be listed")
    for flag, given, names in (
        ("cluster", filters.clusters, cluster_names),
        ("group", filters.groups, group_names),
        ("user", filters.users, user_names),
    ):
        known = dict.fromkeys(name for member in members for name in names(member))
        for name in given or ():
            if name not in known:
                raise options.UsageError(f"no {flag} {name!r} has configured members; there are: {', '.join(known)}")
    found = [member for member in members if passes(member, filters)]
    if not found:
        raise options.UsageError("no configured member passes all filters together")
    return found


def cluster_names(member: Wanted) -> tuple[str, ...]:
    return (member.key.source,)


def group_names(member: Wanted) -> tuple[str, ...]:
    return member.subject.group, member.subject.group_id


def user_names(member: Wanted) -> tuple[str, ...]:
    return (member.subject.user,)


def passes(member: Wanted, filters: Filters) -> bool:
    def allowed(given: Sequence[str] | None, names: Callable[[Wanted], tuple[str, ...]]) -> bool:
        return given is None or any(name in given for name in names(member))

    return (
        allowed(filters.clusters, cluster_names)
        and allowed(filters.groups, group_names)
        and allowed(filters.users, user_names)
    )


async def list_jobs(assembly: Components, wanted: list[Wanted], filters: Filters, fmt: str) -> int:
    """Ask for all members at once and print what they have; the exit status. Raises OutputError."""
    try:
        with progress("asking", len(wanted)) as advance:
            answers = list(await asyncio.gather(*(ask(assembly, each, advance) for each in wanted)))
    finally:
        await assembly.close()
    rows = [
        _job_row(answer.wanted.subject, job)
        for answer in answers
        for job in answer.listing.jobs
        if filters.states is None or job.state in filters.states
    ]
    unread = [answer for answer in answers if not answer.complete]
    complain(*(f"{name_of(answer)}: {what_is_missing(answer)}" for answer in unread))
    if fmt == "json":
        now = assembly.services.clock.now()
        found = Jobs(time=timestamp(now), ok=not unread, jobs=rows, unread_members=list(map(unread_member, unread)))
        write(encoded(found))
    else:
        show(table(rows) if rows or unread else "no jobs\n")
    return 1 if unread else 0


def _job_row(member: Subject, job: Job) -> JobRow:
    return JobRow(
        cluster=member.source,
        group=member.group,
        group_id=member.group_id,
        user=member.user,
        id=job.id,
        name=job.name,
        state=job.state,
        raw_state=job.raw_state or None,
        requested=requested([job]),
        allocated=allocated([job]),
    )


async def ask(assembly: Components, wanted: Wanted, advance: Callable[[], None]) -> Answer:
    region = assembly.regions[wanted.key.source]
    try:
        listing = await region.ask(MEMBER_JOBS, wanted.subject, read_jobs)
    except PollError as error:
        return Answer(wanted, JobListing(()), error)
    finally:
        advance()
    return Answer(wanted, listing)


def name_of(answer: Answer) -> str:
    return f"{answer.wanted.key.source} {answer.wanted.key.target}"


def what_is_missing(answer: Answer) -> str:
    if answer.error is not None:
        return f"the jobs could not be read: {answer.error}"
    return f"{answer.listing.rejected} of the jobs could not be read"


def unread_member(answer: Answer) -> UnreadMember:
    return UnreadMember(
        cluster=answer.wanted.key.source,
        group=answer.wanted.subject.group,
        user=answer.wanted.subject.user,
        unreadable_records=None if answer.error is not None else answer.listing.rejected,
        error=failure(answer.error),
    )


def table(rows: list[JobRow]) -> str:
    """The jobs, for a person."""
    if not rows:
        return "no jobs of the members that could be read\n"
    columns = [
        *(Column("cluster"), Column("group"), Column("user"), Column("id", whole=True)),
        *(Column("state", whole=True, styled=True), *map(number, ("nodes", "cores", "GPUs", "DCUs"))),
        # Last: there is no telling how long it is.
        Column("name"),
    ]
    return rendered(columns, list(map(cells, rows)), sys.stdout)


def cells(row: JobRow) -> Sequence[Cell]:
    wanted, used = row.requested, row.allocated
    return (
        *(row.cluster, row.group, row.user, row.id, state_of(row), wanted.nodes),
        *(of(used.cpus, wanted.cpus), of(used.gpus, wanted.gpus), of(used.dcus, wanted.dcus)),
        row.name,
    )


def state_of(row: JobRow) -> str:
    """The state; one that nobody knows together with its spelling, cut to a width that leaves room for the rest."""
    return f"{row.state} ({row.raw_state[:LONGEST_WORD]})" if row.raw_state else row.state


def of(used: int | None, wanted: int | None) -> str:
    """How much is in use of what was requested."""
    if used == wanted == 0:
        return "0"
    return "/".join("?" if amount is None else str(amount) for amount in (used, wanted))
