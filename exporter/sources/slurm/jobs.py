"""The jobs of a cluster, of all of its accounts and users by one request."""

from collections.abc import Iterator, Mapping
from typing import Final

from exporter.errors import UnexpectedStatusError
from exporter.http import Response
from exporter.metrics.family import Text
from exporter.records import Job, JobListing, JobState, by_id
from exporter.sources import jobs
from exporter.sources.collector import Collector, Subject, label_part, register
from exporter.sources.slurm.api import open_answer
from exporter.sources.slurm.cluster import ADVICE, CLUSTER, SlurmCluster
from exporter.sources.slurm.rows import ClusterJobs, OwnedJob, completed, read_jobs, read_waiting_tasks, tasks_like
from exporter.sources.source import Notice
from exporter.sources.tracked import Followed
from exporter.threads import off_loop
from exporter.tracking import MemberKey

# Sorting this many jobs takes a few milliseconds; more is done in a thread.
SORT_ON_LOOP_LIMIT: Final = 2_000


class JobsPolling:
    """Polls the jobs of a cluster, and passes those of each member to the tracker."""

    def __init__(self, cluster: SlurmCluster, subject: Subject) -> None:
        self._cluster = cluster
        self._key = JOBS.key(subject)
        groups = cluster.cluster.groups
        self._groups = None if groups is None else frozenset(groups)
        interval = cluster.cluster.poll.interval
        self._shown = jobs.ListedJobs(cluster.context, self._key, interval, tells_queues=True)
        self._seen = set[MemberKey]()
        # When a whole list was read last, by the tracker's clock.
        self._listed_at: float | None = None
        self._cut = Notice(
            "slurmrestd cuts off the list of an array's waiting tasks, so some are missing; set SLURM_BITSTR_LEN=0 "
            "in its environment, or use an API of v0.0.40 or later",
            source=cluster.name,
        )

    async def poll(self) -> jobs.Listed:
        fingerprint: int | None
        fingerprint, found = await self._cluster.get(JOBS, JOBS.path, _read)
        if found.cut:
            found = completed(found, await self._waiting_tasks())
            self._cut.update(found.rejected > 0)
            fingerprint = None
        if found.forgotten:
            found.jobs.extend(self._cancelled_tasks(found))
        before = self._members_before()
        return await off_loop(len(found.jobs), SORT_ON_LOOP_LIMIT, lambda: self._sorted(found, before, fingerprint))

    async def publish(self, records: jobs.Listed) -> None:
        self._introduce(records)
        self._seen.update(followed.member for followed in records.listings)
        await self._shown.show(records.listings, records)

    def _introduce(self, records: jobs.Listed) -> None:
        """Tell the tracker that members who were in no list until now had no jobs: their first ones are new."""
        service = self._cluster.context.tracked.service
        if service is None:
            return
        known = service.members_of(self._cluster.name)
        listed = [self._listed_at, *map(service.tracker.last_listed, known)]
        if (last := max((time for time in listed if time is not None), default=None)) is not None:
            for followed in records.listings:
                service.tracker.introduce(followed.member, last)
        if not records.rejected:
            self._listed_at = service.time()

    async def _waiting_tasks(self) -> Mapping[int, list[str]]:
        """Return the waiting tasks of all arrays; none of an API before v0.0.40, which does not tell them."""
        try:
            return await self._cluster.get(JOBS, "/jobs/state/", _read_waiting)
        except UnexpectedStatusError:
            return {}

    def _cancelled_tasks(self, found: ClusterJobs) -> Iterator[OwnedJob]:
        """Yield the tasks that were cancelled with the arrays in `found.forgotten`: those that waited until now."""
        service = self._cluster.context.tracked.service
        listed = {owned.job.id for owned in found.jobs}
        for row in found.forgotten:
            member = MemberKey(self._cluster.name, row.account, row.user)
            known = () if service is None else service.tracker.jobs_of(member)
            ids = [job_id for job_id in known if job_id.startswith(f"{row.job.id}_") and job_id not in listed]
            # No poll saw them: then it is one job, as in Slurm's own lists.
            yield from tasks_like(row, ids or [row.job.id])

    def _members_before(self) -> set[MemberKey]:
        """Return the members who had jobs before, also before a restart."""
        service = self._cluster.context.tracked.service
        return self._seen.union(() if service is None else service.members_of(self._cluster.name))

    def _sorted(self, found: ClusterJobs, before: set[MemberKey], fingerprint: int | None) -> jobs.Listed:
        """Sort the jobs by member. With a row that could not be read no list is complete."""
        source = self._cluster.name
        listed: dict[MemberKey, list[Job]] = {member: [] for member in before}
        for owned in found.jobs:
            listed.setdefault(MemberKey(source, owned.account, owned.user), []).append(owned.job)
        listings = {
            self._followed(member): listing_of(listed[member], found.rejected)
            for member in sorted(listed)
            if self._groups is None or member.group_id in self._groups
        }
        return jobs.Listed(
            rejected=found.rejected,
            rejected_values=found.rejected_values,
            unknown_states=sum(listing.unknown_states for listing in listings.values()),
            fingerprint=fingerprint,
            listings=listings,
        )

    def _followed(self, member: MemberKey) -> Followed:
        group = label_part(member.group_id)
        return Followed(self._key._replace(target=f"{group}/{member.user}"), member, member.group_id)


def listing_of(listed: list[Job], rejected: int) -> JobListing:
    jobs_once = tuple(by_id(listed).values())
    unknown = sum(job.state is JobState.UNKNOWN for job in jobs_once)
    return JobListing(jobs_once, rejected=rejected, unknown_states=unknown)


def _read(response: Response) -> tuple[int, ClusterJobs]:
    """Return the jobs in an answer, and its fingerprint. Raises PollError."""
    return hash(response.body), read_jobs(open_answer(response, "jobs"), response.received)


def _read_waiting(response: Response) -> dict[int, list[str]]:
    return read_waiting_tasks(open_answer(response, "jobs"))


JOBS: Final = register(
    Collector(
        name="jobs",
        path="/jobs/",
        per=CLUSTER,
        title=Text("jobs", "作业"),
        gives=Text("jobs of all members, with queue, reason and true times", "所有成员的作业，含队列、原因和真实时间"),
        families=jobs.FAMILIES_WITH_QUEUES,
        start=JobsPolling,
        default=True,
        advice=ADVICE,
        lists_jobs=True,
        once=jobs.ONCE,
    )
)
