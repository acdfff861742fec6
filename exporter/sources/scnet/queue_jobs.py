"""Jobs of each user by queue and state (page 查询队列作业统计信息)."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from msgspec import Meta

from exporter.errors import PermanentError, RejectedError
from exporter.metrics import catalogue, families
from exporter.metrics.family import Text
from exporter.metrics.render import Chunks
from exporter.records import JobState, QueueCounts, QueueStatistics
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.figures import QueueFigures, queue_figures
from exporter.sources.once import Column, Once, Shape, Table, number, states_to_show
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.seen_queues import SeenQueues
from exporter.sources.scnet.subjects import OWNER, USER
from exporter.threads import off_loop

# Rendering this many queues takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT: Final = 2_000


class UserPolling:
    """Polls the queues of one user. An answer that is the same as the one shown is not even decoded."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._user = subject.user
        self._key = QUEUE_JOBS.key(subject)
        self._token = region.tokens.of_user(subject.user)
        self._names_its_user = subject.configured != OWNER

    async def poll(self) -> QueueStatistics | None:
        if self._names_its_user:
            return await self._ask()
        await self._make_way_for(await self._owner())
        try:
            records = await self._ask()
        except PermanentError:
            await self._make_way_for(self._token.issued.owner)
            raise
        # A token that replaced a rejected one may be another user's: its answer says nothing about this one.
        await self._make_way_for(self._token.issued.owner)
        return records

    async def publish(self, records: QueueStatistics | None) -> None:
        if records is None:
            return
        self._region.count_flaws(QUEUE_JOBS.name, records)
        await self._show(records)

    async def _show(self, records: QueueStatistics) -> None:
        name, services = self._region.name, self._region.services
        before: SeenQueues = services.display.remembered.get(self._key, SeenQueues())

        def rendered() -> tuple[Chunks, QueueFigures, SeenQueues, int]:
            seen, dropped = before.after(queue.queue for queue in records.queues)
            chunks = families.queue_statistics(name, records, seen.absent)
            return chunks, queue_figures(records, seen.absent), seen, dropped

        chunks, figures, seen, dropped = await off_loop(len(records.queues), RENDER_ON_LOOP_LIMIT, rendered)
        services.display.show(self._key, chunks, figures, records.fingerprint)
        services.display.remembered[self._key] = seen
        services.own.queues_dropped(name, dropped)

    async def _ask(self) -> QueueStatistics | None:
        client, display = self._region.client, self._region.services.display
        known = display.answer(self._key)
        records = await client.changed_queue_jobs(self._user, self._token, known=known)
        if records is None and display.answer(self._key) != known:
            # It got too old to be shown while it was requested again.
            return await client.queue_jobs(self._user, self._token)
        return records

    async def _make_way_for(self, owner: str) -> None:
        """Let a target of the right name take over from that of the user, if the token is no longer theirs."""
        if owner in ("", self._user):
            return
        self._region.services.targets_changed()
        # The poll is cancelled here, unless a reload was faster.
        await asyncio.sleep(0)
        raise RejectedError(f"the token is no longer that of {self._user} but of {owner}")

    async def _owner(self) -> str:
        """The scheduler user that the token belongs to. Raises PollError where it does not say."""
        await self._token.current()
        owner = self._token.issued.owner
        if not owner:
            raise RejectedError(
                f"the token from {self._token.origin} does not say whose it is: list the users of {self._region.name} in the "
                "configuration"
            )
        return owner


def _whose(subject: Subject) -> str:
    return f"give {subject.user or 'the user'} a token of their own under users at {subject.place}"


class QueueRow(Shape, frozen=True, kw_only=True):
    """A user's jobs in one queue."""

    cluster: str
    user: str
    queue: str
    jobs: Annotated[
        dict[JobState, int], Meta(description="number of jobs by state; a state whose number is unknown is left out")
    ]


def _rows(user: Subject, found: QueueStatistics) -> Iterator[QueueRow]:
    """A row for each queue; those of one name, of two schedulers, are added up."""
    by_name: defaultdict[str, list[QueueCounts]] = defaultdict(list)
    for queue in found.queues:
        by_name[queue.queue].append(queue)
    for name, of_name in sorted(by_name.items()):
        yield QueueRow(cluster=user.source, user=found.user, queue=name, jobs=_added([each.counts for each in of_name]))


def _added(counts: list[dict[JobState, int]]) -> dict[JobState, int]:
    """The sums; unknown in one is unknown in all. The state `unknown` itself is there only where a job is in it."""
    known = [
        state
        for state in JobState
        if any(state in each for each in counts)
        and (state is JobState.UNKNOWN or all(state in each for each in counts))
    ]
    return {state: sum(each.get(state, 0) for each in counts) for state in known}


def _table(rows: Sequence[QueueRow]) -> Table:
    states = states_to_show(JobState.OTHER, *(state for row in rows for state, jobs in row.jobs.items() if jobs))
    columns = [Column("cluster"), Column("user"), Column("queue"), *map(number, states)]
    # A queue without a number for a state: unknown, or no such job where the state is seldom met.
    absent = {JobState.UNKNOWN: 0}
    return Table(
        columns,
        [
            (row.cluster, row.user, row.queue, *(row.jobs.get(state, absent.get(state)) for state in states))
            for row in rows
        ],
    )


QUEUE_JOBS: Final = register(
    Collector(
        name="queue_jobs",
        path="/hpc/openapi/v2/view/queue/jobs?userName={user}",
        per=USER,
        title=Text("queue jobs", "队列作业"),
        gives=Text("jobs by queue and state", "按队列和状态统计的作业数"),
        families=(catalogue.SCNET_QUEUE_JOBS,),
        start=UserPolling,
        default=True,
        optional=False,
        whose=_whose,
        once=Once("queues", QueueRow, _rows, "Jobs by queue", "no queue has a job", _table),
    )
)
