"""The jobs of each member of a group (page 查询成员实时作业列表)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Annotated, Final

from msgspec import Meta

from exporter.metrics import catalogue, families
from exporter.metrics.family import Text
from exporter.metrics.render import Chunks
from exporter.records import HOLDS_NOTHING, Job, JobListing, JobState
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.figures import MemberFigures, member_figures
from exporter.sources.once import USUAL_STATES, Column, Once, Shape, Table, number, states_to_show
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.subjects import MEMBER
from exporter.sources.tracked import Followed
from exporter.threads import off_loop
from exporter.tracking import MemberKey

# Rendering this many jobs takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT = 2_000


class MemberPolling:
    """Polls the jobs of one member and hands them to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._subject = subject
        self._key = MEMBER_JOBS.key(subject)
        member = MemberKey(region.name, subject.group_id, subject.user)
        self._followed = Followed(self._key, member, subject.group)

    async def poll(self) -> JobListing:
        region, subject = self._region, self._subject
        return await region.client.member_jobs(subject.group_id, subject.user, region.tokens.members)

    async def publish(self, records: JobListing) -> None:
        region, services = self._region, self._region.services
        region.count_flaws(MEMBER_JOBS.name, records)
        # Which jobs have series of their own depends on other listings too: then the same answer is not enough.
        if services.display.per_job is not None or not self._is_shown(records.fingerprint):
            await self._show(records)
        services.tracked.observe(self._followed, records, region.cluster.poll.interval)

    async def _show(self, records: JobListing) -> None:
        region, subject, display = self._region, self._subject, self._region.services.display

        def rendered() -> tuple[Chunks, MemberFigures]:
            return families.member_jobs(region.name, subject.group, subject.user, records), member_figures(records)

        chunks, figures = await off_loop(len(records.jobs), RENDER_ON_LOOP_LIMIT, rendered)
        # Series of single jobs must leave when they are switched off, even if the answer stays the same.
        answer = records.fingerprint if display.per_job is None else None
        display.show(self._key, {**chunks, **self._per_job(records)}, figures, answer)

    def _is_shown(self, fingerprint: int | None) -> bool:
        """Whether what the target shows comes from an answer with this fingerprint."""
        return fingerprint is not None and fingerprint == self._region.services.display.answer(self._key)

    def _per_job(self, records: JobListing) -> Chunks:
        region, subject, display = self._region, self._subject, self._region.services.display
        if display.per_job is None:
            return {}
        jobs = display.per_job.grant(self._key, region.name, subject.user, records.jobs)
        display.show_jobs_dropped(region.name)
        return families.per_job(region.name, subject.group, subject.user, jobs)


def _whose(subject: Subject) -> str:
    return f"use the token of an administrator of group {subject.group_id}"


class Requested(Shape, frozen=True, kw_only=True):
    """What jobs asked for: numbers of nodes, cores and devices; null where unknown."""

    nodes: int | None
    cpus: int | None
    gpus: int | None
    dcus: int | None


class Allocated(Shape, frozen=True, kw_only=True):
    """What jobs use now: numbers of cores and devices; null where unknown."""

    cpus: int | None
    gpus: int | None
    dcus: int | None


class StateRow(Shape, frozen=True, kw_only=True):
    """A member's jobs in one state. A sum is null where one of its summands is unknown."""

    jobs: int
    requested: Requested
    allocated: Allocated


class MemberRow(Shape, frozen=True, kw_only=True):
    """A group member's listed jobs."""

    cluster: str
    group: str
    group_id: Annotated[str, Meta(description="text, because it is above 2^53")]
    user: str
    states: Annotated[
        dict[JobState, StateRow],
        Meta(description="running, queued, held and suspended always; others while a job is in them"),
    ]


def _rows(member: Subject, found: JobListing) -> Iterator[MemberRow]:
    of_state = defaultdict[JobState, list[Job]](list, {state: [] for state in USUAL_STATES})
    for job in found.jobs:
        of_state[job.state].append(job)
    states = {
        state: StateRow(jobs=len(jobs), requested=requested(jobs), allocated=allocated(jobs))
        for state, jobs in of_state.items()
    }
    yield MemberRow(
        cluster=member.source, group=member.group, group_id=member.group_id, user=member.user, states=states
    )


def requested(jobs: Iterable[Job]) -> Requested:
    """What all of `jobs` asked for."""
    return Requested(**{name: _total(jobs, f"requested_{name}") for name in ("nodes", "cpus", "gpus", "dcus")})


def allocated(jobs: Iterable[Job]) -> Allocated:
    """What all of `jobs` use now."""
    return Allocated(**{name: _total(jobs, f"allocated_{name}") for name in ("cpus", "gpus", "dcus")})


def _total(jobs: Iterable[Job], amount: str) -> int | None:
    """The sum over the jobs, None where that of one of them is unknown."""
    values = list(map(attrgetter(amount), jobs))
    return None if None in values else sum(values)


def _table(rows: Sequence[MemberRow]) -> Table:
    states = states_to_show(*(state for row in rows for state, found in row.states.items() if found.jobs))
    titles = [*states, "cores", "GPUs", "DCUs"]
    columns = [Column("cluster"), Column("group"), Column("user"), *map(number, titles)]
    return Table(
        columns,
        [
            (
                *(row.cluster, row.group, row.user),
                *(row.states[state].jobs if state in row.states else 0 for state in states),
                *(_in_use(row, amount) for amount in ("cpus", "gpus", "dcus")),
            )
            for row in rows
        ],
    )


def _in_use(row: MemberRow, amount: str) -> int | None:
    """The sum over all states in which jobs hold something, None where that of one is unknown."""
    amounts: list[int | None] = [
        getattr(found.allocated, amount) for state, found in row.states.items() if state not in HOLDS_NOTHING
    ]
    known = [each for each in amounts if each is not None]
    return sum(known) if len(known) == len(amounts) else None


MEMBER_JOBS: Final = register(
    Collector(
        name="member_jobs",
        path="/ac/openapi/v2/clusters/{cluster_id}/groups/{group_id}/clusterUserNames/{user}/jobs",
        per=MEMBER,
        title=Text("member jobs", "成员作业"),
        gives=Text("job lists of members", "成员的作业列表"),
        families=(
            catalogue.SCNET_MEMBER_JOBS,
            *catalogue.SCNET_MEMBER_AMOUNTS.values(),
            catalogue.SCNET_JOB_INFO,
            *catalogue.SCNET_JOB_AMOUNTS.values(),
        ),
        start=MemberPolling,
        default=True,
        optional=False,
        whose=_whose,
        lists_jobs=True,
        once=Once(
            "members", MemberRow, _rows, "Members' jobs, and the cores, GPUs and DCUs in use", "no members", _table
        ),
    )
)
