"""The jobs of each member of a group (page 查询成员实时作业列表)."""

from typing import Final

import msgspec

from exporter.errors import RecordError
from exporter.http import Response, one_line
from exporter.metrics.family import Text
from exporter.records import Job, JobListing, JobState, distinct
from exporter.sources import jobs
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.decoding import in_one_go, list_of, read_each, read_row_and_flaws
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.states import PAGE_STATES, state_and_word, state_of
from exporter.sources.scnet.subjects import MEMBER
from exporter.sources.values import (
    NULL,
    UNREADABLE,
    Count,
    Id,
    Name,
    id_of_number,
    id_of_text,
)


class _Amounts(msgspec.Struct, gc=False, rename="camel"):
    """Requested: node, proc, gpu, dcu ``...NumReq``. In use: ``cpuCore``, ``gpuNum``, ``dcuNumUsed``."""

    node_num_req: Count | None = None
    proc_num_req: Count | None = None
    gpu_num_req: Count | None = None
    dcu_num_req: Count | None = None
    cpu_core: Count | None = None
    gpu_num: Count | None = None
    dcu_num_used: Count | None = None


class _Job(_Amounts, gc=False, rename="camel", kw_only=True):
    id: int | str | float
    status: str | None = None
    name: str | int | None = None


class _OddJob(_Amounts, gc=False, rename="camel", kw_only=True):
    """The same in all forms that are met: these take longer to read."""

    id: Id
    status: msgspec.Raw = NULL
    name: Name = Name("")


_jobs = msgspec.json.Decoder(list[_Job], strict=False)
_job = msgspec.json.Decoder(_Job, strict=False)


def read_jobs(response: Response) -> JobListing:
    """Return the jobs of one member in an answer. Raises PollError."""
    listing = job_listing(open_envelope(response))
    return listing.fingerprinted(response.body) if listing.jobs else listing


def job_listing(data: msgspec.Raw) -> JobListing:
    """Return the listed jobs. Raises DecodeError where the data is no list, or holds rows of which none can be read."""
    listed = in_one_go(data, lambda body: list(map(_to_job, _jobs.decode(body))))
    rejected = odd = 0
    if listed is None:
        read, rejected = read_each(data, list_of(data), _read_job)
        listed, odd = [job for job, _ in read], sum(flaws for _, flaws in read)
    once = distinct(listed)
    unknown = sum([job.state is JobState.UNKNOWN for job in once])
    return JobListing(once, rejected=rejected, rejected_values=odd, unknown_states=unknown)


def _read_job(raw: msgspec.Raw) -> tuple[Job, int]:
    """One job and how many of its values cannot be used. Raises RecordError for one without a usable id."""
    try:
        return _to_job(_job.decode(raw)), 0
    except UNREADABLE:
        pass
    row, flaws = read_row_and_flaws(raw, _OddJob)
    state, word = state_and_word(row.status)
    return (
        Job(
            str(row.id),
            str(row.name),
            state,
            row.node_num_req,
            row.proc_num_req,
            row.gpu_num_req,
            row.dcu_num_req,
            row.cpu_core,
            row.gpu_num,
            row.dcu_num_used,
            word,
        ),
        flaws,
    )


def _to_job(sent: _Job) -> Job:
    """Return the job. Raises RecordError if its id cannot be used."""
    # Nearly always the id is plain text and the state one of the page's: anything else is looked at more closely.
    job_id, status = sent.id, sent.status
    if type(job_id) is not str or not job_id.isalnum():
        job_id = _plain_id(job_id)
    state, word = PAGE_STATES.get(status or ""), ""
    if state is None:
        state = state_of(status or "")
        word = "" if state is not JobState.UNKNOWN else one_line(status or "")
    return Job(
        job_id,
        "" if sent.name is None else str(sent.name),
        state,
        sent.node_num_req,
        sent.proc_num_req,
        sent.gpu_num_req,
        sent.dcu_num_req,
        sent.cpu_core,
        sent.gpu_num,
        sent.dcu_num_used,
        word,
    )


def _plain_id(value: str | float) -> str:
    """Return an id as text. Raises RecordError for one that cannot be used."""
    job_id = id_of_text(value) if isinstance(value, str) else id_of_number(value)
    if job_id is None:
        raise RecordError("a job without a usable id")
    return job_id


class MemberPolling:
    """Polls the jobs of one member and passes them to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._endpoint = region.endpoint(MEMBER_JOBS, subject)
        self._followed = jobs.followed(MEMBER_JOBS, subject)
        self._shown = jobs.ListedJobs(region.context, self._followed.target, region.cluster.poll.interval)

    async def poll(self) -> JobListing:
        return await self._endpoint.get(read_jobs)

    async def publish(self, records: JobListing) -> None:
        await self._shown.show({self._followed: records}, records)


MEMBER_JOBS: Final = register(
    Collector(
        name="member_jobs",
        path="/ac/openapi/v2/clusters/{cluster_id}/groups/{group_id}/clusterUserNames/{user}/jobs",
        per=MEMBER,
        title=Text("member jobs", "成员作业"),
        gives=Text("job lists of members", "成员的作业列表"),
        families=jobs.FAMILIES,
        start=MemberPolling,
        default=True,
        advice="use the token of an administrator of group {group_id}",
        lists_jobs=True,
        once=jobs.ONCE,
    )
)
