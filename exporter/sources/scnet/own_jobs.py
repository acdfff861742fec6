"""The jobs of a token's own user: for users without a group administrator, and for the command that deletes jobs.

Source: the page 查询实时作业列表 (``GET /hpc/openapi/v2/jobs``), which lists ended jobs for five minutes.
"""

from collections.abc import Awaitable
from datetime import tzinfo
from functools import partial
from typing import Final

import msgspec

from exporter.http import Endpoint, TokenProvider
from exporter.metrics.family import Text
from exporter.records import WAITS, Job, JobListing, JobState
from exporter.sources import jobs
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.decoding import read_row
from exporter.sources.scnet.api import encoded
from exporter.sources.scnet.owner import Owner
from exporter.sources.scnet.pages import JobRow, Key, Page, Reading, Wanted, job_of, read_page
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.states import state_and_word
from exporter.sources.scnet.subjects import TOKEN_USER
from exporter.sources.values import NULL

NAME: Final = "own_jobs"
PAGE_SIZE = 200
# A user with more jobs than this is no longer looked at completely.
MAX_PAGES = 50


class OwnJob(JobRow, gc=False, rename="camel"):
    """The amount is that in use. ``nodeUsed`` is left out: a number here, names there."""

    job_state: msgspec.Raw = msgspec.field(name="jobStatus", default=NULL)


async def own_jobs(region: Region, scheduler_id: str, tokens: TokenProvider, owner: str | None = None) -> JobListing:
    """Return the jobs at a scheduler of the user that `tokens` belong to, or of `owner` where the region allows that.

    Raises PollError; DecodeError if no row can be used. A listing that is not complete has `rejected` above 0.
    """
    found = Reading[Job]()

    def ask(wanted: Wanted) -> Awaitable[Page]:
        url = page_url(region.cluster.hpc_url, scheduler_id, wanted.start, owner)
        return Endpoint(region.upstream, tokens, NAME, url).get(lambda response: read_page(response, OWN_JOBS))

    read = partial(read_job, scheduler_id=scheduler_id, zone=region.context.zone)
    await found.add_list(ask, read, size=PAGE_SIZE, most=MAX_PAGES)
    found.check()
    listed = tuple(found.rows.values())
    unknown = sum(job.state is JobState.UNKNOWN for job in listed)
    return JobListing(listed, rejected=len(found.rejected) + found.missing, unknown_states=unknown)


def page_url(hpc_url: str, scheduler_id: str, start: int, owner: str | None) -> str:
    of_owner = "" if owner is None else f"&strJobOwner={encoded(owner)}"
    return f"{hpc_url}/hpc/openapi/v2/jobs?strClusterIDList={encoded(scheduler_id)}{of_owner}&start={start}&limit={PAGE_SIZE}"


def read_job(raw: msgspec.Raw, scheduler_id: str, zone: tzinfo) -> tuple[Key, Job]:
    """One job by its id. Raises RecordError for one without a usable id."""
    row = read_row(raw, OwnJob)
    state, word = state_and_word(row.job_state)
    waits, cores = state in WAITS, row.proc_num_used
    # A job that waits uses none: the number is that of its request, or 0 where that is not told.
    requested, allocated = (cores or None, 0) if waits else (None, cores)
    amounts = (None, requested, None, None, allocated, None, None)
    job = job_of(row, state, word, amounts, zone, scheduler=scheduler_id)
    return (job.id,), job


class OwnPolling:
    """Polls the jobs of a token's own user at all schedulers of a region, and passes them to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._user = subject.user
        self._owner = Owner(region, subject)
        self._followed = jobs.followed(OWN_JOBS, subject)
        self._shown = jobs.ListedJobs(
            region.context, self._followed.target, region.cluster.poll.interval, tells_queues=True
        )
        self._names = jobs.SchedulerNames(region.context, region.name)

    async def poll(self) -> JobListing:
        return await self._owner.asked(self._ask)

    async def publish(self, records: JobListing) -> None:
        await self._shown.show({self._followed: records}, records)

    async def _ask(self) -> JobListing:
        token = self._owner.token
        owner = None if await self._owner.mine() else self._user
        schedulers = await self._region.scheduler_ids.get()
        found = {each: await own_jobs(self._region, each, token, owner) for each in sorted(schedulers)}
        known = self._names.known(found).get(self._followed.member, {})
        listing = jobs.joined_listing({each: found[each] for each in self._names.in_order(found)}, known)
        self._names.remember([(self._followed.member, listing)])
        return listing


OWN_JOBS: Final = register(
    Collector(
        name=NAME,
        path="/hpc/openapi/v2/jobs",
        per=TOKEN_USER,
        title=Text("own jobs", "自己的作业"),
        gives=Text(
            "jobs of the token's own user, with queue, reason and start",
            "令牌所属用户自己的作业，含队列、原因和开始时间",
        ),
        families=jobs.FAMILIES_WITH_QUEUES,
        start=OwnPolling,
        default=False,
        lists_jobs=True,
        once=jobs.ONCE,
    )
)
