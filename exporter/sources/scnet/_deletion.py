"""Deletes jobs: the one call of this program that destroys.

Nothing that serves may import this module; a test sees to it.

Source: the page 删除作业.
"""

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import urlencode

from exporter.errors import ExporterError
from exporter.http import Request, Response, Upstream, one_line
from exporter.sources.scnet.api import open_envelope
from exporter.sources.values import value_of

# The endpoint's name in messages.
DELETE_JOBS = "delete_jobs"
# The only value that the page names. Other values are other operations.
DELETION = "5"
FORM = "application/x-www-form-urlencoded"

# The separators of strJobInfoMap cannot be escaped, so a name with anything unusual in it is rejected. No scheduler gives
# its jobs longer ids, and no system its users longer names.
JOB_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.\-\[\]]{1,64}")
USER_SIGNS = frozenset("_.-[]")
LONGEST_USER = 64


class UnsafeNameError(ExporterError):
    """A name that could be read as something else than itself."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Jobs of one user at one scheduler.

    Raises UnsafeNameError: one with unsafe names cannot be made, let alone sent.
    """

    scheduler_id: str
    user: str
    job_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        check_scheduler_id(self.scheduler_id)
        check_user(self.user)
        if not self.job_ids:
            raise UnsafeNameError("a deletion without jobs")
        for job_id in self.job_ids:
            check_job_id(job_id)

    @property
    def parameters(self) -> str:
        """The form as the page's samples encode it."""
        jobs = ";".join(f"{self.scheduler_id},{self.user}:{job_id}:" for job_id in self.job_ids)
        return urlencode({"jobMethod": DELETION, "strJobInfoMap": jobs})


def check_job_id(job_id: str) -> None:
    """Raise UnsafeNameError for anything but ASCII letters, digits and ``_ . - [ ]``."""
    if not JOB_ID.fullmatch(job_id):
        raise UnsafeNameError(f"{job_id[:80]!a} is not a job id: only letters, digits and _ . - [ ] can be in one")


def check_scheduler_id(scheduler_id: str) -> None:
    """Raise UnsafeNameError as for a job id."""
    if not JOB_ID.fullmatch(scheduler_id):
        raise UnsafeNameError(f"{scheduler_id[:80]!a} is not a scheduler's id, which is a number like 1638523853")


def check_user(user: str) -> None:
    """Raise UnsafeNameError for anything but letters of any script, ASCII digits and ``_ . - [ ]``."""
    usual = all(char.isalpha() or (char.isascii() and char.isdigit()) or char in USER_SIGNS for char in user)
    # A few letters turn into several characters, with separators among them, where software normalizes what it gets.
    stable = unicodedata.normalize("NFKC", user) == user
    if not user or len(user) > LONGEST_USER or not usual or not stable:
        raise UnsafeNameError(
            f"{user[:80]!a} is not a scheduler user: only letters, digits and _ . - [ ] can be in one"
        )


async def delete_jobs(
    upstream: Upstream, hpc_url: str, deletion: Deletion, token: str, *, in_query: bool = False
) -> str:
    """Ask once, and never again, for the deletion; what the region says about it, which proves nothing.

    `in_query`: the parameters travel in the URL, for deployments that drop the bodies of DELETE requests.
    Raises PollError. Unless it is one of those that reject a request, the jobs may have been deleted all the same.
    """
    url = f"{hpc_url}/hpc/openapi/v2/jobs"
    headers = {"token": token}
    data = None
    if in_query:
        url = f"{url}?{deletion.parameters}"
    else:
        headers["Content-Type"] = FORM
        data = deletion.parameters.encode()
    request = Request(DELETE_JOBS, url, method="DELETE", headers=headers, secrets=(token,), data=data, repeatable=False)
    return await upstream.call(request, read_answer)


def read_answer(response: Response) -> str:
    """Return the schedulers' messages of a success, in one line."""
    said = value_of(open_envelope(response))
    messages = said.values() if isinstance(said, dict) else [said]
    return one_line("; ".join(message for message in messages if isinstance(message, str)))
