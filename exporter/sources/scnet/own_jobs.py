"""The jobs of a token's own user: for users without a group administrator, and for the command that deletes jobs.

Source: the page 查询实时作业列表 (``GET /hpc/openapi/v2/jobs``), which lists ended jobs for five minutes.
"""

from datetime import tzinfo
from typing import Any, Final

import msgspec

from exporter.errors import DecodeError, RecordError
from exporter.http import Endpoint, TokenProvider
from exporter.metrics.family import Text
from exporter.records import HAS_STARTED, WAITS, Job, JobListing, JobState
from exporter.sources import jobs
from exporter.sources.collector import Collector, Subject, read_row, register
from exporter.sources.reasons import pending_reason
from exporter.sources.scnet.api import encoded
from exporter.sources.scnet.owner import Owner
from exporter.sources.scnet.pages import read_page
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.states import state_and_word
from exporter.sources.scnet.subjects import TOKEN_USER
from exporter.sources.tracked import Followed
from exporter.sources.values import NULL, Count, Id, Name, epoch_seconds
from exporter.tracking import MemberKey

NAME: Final = "own_jobs"
PAGE_SIZE = 200
# A user with more jobs than this is no longer looked at completely.
MAX_PAGES = 50


class OwnJob(msgspec.Struct, gc=False, rename="camel"):
    """The amount is that in use. ``nodeUsed`` is left out: a number here, names there."""

    job_id: Id
    job_name: Name = Name("")
    job_status: msgspec.Raw = NULL
    queue: Name = Name("")
    reason: Any = None
    proc_num_used: Count | None = None
    job_queue_time: Any = None
    job_start_time: Any = None


async def own_jobs(region: Region, scheduler_id: str, tokens: TokenProvider, owner: str | None = None) -> JobListing:
    """Return the jobs at a scheduler of the user that `tokens` belong to, or of `owner` where the region allows that.

    Raises PollError; DecodeError if no row can be used. A listing that is not complete has `rejected` above 0.
    """
    listed: dict[str, Job] = {}
    unread = position = 0
    for _ in range(MAX_PAGES):
        url = page_url(region.cluster.hpc_url, scheduler_id, position, owner)
        found = await Endpoint(region.upstream, tokens, NAME, url).get(lambda response: read_page(response, OWN_JOBS))
        # A region may give fewer rows than were requested.
        position += len(found.rows)
        before = len(listed)
        for row in found.rows:
            try:
                job = read_job(row, scheduler_id, region.context.zone)
            except RecordError:
                unread += 1
            else:
                listed[job.id] = job
        missing = found.missing(len(listed) + unread, len(listed) - before)
        if missing == 0 or len(listed) == before:
            break
    if unread and not listed:
        raise DecodeError(Text(f"none of the answer's {unread} rows can be read", f"响应中的 {unread} 行全部无法解析"))
    unknown = sum(job.state is JobState.UNKNOWN for job in listed.values())
    return JobListing(tuple(listed.values()), rejected=unread + missing, unknown_states=unknown)


def page_url(hpc_url: str, scheduler_id: str, start: int, owner: str | None) -> str:
    of_owner = "" if owner is None else f"&strJobOwner={encoded(owner)}"
    return f"{hpc_url}/hpc/openapi/v2/jobs?strClusterIDList={encoded(scheduler_id)}{of_owner}&start={start}&limit={PAGE_SIZE}"


def read_job(raw: msgspec.Raw, scheduler_id: str, zone: tzinfo) -> Job:
    """One job. Raises RecordError for one without a usable id."""
    row = read_row(raw, OwnJob)
    state, word = state_and_word(row.job_status)
    waits, cores = state in WAITS, row.proc_num_used
    return Job(
        str(row.job_id),
        str(row.job_name),
        state,
        # A job that waits uses none: the number is that of its request, or 0 where that is not told.
        requested_cpus=cores or None if waits else None,
        allocated_cpus=0 if waits else cores,
        raw_state=word,
        queue=str(row.queue),
        reason=pending_reason(state, row.reason),
        submitted=epoch_seconds(row.job_queue_time, zone),
        # That of a job that waits is an expected one.
        started=epoch_seconds(row.job_start_time, zone) if state in HAS_STARTED else None,
        scheduler=scheduler_id,
    )


class OwnPolling:
    """Polls the jobs of a token's own user at all schedulers of a region, and hands them to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._user = subject.user
        self._owner = Owner(region, subject)
        self._followed = Followed(OWN_JOBS.key(subject), MemberKey(region.name, "", subject.user), "")
        self._shown = jobs.ListedJobs(
            region.context, self._followed.target, region.cluster.poll.interval, tells_queues=True
        )
        self._names = jobs.SchedulerNames(region.context, region.name)

    async def poll(self) -> JobListing:
        return await self._owner.asked(self._ask)

    async def publish(self, records: JobListing) -> None:
        self._region.context.count_flaws(self._followed.target, records)
        await self._shown.show({self._followed: records})

    async def _ask(self) -> JobListing:
        token = self._owner.token
        owner = None if await self._owner.mine() else self._user
        schedulers = await self._region.scheduler_ids.get()
        if not schedulers:
            name = self._region.name
            raise DecodeError(
                Text(
                    f"{name} lists no scheduler whose jobs could be requested", f"{name} 没有列出可以查询作业的调度系统"
                )
            )
        found = {each: await own_jobs(self._region, each, token, owner) for each in sorted(schedulers)}
        return jobs.joined_listing(found, self._names.known(found).get(self._followed.member, {}))


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
