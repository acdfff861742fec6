"""`hpc-exporter jobs`: lists the jobs of configured members or of tokens' own users, and deletes jobs with --yes."""

import argparse
import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final

from exporter.app import Components, assemble
from exporter.cli import options
from exporter.cli.commands import Command, Flag, Value
from exporter.cli.job_table import job_row, job_table
from exporter.cli.options import FILTERS, Filters, UsageError, chosen, filters_of, names_in, passes
from exporter.cli.output import print_text, warn_alike, write
from exporter.cli.schemas import Jobs, UnreadMember, encoded, failure
from exporter.cli.terminal import progress
from exporter.clock import timestamp
from exporter.config import Cluster
from exporter.errors import PollError
from exporter.records import JobListing, JobState
from exporter.sources.collector import Collector, Subject, collectors_of, subjects_of
from exporter.sources.jobs import listings_of
from exporter.sources.scnet.region import Region

STATE: Final = Value("STATE", choices=list(map(str, JobState)))

LIST_EXAMPLE = """examples:
  hpc-exporter jobs list --cluster=kunshan --user=bob
  hpc-exporter jobs list --state=queued --state=held
  hpc-exporter jobs list --format=json |
    jq -r '.jobs[] | select(.name == "test") | .id'

Without members, the jobs of each token's own user are listed. Members and users whose jobs could not be read, or not
completely, are named on standard error, and the exit status is 1. Cores, GPUs and DCUs are shown as in use/requested; "?" is
a value that the API did not send. How long ended jobs stay listed depends on the region. The shape of the JSON is in
config/jobs-list.schema.json.
"""

DELETE_EXAMPLE = """examples:
  hpc-exporter jobs delete --cluster=kunshan --user=test 1466591 1466592
  hpc-exporter jobs delete --cluster=kunshan --user=test --yes 1466591 1466592
  hpc-exporter jobs list --cluster=kunshan --user=test --state=queued \\
    --format=json | jq -r '.jobs[].id' | hpc-exporter jobs delete \\
    --cluster=kunshan --user=test --yes --expect-count=250 --from-file=-

The first shows what would be deleted, the second deletes it. With --yes:

  1. The jobs are looked up. Those that are not listed, or have ended, are
     left out: nothing is sent for a mistyped id. Where no list of the user's
     jobs may be read, or none completely, ids that are not listed are sent
     as they are; if the lists cannot be read just now, nothing is sent.
  2. One DELETE is sent for all jobs. It is never repeated, whatever the
     answer; the answer is shown, not trusted.
  3. The jobs are looked up again, for as long as --wait, and reported as
     one of these:
       gone         no longer listed, or listed as ended
       still there  listed as before
       unverified   the jobs could not be listed completely: unknown
       not found    was not listed before, and nothing was sent for it
       not sent     an error or interruption came first, and nothing was
                    sent for it
  4. One line of JSON a job is written to --audit-file: time, operator, job,
     request and result. Also after Ctrl-C or SIGTERM; a process that is
     killed leaves only a line on standard error before the DELETE. If the
     file cannot be opened, nothing is deleted. The shape of the lines is in
     config/audit.schema.json.

Exit status: 0 only if all jobs are gone, 1 otherwise. Running it again is safe.

Jobs are looked up in the lists of the groups whose configured member the user is, else in the list of the token's own user.
The token is the user's own, where `users` in the configuration gives one, or else the region's.
"""


COMMAND = Command(
    "list the jobs of members; delete jobs",
    "List or delete jobs.",
    "example:\n  hpc-exporter jobs list --help\n",
    list=Command(
        "list the jobs of configured members",
        "List the jobs of the members in the configuration, and of its Slurm clusters.",
        LIST_EXAMPLE,
        options.CONFIG_FILE,
        options.formats("json"),
        Flag(
            "--state", f"only jobs in this state; can be given several times: {', '.join(JobState)}", STATE, many=True
        ),
        options.WIDE,
        *FILTERS,
        *options.logging("warning"),
    ),
    delete=Command(
        "delete jobs of one user; without --yes only show them",
        "Show jobs of one user, and delete them with --yes.",
        DELETE_EXAMPLE,
        options.CONFIG_FILE,
        Flag("job_ids", "ids of the jobs; duplicates count once", Value("JOB_ID"), many=True),
        Flag("--cluster", "the region, as the configuration names it; required", options.NAME, required=True),
        Flag("--user", "the scheduler user whose jobs they are; required", options.NAME, required=True),
        Flag("--from-file", "file with more ids, one a line; - is standard input; # begins a comment", options.FILE),
        Flag("--yes", "delete; without it, nothing is deleted"),
        # The second is an older name.
        Flag("--expect-count --i-mean", "the exact number of jobs, needed above 100", options.number(0)),
        Flag("--scheduler-id", "the scheduler, needed where the region has several", Value("ID")),
        Flag("--wait", "how long to check whether the jobs are gone; 0 checks once", options.DURATION, "30s"),
        Flag(
            "--parameters-in",
            "where to put the parameters of DELETE; query is for regions that drop the bodies of DELETE requests",
            options.one_of("body", "query"),
            "body",
        ),
        Flag("--audit-file", "append the audit lines here (default: standard error)", options.FILE_OR_STREAM),
        *options.logging("warning"),
    ),
)


def run(args: argparse.Namespace) -> int:
    if args.jobs_command == "list":
        return asyncio.run(_list(assemble(args.config_file), args))
    # Not at the top: `--help` and completion load this module, and only `jobs delete` may load the code that deletes.
    from exporter.cli import jobs_delete  # noqa: PLC0415 - see above

    return jobs_delete.run(args)


Listed = tuple[Collector, Subject]


async def _chosen(components: Components, filters: Filters) -> list[Listed]:
    """Return the lists of jobs to request: of the collectors that list them, those whose subjects pass.

    Raises UsageError.
    """
    lists = [
        (collector, subject)
        for region in components.regions.values()
        for collector in [listing_of(region.cluster)]
        for subject in collector.per.subjects(region.cluster, await _owner(region, collector))
    ] + [
        (collector, subject)
        for slurm in components.slurm.values()
        for collector, subject in subjects_of("slurm", slurm.cluster, every=True)
        if collector.lists_jobs
    ]
    if not lists:
        raise UsageError("the configuration has no regions and no Slurm clusters, so there are no jobs to list")
    # Of a list of many members, only the region is known before it is read.
    of_many = _of_many(lists)
    known = {"cluster": filters["cluster"]} if of_many else filters
    own = any(collector.per.own_tokens for collector, _ in lists)
    noun = "list of jobs" if of_many or own else "configured member"
    return chosen([(each, names_in(each[1])) for each in lists], known, noun)


def _of_many(lists: Sequence[Listed]) -> bool:
    return any(collector.per.needs_account or collector.per.key == "" for collector, _ in lists)


def listing_of(cluster: Cluster) -> Collector:
    """Return the collector that lists a region's jobs.

    The one in `collect`, or that of members or, without members, of tokens.
    """
    listing = [each for each in collectors_of("clusters") if each.lists_jobs]
    in_order = sorted(
        listing, key=lambda each: (each.name not in cluster.collect, not each.default, not each.per.own_tokens)
    )
    return next((each for each in in_order if any(True for _ in each.per.subjects(cluster, ""))), in_order[0])


async def _owner(region: Region, collector: Collector) -> str:
    """Return the user whom the region's token belongs to, where the list is of that user.

    Empty where that is unknown.
    """
    if collector.per.own_tokens and region.cluster.users is None:
        # The login says whose it is. Where that fails, the request for the jobs will say why.
        with suppress(PollError):
            await region.tokens.own.current()
        return region.tokens.own.issued.owner
    return ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A member's listing, or the reason why there is none."""

    member: Subject
    listing: JobListing
    error: PollError | None = None

    @property
    def missing(self) -> str:
        """The part of the member's jobs that is missing, in words; empty if none is."""
        if self.error is not None:
            return f": the jobs could not be read: {self.error}"
        return "" if self.listing.complete else f": {self.listing.rejected} of the jobs could not be read"

    @property
    def in_json(self) -> UnreadMember:
        rejected = None if self.error is not None else self.listing.rejected
        return UnreadMember(
            cluster=self.member.source,
            group=self.member.group,
            user=self.member.user,
            unreadable_records=rejected,
            error=failure(self.error),
        )


def _passing(lists: Sequence[Listed], answers: list[_Answer], filters: Filters) -> list[_Answer]:
    """Return the answers of members that pass, which lists of many members name only in the answer. Raises UsageError."""
    if not _of_many(lists):
        return answers
    unread = [answer for answer in answers if answer.error is not None and not answer.member.user]
    if not unread:
        return chosen([(answer, names_in(answer.member)) for answer in answers], filters, "listed member")
    # The users in these lists are unknown.
    return [answer for answer in answers if answer in unread or passes(names_in(answer.member), filters)]


async def _list(components: Components, args: argparse.Namespace) -> int:
    """List all jobs simultaneously and print them; the exit status. Raises OutputError and UsageError."""
    filters = filters_of(args)
    try:
        lists = await _chosen(components, filters)
        with progress("asking", len(lists)) as advance:
            answered = await asyncio.gather(*(_ask(components, *each, advance) for each in lists))
        answers = _passing(lists, list(chain.from_iterable(answered)), filters)
    finally:
        await components.close()
    rows = [
        job_row(answer.member, job)
        for answer in answers
        for job in answer.listing.jobs
        if args.state is None or job.state in args.state
    ]
    unread = [answer for answer in answers if answer.missing]
    warn_alike((answer.member.source, answer.member.target, answer.missing) for answer in unread)
    if args.format == "json":
        now = timestamp(components.context.clock.now())
        missing = [answer.in_json for answer in unread]
        write(encoded(Jobs(time=now, ok=not unread, jobs=rows, unread_members=missing)))
    elif rows:
        print_text(job_table(rows, wide=args.wide))
    else:
        print_text("no jobs that could be read\n" if unread else "no jobs\n")
    return 1 if unread else 0


async def _ask(
    components: Components, collector: Collector, subject: Subject, advance: Callable[[], None]
) -> list[_Answer]:
    try:
        found = await collector.start(components.sources[subject.source], subject).poll()
    except PollError as error:
        return [_Answer(subject, JobListing(()), error)]
    else:
        return [_Answer(*of_member) for of_member in listings_of(subject, found)]
    finally:
        advance()
