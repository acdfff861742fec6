"""The queued data jobs of each queue (page 查询排队作业列表-QueryQueuedJobList)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

import structlog
from msgspec import Meta

from exporter.config import OctopusQueue
from exporter.errors import RejectedError
from exporter.metrics.family import Text
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.figures import TaskFigures
from exporter.sources.octopus import samples as families
from exporter.sources.octopus.client import Queue
from exporter.sources.octopus.flow import QueueTotals
from exporter.sources.octopus.project import Project
from exporter.sources.octopus.records import QueueListing
from exporter.sources.octopus.samples import QueueCounters, QueueLabels
from exporter.sources.octopus.subjects import QUEUE
from exporter.sources.once import Column, Once, Shape, Table, number, rounded
from exporter.threads import off_loop

log = structlog.get_logger()

# Working through so many entries takes a few milliseconds; more is done in a thread.
WORK_ON_LOOP_LIMIT: Final = 2_000


class QueuePolling:
    """Polls one queue, page by page, and counts the entries that come and go."""

    def __init__(self, project: Project, subject: Subject) -> None:
        queue: OctopusQueue = subject.section
        self._project = project
        self._place = queue.place
        self._key = QUEUING_JOBS.key(subject)
        self._queue = Queue(queue.queue_type, queue.cluster_type or "", queue.cluster_id or "")
        self._labels = QueueLabels(
            project.name, self._queue.queue_type, self._queue.cluster_type, self._queue.cluster_id
        )
        self._totals = project.totals_of(self._queue)
        self._lost_told = False

    async def poll(self) -> QueueListing:
        try:
            return await self._project.client.queuing_jobs(self._queue, self._project.token)
        except RejectedError as error:
            raise RejectedError(f"{error}; the queue is at {self._place}", api_code=error.api_code) from None

    async def publish(self, listing: QueueListing) -> None:
        project, context = self._project, self._project.context
        context.own.rejected(project.name, QUEUING_JOBS.name, listing.rejected + listing.rejected_values)
        project.tell_skew(listing.skew)
        self._tell_lost(listing)
        await self._conclude(listing)
        counters = counters_of(self._totals)
        kinds = 0 if listing.content is None else len(listing.content.jobs)
        chunks = await off_loop(kinds, WORK_ON_LOOP_LIMIT, lambda: families.queue(self._labels, listing, counters))
        context.display.show(self._key, chunks, TaskFigures(listing.length))

    async def _conclude(self, listing: QueueListing) -> None:
        """Find out what came and went since the last listing."""
        at, longest_gap = self._project.context.clock.monotonic(), self._project.project.poll.stale_after
        totals = self._totals
        size = len(listing.ids) + len(totals.flow.present)
        totals.take(await off_loop(size, WORK_ON_LOOP_LIMIT, lambda: totals.conclusion(listing, at, longest_gap)))

    def _tell_lost(self, listing: QueueListing) -> None:
        """Say once that the queue cannot be read as a whole, and once that it can again."""
        if listing.lost and not self._lost_told:
            log.warning(
                "a queue was not read as a whole", **self._key._asdict(), length=listing.length, reason=listing.lost
            )
        elif self._lost_told and not listing.lost:
            log.info("the queue is read as a whole again", **self._key._asdict())
        self._lost_told = bool(listing.lost)


def counters_of(totals: QueueTotals) -> QueueCounters | None:
    """What came and went; None while nothing can be said about it."""
    if totals.flow.complete_at is None:
        return None
    return QueueCounters(totals.arrivals, totals.departures, totals.waits.view())


def _whose(_subject: Subject) -> str:
    return "let the IAM user read this project's Octopus data"


class OctopusRow(Shape, frozen=True, kw_only=True):
    """A queue of an Octopus project. Cluster type and id are empty where the configuration leaves them out."""

    project: str
    queue_type: str
    cluster_type: str
    cluster_id: str
    length: Annotated[int | None, Meta(description="null where the API did not say")]
    requested_cpu_cores: Annotated[float | None, Meta(description="null where not all pages could be read")]
    requested_memory_bytes: Annotated[float | None, Meta(description="null where not all pages could be read")]


def _rows(subject: Subject, listing: QueueListing) -> Iterator[OctopusRow]:
    queue: OctopusQueue = subject.section
    requested = listing.content.requested if listing.content else None
    yield OctopusRow(
        project=subject.source,
        queue_type=queue.queue_type,
        cluster_type=queue.cluster_type or "",
        cluster_id=queue.cluster_id or "",
        length=listing.length,
        requested_cpu_cores=requested.cpu_cores if requested else None,
        requested_memory_bytes=requested.memory_bytes if requested else None,
    )


def _table(rows: Sequence[OctopusRow]) -> Table:
    columns = [
        *(Column("project"), Column("queue type"), Column("cluster type"), Column("cluster id")),
        *(number("length"), number("cores wanted"), number("GiB wanted")),
    ]
    return Table(
        columns,
        [
            (
                *(row.project, row.queue_type, row.cluster_type, row.cluster_id, row.length),
                *(rounded(row.requested_cpu_cores), rounded(row.requested_memory_bytes, 2**30)),
            )
            for row in rows
        ],
    )


QUEUING_JOBS: Final = register(
    Collector(
        name="queuing_jobs",
        path="/v1.0/{project_id}/data/queuing-jobs",
        per=QUEUE,
        title=Text("queued data jobs", "排队的数据作业"),
        gives=Text("queued data jobs", "排队的数据作业"),
        families=families.FAMILIES,
        start=QueuePolling,
        default=True,
        optional=False,
        whose=_whose,
        once=Once("octopus_queues", OctopusRow, _rows, "Octopus queues", "no queues", _table),
    )
)
