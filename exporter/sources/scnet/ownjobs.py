"""The jobs of a token's own user at one scheduler: another way to see a job than the member lists of a group.

Source: the page 查询实时作业列表 (``GET /hpc/openapi/v2/jobs``), which lists ended jobs for five minutes.
"""

from typing import NamedTuple

import msgspec

from exporter.errors import DecodeError, RecordError
from exporter.http import Endpoint, Response, TokenProvider, Upstream, excerpt
from exporter.records import Job, JobListing, JobState
from exporter.sources.collector import LISTS, fields_of, list_of, read_row
from exporter.sources.scnet.api import encoded, open_envelope
from exporter.sources.scnet.states import state_and_word
from exporter.sources.values import NULL, Count, Id, Name, count_of
from exporter.text import Text

OWN_JOBS = "own_jobs"
PAGE_SIZE = 200
# A user with more jobs than this is no longer looked at completely.
MAX_PAGES = 50


class OwnJob(msgspec.Struct, gc=False, rename="camel"):
    """The amount is that in use. ``nodeUsed`` is left out: a number here, names there."""

    job_id: Id
    job_name: Name = Name("")
    job_status: msgspec.Raw = NULL
    proc_num_used: Count | None = None


class Page(NamedTuple):
    """`total` is None where the page does not say it, and -1 where it cannot be read."""

    rows: list[msgspec.Raw]
    total: int | None = None


async def own_jobs(
    upstream: Upstream, hpc_url: str, scheduler_id: str, tokens: TokenProvider, owner: str | None = None
) -> JobListing:
    """Return the jobs at a scheduler of the user that `tokens` belong to, or of `owner` where the region allows that.

    Raises PollError; DecodeError if no row can be used. A listing that is not complete has `rejected` above 0.
    """
    jobs: dict[str, Job] = {}
    unread = 0
    for page in range(MAX_PAGES):
        url = page_url(hpc_url, scheduler_id, page * PAGE_SIZE, owner)
        found = await Endpoint(upstream, tokens, OWN_JOBS, url).get(read_page)
        before = len(jobs)
        for row in found.rows:
            try:
                job = read_job(row)
            except RecordError:
                unread += 1
            else:
                jobs[job.id] = job
        missing = missing_rows(found, len(jobs) + unread)
        if missing == 0 or len(jobs) == before:
            break
    if unread and not jobs:
        raise DecodeError(Text(f"none of the answer's {unread} rows can be read", f"响应中的 {unread} 行全部无法解析"))
    unknown = sum(job.state is JobState.UNKNOWN for job in jobs.values())
    return JobListing(tuple(jobs.values()), rejected=unread + missing, unknown_states=unknown)


def missing_rows(page: Page, seen: int) -> int:
    """Return the number of rows still to come, at least; without a total a page that is not full is the last one."""
    if page.total is None:
        return int(len(page.rows) >= PAGE_SIZE)
    return max(0, page.total - seen) if page.total >= 0 else 1


def page_url(hpc_url: str, scheduler_id: str, start: int, owner: str | None) -> str:
    of_owner = "" if owner is None else f"&strJobOwner={encoded(owner)}"
    return f"{hpc_url}/hpc/openapi/v2/jobs?strClusterIDList={encoded(scheduler_id)}{of_owner}&start={start}&limit={PAGE_SIZE}"


def read_page(response: Response) -> Page:
    """One page of the list; null is one without jobs. Raises DecodeError for anything else that holds no list."""
    data = open_envelope(response)
    if not bytes(data).lstrip().startswith(b"{"):
        return Page(list_of(data))
    fields = fields_of(data)
    # Which name the list goes by differs between deployments.
    lists = [fields[name] for name in LISTS if bytes(fields.get(name, NULL)) != b"null"]
    total, _ = count_of(fields.get("total", NULL))
    if not lists and total is None:
        said = excerpt(bytes(data))
        raise DecodeError(Text(f"the answer is not a page of jobs: {said}", f"响应不是作业列表：{said}"))
    if total is None and bytes(fields.get("total", NULL)) != b"null":
        total = -1
    return Page(list_of(lists[0]) if lists else [], total)


def read_job(raw: msgspec.Raw) -> Job:
    """One job. Raises RecordError for one without a usable id."""
    row = read_row(raw, OwnJob)
    state, word = state_and_word(row.job_status)
    return Job(str(row.job_id), str(row.job_name), state, allocated_cpus=row.proc_num_used, raw_state=word)
