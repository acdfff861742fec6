"""The jobs of a token's own user at one scheduler: another way to see a job than the member lists of a group.

Source: the page 查询实时作业列表 (``GET /hpc/openapi/v2/jobs``), which lists ended jobs for five minutes.
"""

from typing import Annotated

import msgspec

from exporter.errors import DecodeError
from exporter.records import Job, JobListing, JobState
from exporter.scnet import wire
from exporter.scnet.client import encoded
from exporter.scnet.envelope import open_envelope
from exporter.upstream import Request, Response, TokenProvider, Upstream, call_with_token, excerpt

OWN_JOBS = "own_jobs"
PAGE_SIZE = 200
# A user with more jobs than this is no longer looked at completely.
MAX_PAGES = 50


class WirePage(msgspec.Struct, gc=False):
    """``total`` is met as text, ``list`` as null."""

    rows: list[msgspec.Raw] | None = msgspec.field(name="list", default=None)
    total: Annotated[int, msgspec.Meta(ge=0)] | None = None


class WireOwnJob(msgspec.Struct, gc=False, rename="camel"):
    """Amounts are of what is in use. ``nodeUsed`` is left out: a number here, names there."""

    job_id: int | str
    job_name: str | int | None = None
    job_status: str | None = None
    proc_num_used: int | str | None = None


_page = msgspec.json.Decoder(WirePage | None, strict=False)
_job = msgspec.json.Decoder(WireOwnJob)


async def own_jobs(
    upstream: Upstream, hpc_url: str, scheduler_id: str, tokens: TokenProvider, owner: str | None = None
) -> JobListing:
    """The jobs at a scheduler of the user that `tokens` belong to, or of `owner` where the region allows that.

    Raises PollError. A listing that is not complete has `rejected` above 0.
    """
    jobs: dict[str, Job] = {}
    unread = 0
    for page in range(MAX_PAGES):
        found = await one_page(upstream, page_url(hpc_url, scheduler_id, page * PAGE_SIZE, owner), tokens)
        rows = found.rows or []
        before = len(jobs)
        for row in wire.read_each(rows, lambda raw: wire.read_one(_job.decode, raw)):
            if row is None or row.job_id == "":
                unread += 1
            else:
                jobs[str(row.job_id)] = to_job(row)
        missing = missing_rows(found, len(jobs) + unread, len(rows))
        if missing == 0 or len(jobs) == before:
            break
    return JobListing(tuple(jobs.values()), unread + missing)


def missing_rows(page: WirePage, seen: int, rows: int) -> int:
    """How many rows are still to come, at least; without a total a page that is not full is the last one."""
    if page.total is None:
        return int(rows >= PAGE_SIZE)
    return max(0, page.total - seen)


def page_url(hpc_url: str, scheduler_id: str, start: int, owner: str | None) -> str:
    of_owner = "" if owner is None else f"&strJobOwner={encoded(owner)}"
    return f"{hpc_url}/hpc/openapi/v2/jobs?strClusterIDList={encoded(scheduler_id)}{of_owner}&start={start}&limit={PAGE_SIZE}"


async def one_page(upstream: Upstream, url: str, tokens: TokenProvider) -> WirePage:
    def request(token: str) -> Request:
        return Request(OWN_JOBS, url, headers={"token": token}, secrets=(token,))

    return await call_with_token(upstream, tokens, request, read_page)


def read_page(response: Response) -> WirePage:
    """One page of the list; null is one without jobs. Raises DecodeError for anything else that holds no list."""
    data = open_envelope(response)
    try:
        page = _page.decode(data)
    except wire.UNREADABLE:
        raise DecodeError(f"the answer is not a page of jobs: {excerpt(bytes(data))}") from None
    if page is not None and page.rows is None and page.total is None:
        raise DecodeError(f"the answer is not a page of jobs: {excerpt(bytes(data))}")
    return page or WirePage()


def to_job(row: WireOwnJob) -> Job:
    cores = row.proc_num_used if not isinstance(row.proc_num_used, str) else number(row.proc_num_used)
    return Job(
        str(row.job_id),
        "" if row.job_name is None else str(row.job_name),
        wire.JOB_STATUSES.get(row.job_status or "", JobState.UNKNOWN),
        allocated_cpus=cores if cores is not None and cores >= 0 else None,
    )


def number(text: str) -> int | None:
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else None  # noqa: PLR2004 - below 2^53
