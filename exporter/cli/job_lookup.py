"""Lookup of a user's jobs: the lists that show them, and what a list proves."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from exporter.cli.schemas import Verdict
from exporter.errors import PollError
from exporter.records import ENDED, Job, JobListing
from exporter.sources.collector import Subject
from exporter.sources.scnet.member_jobs import MEMBER_JOBS, read_jobs
from exporter.sources.scnet.own_jobs import own_jobs
from exporter.sources.scnet.owner import Owner
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.subjects import MEMBER


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """The jobs that a list showed, by id. `complete`: a job that is not in `jobs` is not there."""

    jobs: Mapping[str, Job]
    complete: bool


def ended(job: Job) -> bool:
    """Whether a listed job is over; one in an unknown state is not."""
    return job.state in ENDED


def verdict(job_id: str, snapshot: JobSnapshot | None) -> Verdict:
    """Return the verdict of a lookup on a job; None: the lookup failed."""
    if snapshot is None:
        return Verdict.UNVERIFIED
    job = snapshot.jobs.get(job_id)
    if job is not None:
        return Verdict.GONE if ended(job) else Verdict.STILL_THERE
    return Verdict.GONE if snapshot.complete else Verdict.UNVERIFIED


class JobLookup:
    """The lists in which a user's jobs can be seen, the better one first."""

    def __init__(self, region: Region, user: str, scheduler_id: str) -> None:
        self._region = region
        self._user = user
        self._scheduler_id = scheduler_id
        self._memberships = [subject for subject in MEMBER.subjects(region.cluster, "") if subject.user == user]

    async def fetch(self) -> JobSnapshot:
        """Return the first list that can be read. Raises PollError: that of the first one, where none can be."""
        if not self._memberships:
            return await self._of_owner()
        # Member lists are documented better, but need a group's administrator and name no scheduler.
        try:
            return await self._of_member()
        except PollError as error:
            with suppress(PollError):
                return await self._of_owner()
            raise error from None

    async def _of_member(self) -> JobSnapshot:
        """Return the jobs that the user has as a member of each configured group."""
        listings = [
            await self._region.endpoint(MEMBER_JOBS, membership).get(read_jobs) for membership in self._memberships
        ]
        jobs: dict[str, Job] = {}
        for listing in listings:
            jobs |= _by_id(listing)
        return JobSnapshot(jobs, all(listing.complete for listing in listings))

    async def _of_owner(self) -> JobSnapshot:
        """Return the jobs of the token's own user; an absence proves something only where that is the user in question.

        A token of unknown owner may list the user's jobs.
        """
        subject = Subject(self._region.name, self._user, self._region.cluster.place, user=self._user)
        owner = Owner(self._region, subject)
        mine = await owner.mine()
        listing = await own_jobs(self._region, self._scheduler_id, owner.token, None if mine else self._user)
        return JobSnapshot(_by_id(listing), mine and listing.complete)


def _by_id(listing: JobListing) -> dict[str, Job]:
    """Return the jobs by their id.

    Of several with one id, those of two schedulers say, the one that has not ended counts.
    """
    jobs: dict[str, Job] = {}
    for job in listing.jobs:
        if job.id not in jobs or ended(jobs[job.id]):
            jobs[job.id] = job
    return jobs
