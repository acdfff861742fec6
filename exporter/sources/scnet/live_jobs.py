"""The live jobs of all regions and members of an account, with their true times, by one list in pages.

No official page of ``POST /ac/openapi/v2/jobs/monitor/page-list`` is kept; four public clients read it as here. It is
requested once for all regions of an account that collect it. ``showAllData`` adds the requested amounts, and besides them paths
and a password, which are never read and never repeated in an error.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import tzinfo
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from exporter.config.model import All
from exporter.errors import (
    AuthenticationError,
    DecodeError,
    PermissionDeniedError,
    PollError,
    RecordError,
    TransientError,
)
from exporter.http import Endpoint, Response
from exporter.metrics.family import Text
from exporter.records import ENDED, WAITS, Job, JobListing, JobState
from exporter.sources import jobs
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.decoding import read_row
from exporter.sources.scnet.member_jobs import MEMBER_JOBS, read_jobs
from exporter.sources.scnet.pages import REFUSALS, JobRow, Key, Page, Reading, Wanted, job_of, read_page
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.states import state_and_word, state_of
from exporter.sources.scnet.subjects import MEMBER, OF_ACCOUNT
from exporter.sources.values import UNREADABLE, Count, Id, Name, epoch_seconds
from exporter.threads import off_loop
from exporter.tracking import MemberKey

log = structlog.get_logger()

# Without a start, the last seven days are listed only.
EARLY: Final = "2000-01-01 00:00:00"
# Sorting this many jobs takes a few milliseconds; more is done in a thread.
ON_LOOP_LIMIT: Final = 1000
# Seconds for which an answer serves the other regions, whose polls begin at about the same moment.
SHARED_FOR: Final = 2.0
# Seconds until the jobs of the group are requested again after they were refused, and until it is checked again whether a list
# with the jobs of one user has left out those of others.
REFUSED_FOR: Final = 3600.0
# Members whose own lists are requested for that check.
CHECKED: Final = 5


class LiveJob(JobRow, gc=False, rename="camel", kw_only=True):
    """A row. ``...Req`` and ``cpuCore``, ``gpuNum`` are those of the member lists; ``...Used`` is always there."""

    cluster_id: Id
    cluster_user_name: Name
    job_manager_id: Id = Id("")
    etime: Any = None
    init_content_attr: str | None = None
    node_num_req: Count | None = None
    proc_num_req: Count | None = None
    gpu_num_req: Count | None = None
    dcu_num_req: Count | None = None
    cpu_core: Count | None = None
    gpu_num: Count | None = None
    node_num_used: Count | None = None
    gpu_num_used: Count | None = None
    dcu_num_used: Count | None = None


class SchedulersOwn(msgspec.Struct):
    """Of ``initContentAttr``, which is JSON in a text."""

    job_state: str | None = msgspec.field(name="JobState", default=None)


class LiveJobs(NamedTuple):
    """The jobs by region, user and scheduler; `rejected` rows by region, "" for those that name none.

    `missing` counts rows that the total promises and no page had. `refused` is why there are none of other users; empty where
    they were not refused.
    """

    by_region: Mapping[str, Mapping[str, Mapping[str, tuple[Job, ...]]]]
    rejected: Mapping[str, int]
    missing: int
    refused: str
    size: int

    @property
    def of_several(self) -> bool:
        """Whether several users of one region are listed, so that it is not the jobs of one user alone."""
        return any(len(users) > 1 for users in self.by_region.values())


def live_job(row: LiveJob, zone: tzinfo) -> Job:
    state, word = state_and_word(row.job_state)
    waits = state in WAITS
    if state is JobState.COMPLETED:
        state = outcome_of(row)

    def requested(told: int | None, used: int | None) -> int | None:
        # Of a job that waits, the amounts in use are those of its request, or 0.
        return told if told is not None or not waits else used or None

    def allocated(told: int | None, used: int | None) -> int | None:
        return 0 if waits else used if told is None else told

    amounts = (
        requested(row.node_num_req, row.node_num_used),
        requested(row.proc_num_req, row.proc_num_used),
        requested(row.gpu_num_req, row.gpu_num_used),
        requested(row.dcu_num_req, row.dcu_num_used),
        allocated(row.cpu_core, row.proc_num_used),
        allocated(row.gpu_num, row.gpu_num_used),
        allocated(None, row.dcu_num_used),
    )
    ended = epoch_seconds(row.etime, zone) if state in ENDED else None
    return job_of(row, state, word, amounts, zone, ended=ended, scheduler=str(row.job_manager_id))


def outcome_of(row: LiveJob) -> JobState:
    """Return the outcome of a job that is listed as completed, which means no more than ended."""
    if isinstance(row.reason, str) and row.reason.strip().casefold() == "nonzeroexitcode":
        return JobState.FAILED
    try:
        own = msgspec.json.decode(row.init_content_attr or "{}", type=SchedulersOwn).job_state
    except UNREADABLE:
        own = None
    state = state_of(own or "")
    return state if state in ENDED else JobState.COMPLETED


def read_live(raw: msgspec.Raw) -> tuple[Key, LiveJob]:
    """One row, by its region, scheduler and id. Raises RecordError for one without these, or without a user."""
    row = read_row(raw, LiveJob)
    if not row.cluster_user_name.strip():
        raise RecordError("a job without a user")
    return (row.cluster_id, row.job_manager_id, row.job_id), row


def sorted_jobs(reading: Reading[LiveJob], missing: int, refused: str, zone: tzinfo) -> LiveJobs:
    """Return the jobs by region, user and scheduler. Raises DecodeError if there are rows and none can be read."""
    reading.check()
    found: dict[str, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in sorted(reading.rows.values(), key=lambda row: (row.job_manager_id, row.job_id)):
        region, user, scheduler = str(row.cluster_id), str(row.cluster_user_name), str(row.job_manager_id)
        found[region][user][scheduler].append(live_job(row, zone))
    rejected = Counter(region_of(msgspec.Raw(raw)) for raw in reading.rejected)
    return LiveJobs(found, rejected, missing, refused, len(reading.rows))


class OnlyRegion(msgspec.Struct, rename="camel"):
    """The region of a row that cannot be read otherwise."""

    cluster_id: Id = Id("")


def region_of(raw: msgspec.Raw) -> str:
    """Return the region that a row is of; empty where it does not say."""
    try:
        return str(read_row(raw, OnlyRegion).cluster_id)
    except RecordError:
        return ""


class SharedList:
    """The list of one account. Regions that request it at about the same moment share the answer, and a failure, too."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._known: tuple[float, LiveJobs | PollError] | None = None
        self._refused_until = -float("inf")
        self._refusal = ""

    async def read(self, region: Region) -> LiveJobs:
        """Return all live jobs. Raises PollError."""
        clock = region.context.clock
        wanted_since = clock.monotonic() - min(SHARED_FOR, region.cluster.poll.interval / 2)
        async with self._lock:
            if self._known is None or self._known[0] < wanted_since:
                self._known = None
                try:
                    found: LiveJobs | PollError = await self._read(region)
                except PollError as error:
                    found = error
                self._known = clock.monotonic(), found
            _, found = self._known
        if isinstance(found, PollError):
            raise found
        return found

    async def _read(self, region: Region) -> LiveJobs:
        clock = region.context.clock
        if clock.monotonic() < self._refused_until:
            return await read_all(region, self._refusal)
        try:
            return await read_all(region)
        except REFUSALS as error:
            try:
                found = await read_all(region, str(error))
            except PollError:
                raise error from None
            self._refused_until, self._refusal = clock.monotonic() + REFUSED_FOR, str(error)
            return found


async def read_all(region: Region, refused: str = "") -> LiveJobs:
    """Return the jobs of all pages; with `refused`, why those of the group are not listed, those of the token's user alone.

    Raises PollError: that of the first page that fails.
    """
    zone = region.context.zone
    first = await read_pages(region, of_group=not refused)
    if not first.missing and first.steady:
        return await off_loop(first.seen, ON_LOOP_LIMIT, lambda: sorted_jobs(first, 0, refused, zone))
    # Rows moved while pages were read. The total does not notice where one was skipped and another one ended.
    again = await read_pages(region, of_group=not refused)
    missing = 0
    if again.missing or not again.steady:
        missing = max(0, again.missing - len(first.rows.keys() - again.rows.keys()))
        again.rows = first.rows | again.rows
    return await off_loop(again.seen, ON_LOOP_LIMIT, lambda: sorted_jobs(again, missing, refused, zone))


async def read_pages(region: Region, *, of_group: bool) -> Reading[LiveJob]:
    """Read all pages. Raises PollError."""
    reading = Reading[LiveJob]()
    await reading.add_list(
        lambda wanted: page_endpoint(region, wanted, of_group=of_group).get(without_excerpts),
        read_live,
    )
    return reading


def without_excerpts(response: Response) -> Page:
    """One page. Raises PollError; none of the answer is repeated in its text: there may be a password in it."""
    try:
        return read_page(response, LIVE_JOBS)
    except DecodeError:
        raise DecodeError(Text("the answer is not a page of jobs", "响应不是作业列表")) from None


def page_endpoint(region: Region, wanted: Wanted, *, of_group: bool) -> Endpoint:
    body = {
        "page": wanted.number,
        "size": wanted.size,
        **dict.fromkeys(("clusterId", "queue", "jobId", "jobState", "endTime", "clusterUserName"), ""),
        "startTime": EARLY,
        "showGroupJobs": of_group,
        "showAllData": True,
    }
    return region.tokens.platform_endpoint(LIVE_JOBS.name, LIVE_JOBS.path, body)


class GroupCheck:
    """Checks that the list has the jobs of all members of a region: a platform may silently leave out those of others.

    A list with several users is complete. Otherwise members without jobs cannot be told from members who are left out:
    then the members' own lists of a few of them are requested, once an hour.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._due = -math.inf
        self._reason = ""

    async def refused(self, found: LiveJobs, listed: Collection[str], members: Sequence[Subject]) -> str:
        """Return why the jobs of other members are not in the list; empty where nothing says that any are missing."""
        clock = self._region.context.clock
        unseen = [member for member in members if member.user not in listed]
        if found.refused:
            return found.refused
        if found.of_several or not unseen:
            self._reason, self._due = "", clock.monotonic()
        elif clock.monotonic() >= self._due:
            self._due = clock.monotonic() + REFUSED_FOR
            self._reason = await self._missing(unseen[:CHECKED])
        return self._reason

    async def _missing(self, members: Sequence[Subject]) -> str:
        for member in members:
            endpoint = replace(self._region.endpoint(MEMBER_JOBS, member), collector=LIVE_JOBS.name)
            try:
                listing = await endpoint.get(read_jobs)
            except (AuthenticationError, PermissionDeniedError) as error:
                return f"ignored, and the list of a member was refused: {error}"
            except TransientError:
                self._due = -math.inf
                continue
            except PollError:
                continue
            if any(job.state not in ENDED for job in listing.jobs):
                return "ignored: a member's own list has jobs that this one leaves out"
        return ""


class LivePolling:
    """Polls the live jobs of an account, and shows those of one region."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._key = LIVE_JOBS.key(subject)
        self._list: SharedList = region.tokens.shared(LIVE_JOBS.name, SharedList)
        self._shown = jobs.ListedJobs(region.context, self._key, region.cluster.poll.interval, tells_queues=True)
        # Users without configured members: those who have or had a job.
        self._users: set[str] = set()
        self._members = tuple(MEMBER.subjects(region.cluster, ""))
        self._check = GroupCheck(region)
        self._names = jobs.SchedulerNames(region.context, region.name)

    async def poll(self) -> jobs.Listed:
        found = await self._list.read(self._region)
        cluster = self._region.cluster
        here = found.by_region.get(cluster.cluster_id, {})
        refused = await self._check.refused(found, here.keys(), self._members)
        known = self._names.known(chain.from_iterable(here.values()))
        listed = await off_loop(found.size, ON_LOOP_LIMIT, lambda: self._of_region(found, refused, known))
        self._names.remember((followed.member, listing) for followed, listing in listed.listings.items())
        return listed

    async def publish(self, records: jobs.Listed) -> None:
        self._region.remark(LIVE_JOBS.name, records.remark)
        await self._shown.show(records.listings, records)

    def _of_region(
        self,
        found: LiveJobs,
        refused: str,
        known: Mapping[MemberKey, Mapping[str, str]],
    ) -> jobs.Listed:
        here = found.by_region.get(self._region.cluster.cluster_id, {})
        rejected = found.rejected.get(self._region.cluster.cluster_id, 0) + found.rejected.get("", 0) + found.missing
        self._users |= here.keys() | self._followed_before()
        cluster = self._region.cluster
        if cluster.members or isinstance(cluster.members, All):
            # Those of `all` are none until the platform told them.
            members = self._members
        else:
            members = tuple(Subject(cluster.name, user, cluster.place, user=user) for user in sorted(self._users))
        listings = {
            followed: self._listing(here.get(followed.member.user, {}), rejected, known.get(followed.member, {}))
            for followed in (jobs.followed(LIVE_JOBS, member) for member in members)
            if not refused or followed.member.user in here
        }
        return jobs.Listed(
            listings=listings,
            rejected=rejected,
            unknown_states=sum(listing.unknown_states for listing in listings.values()),
            remark=refusal(self._region, refused),
        )

    def _followed_before(self) -> set[str]:
        """Return the users without a group whose jobs the tracker follows, also from before a restart."""
        service = self._region.context.tracked.service
        members = () if service is None else service.members_of(self._region.name)
        return {member.user for member in members if not member.group_id}

    def _listing(self, of_user: Mapping[str, tuple[Job, ...]], rejected: int, known: Mapping[str, str]) -> JobListing:
        by_scheduler = {
            each: JobListing(of_user[each], unknown_states=sum(job.state is JobState.UNKNOWN for job in of_user[each]))
            for each in self._names.in_order(of_user)
        }
        return msgspec.structs.replace(jobs.joined_listing(by_scheduler, known), rejected=rejected)


def refusal(region: Region, refused: str) -> str:
    """Return a remark, with advice, where the jobs of the group are not listed; empty where they are."""
    if not refused:
        return ""
    return (
        f"{region.cluster.place}: the platform does not list the jobs of the groups of account {region.cluster.account} "
        f"(showGroupJobs: {refused}); {LIVE_JOBS.name} shows the jobs of its own user only: use the account of a group's "
        "administrator, or the lists of members"
    )


LIVE_JOBS: Final = register(
    Collector(
        name="live_jobs",
        path="/ac/openapi/v2/jobs/monitor/page-list",
        per=OF_ACCOUNT,
        title=Text("live jobs", "实时作业"),
        gives=Text(
            "jobs of all members and regions of an account by one list, with queue, reason and times",
            "一个账号在所有区域、所有成员的作业，一次列出，含队列、原因和时间",
        ),
        families=jobs.FAMILIES_WITH_QUEUES,
        start=LivePolling,
        default=False,
        advice="use an account of the platform that may see the jobs, named at {place}",
        lists_jobs=True,
        once=jobs.ONCE,
    )
)
