"""The jobs of each member of a group (page 查询成员实时作业列表)."""

from typing import Final

import msgspec

from exporter.errors import RecordError
from exporter.http import Response, one_line
from exporter.metrics.family import Text
from exporter.records import Job, JobListing, JobState
from exporter.sources import jobs
from exporter.sources.collector import Collector, Subject, list_of, raise_if_all_rejected, register
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.states import PAGE_STATES, state_and_word, state_of
from exporter.sources.scnet.subjects import MEMBER
from exporter.sources.values import (
    NULL,
    UNREADABLE,
    Count,
    count_of,
    id_of,
    id_of_number,
    id_of_text,
    text_of,
)

# Up to this size all jobs are decoded in one go, in about a millisecond; a longer list is decoded job by job,
# so that the thread it is decoded in lets the event loop have its turn.
ONE_GO_LIMIT: Final = 256 * 1024


class _Job(msgspec.Struct, gc=False, rename="camel"):
    """Requested: node, proc, gpu, dcu ``...NumReq``. In use: ``cpuCore``, ``gpuNum``, ``dcuNumUsed``."""

    id: int | str | float
    status: str | None = None
    name: str | int | None = None
    node_num_req: Count | None = None
    proc_num_req: Count | None = None
    gpu_num_req: Count | None = None
    dcu_num_req: Count | None = None
    cpu_core: Count | None = None
    gpu_num: Count | None = None
    dcu_num_used: Count | None = None


# The same, with each field to be read on its own: one that is odd must not cost the others.
_RawJob = msgspec.defstruct(
    "_RawJob", [(name, msgspec.Raw, NULL) for name in _Job.__struct_fields__], gc=False, rename="camel"
)

_jobs = msgspec.json.Decoder(list[_Job], strict=False)
_job = msgspec.json.Decoder(_Job, strict=False)
_raw_job = msgspec.json.Decoder(_RawJob)


def read_jobs(response: Response) -> JobListing:
    """Return the jobs of one member in an answer. Raises PollError."""
    listing = job_listing(open_envelope(response))
    return listing.fingerprinted(response.body) if listing.jobs else listing


def job_listing(data: msgspec.Raw) -> JobListing:
    """Return the listed jobs. Raises DecodeError where the data is no list, or holds rows of which none can be read."""
    listed = _in_one_go(data)
    rejected = odd = 0
    if listed is None:
        listed, rows = [], list_of(data)
        for raw in rows:
            try:
                job, odd_values = _read_job(raw)
            except RecordError:
                continue
            listed.append(job)
            odd += odd_values
        rejected = len(rows) - len(listed)
        raise_if_all_rejected(listed, rejected, data)
    unknown = sum([job.state is JobState.UNKNOWN for job in listed])
    return JobListing(tuple(listed), rejected=rejected, rejected_values=odd, unknown_states=unknown)


def _in_one_go(data: msgspec.Raw) -> list[Job] | None:
    """All jobs, if there are not too many and nothing about them is odd."""
    body = bytes(data)
    if len(body) > ONE_GO_LIMIT:
        return None
    try:
        return list(map(_to_job, _jobs.decode(body)))
    except (*UNREADABLE, RecordError):
        return None


def _read_job(raw: msgspec.Raw) -> tuple[Job, int]:
    """One job and how many of its values cannot be used. Raises RecordError for one without a usable id."""
    try:
        return _to_job(_job.decode(raw)), 0
    except UNREADABLE:
        pass
    try:
        fields = msgspec.structs.astuple(_raw_job.decode(raw))
    except UNREADABLE as error:
        raise RecordError(str(error)) from None
    return _piece_by_piece(*fields)


def _piece_by_piece(
    raw_id: msgspec.Raw, raw_status: msgspec.Raw, raw_name: msgspec.Raw, *amounts: msgspec.Raw
) -> tuple[Job, int]:
    """Return a job of which not all values can be read, and how many of them make no sense.

    Raises RecordError as `_read_job`.
    """
    job_id = id_of(raw_id)
    if job_id is None:
        raise RecordError("a job without a usable id")
    name = text_of(raw_name)
    state, word = state_and_word(raw_status)
    counts = [count_of(raw) for raw in amounts]
    odd = (name is None) + sum(is_odd for _, is_odd in counts)
    nodes, cpus, gpus, dcus, used_cpus, used_gpus, used_dcus = (count for count, _ in counts)
    return Job(job_id, name or "", state, nodes, cpus, gpus, dcus, used_cpus, used_gpus, used_dcus, word), odd


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
    """Polls the jobs of one member and hands them to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._endpoint = region.endpoint(MEMBER_JOBS, subject)
        self._followed = jobs.followed(MEMBER_JOBS, subject)
        self._shown = jobs.ListedJobs(region.context, self._followed.target, region.cluster.poll.interval)

    async def poll(self) -> JobListing:
        return await self._endpoint.get(read_jobs)

    async def publish(self, records: JobListing) -> None:
        self._region.context.count_flaws(self._followed.target, records)
        await self._shown.show({self._followed: records}, records.fingerprint)


def _whose(subject: Subject) -> str:
    return f"use the token of an administrator of group {subject.group_id}"


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
        whose=_whose,
        lists_jobs=True,
        once=jobs.ONCE,
    )
)
