"""The queued data jobs of each queue (page 查询排队作业列表-QueryQueuedJobList)."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from msgspec import Meta

from exporter.config import OctopusQueue
from exporter.errors import RejectedError
from exporter.metrics.family import Family, Text, counter, gauge, histogram
from exporter.metrics.format import Chunks, chunks_of, histogram_lines, one_each, sample
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.display import TaskFigures
from exporter.sources.octopus.project import ADVICE, QUEUE, Project
from exporter.sources.octopus.queue_diff import QueueTotals, diff
from exporter.sources.octopus.reading import Queue, QueueContent, QueueListing, read_queue
from exporter.sources.once import Column, Once, Shape, Table, rounded
from exporter.sources.once import number as number_column
from exporter.sources.source import Notice
from exporter.threads import off_loop

# Working through this many entries takes a few milliseconds; more is done in a thread.
WORK_ON_LOOP_LIMIT: Final = 2_000


_QUEUE: Final = ("project", "queue_type", "cluster_type", "cluster_id")
_WHOLE: Final = " Absent where not all pages of the queue could be read, or there is no recent data."
_WHOLE_ZH: Final = Text("", "未能读到队列的所有页，或没有近期数据。")
_TOLD: Final = (
    " Counted from the first complete listing on, and absent while none is recent: a listing is incomplete if the queue changes "
    "while it is read, or a page is lost."
)
_TOLD_ZH: Final = "从第一次完整读取时开始计数：读取过程中队列发生变化或丢页时，读取不完整，不用于计数。"
_READ: Final = " of a known form: see octopus_queued_unread_resource_specs for the others."
_READ_ZH: Final = "只计资源规格可解析的作业，其余见 octopus_queued_unread_resource_specs。"
_FIRST_LISTING: Final = Text(
    "until a first complete listing, and while none is recent.", "第一次完整读取之前，以及近期没有完整读取时。"
)

LENGTH: Final = gauge(
    "octopus_queue_length",
    _QUEUE,
    "Entries in the queue as reported by the API. The labels are those of the queue in the configuration, empty where left out. "
    "Absent where the API does not report it, or there is no recent data.",
    zh="队列中的条目数，由接口给出。标签取自配置中的队列，没有写的为空。",
    absent=Text("", "接口没有返回，或没有近期数据。"),
)
COMPLETE: Final = gauge(
    "octopus_queue_listing_complete",
    _QUEUE,
    "Whether the last listing of the queue is known to be complete (1) or not (0): a page was lost, a row was unreadable, or the "
    "queue changed while it was read.",
    zh="最近一次读取的列表是否确定完整：1 为是，0 为否，即丢页、有无法解析的行，或读取过程中队列发生变化。",
    absent=Text("while there is no recent data.", "没有近期数据。"),
)
JOBS: Final = gauge(
    "octopus_queued_jobs",
    (*_QUEUE, "job_type", "processor", "resource_spec"),
    "Queued data jobs by type, processor and resource spec, as spelled by the API; empty where it reports none. "
    "Only combinations with a queued job." + _WHOLE,
    zh="排队的数据作业数，按类型、处理器和资源规格分，与接口返回一致，没有返回则为空。只包含有作业排队的组合。",
    absent=_WHOLE_ZH,
)
CPU_CORES: Final = gauge(
    "octopus_queued_requested_cpu_cores",
    _QUEUE,
    "CPU cores requested by the queued jobs with a resource spec" + _READ + _WHOLE,
    zh=f"排队作业申请的 CPU 核数。{_READ_ZH}",
    absent=_WHOLE_ZH,
)
MEMORY: Final = gauge(
    "octopus_queued_requested_memory_bytes",
    _QUEUE,
    "Memory in bytes requested by the queued jobs with a resource spec" + _READ + _WHOLE,
    zh=f"排队作业申请的内存（字节）。{_READ_ZH}",
    absent=_WHOLE_ZH,
)
UNREAD_SPECS: Final = gauge(
    "octopus_queued_unread_resource_specs",
    _QUEUE,
    "Queued jobs whose resource spec is missing or of an unknown form; they are not included in the requested cores and "
    "memory." + _WHOLE,
    zh="资源规格缺失或无法解析的排队作业数，申请的核数和内存不包括它们。",
    absent=_WHOLE_ZH,
)
OLDEST_RANK: Final = gauge(
    "octopus_queued_oldest_rank_timestamp_seconds",
    _QUEUE,
    "Smallest rank_stamp in the queue, as Unix time in seconds. It changes when an entry is moved, and is not the time of "
    "queuing. Absent where no entry has one." + _WHOLE,
    zh="队列中最小的排序时间戳（rank_stamp），Unix 时间（秒）。条目被移动时会改变，不是入队时间。",
    absent=Text("", f"没有条目带排序时间戳，或{_WHOLE_ZH.zh}"),
)
ARRIVALS: Final = counter(
    "octopus_queue_arrivals_total",
    _QUEUE,
    "Entries that arrived in the queue." + _TOLD,
    zh=f"进入队列的条目数。{_TOLD_ZH}",
    absent=_FIRST_LISTING,
)
DEPARTURES: Final = counter(
    "octopus_queue_departures_total",
    _QUEUE,
    "Entries that left the queue, for whatever reason. In a queue of several pages each is counted one poll later, when a second "
    "listing confirms it." + _TOLD,
    zh=f"离开队列的条目数，不论去向。多页的队列在第二次读取确认后才计数，因此晚一次轮询。{_TOLD_ZH}",
    absent=_FIRST_LISTING,
)
OBSERVED_QUEUE: Final = histogram(
    "octopus_job_observed_queue_seconds",
    _QUEUE,
    "Time in the queue, in seconds, of entries that were seen to arrive and to leave: from the first poll that lists an entry to "
    "the midpoint between the last poll that does and the first that does not." + _TOLD,
    zh="观测到进入和离开的条目在队列中的时间（秒）：从首次列出它的轮询，到最后一次列出与首次未列出之间的中点。"
    + _TOLD_ZH,
    absent=_FIRST_LISTING,
)
FAMILIES: Final = tuple(family for family in tuple(globals().values()) if isinstance(family, Family))


def rendered(labels: tuple[str, ...], listing: QueueListing, totals: QueueTotals) -> Chunks:
    """All samples of a queue; its counters only while it is known what comes and goes.

    `labels` are the project's name, and queue type, cluster type and id: "" for those that the configuration leaves
    out.
    """
    values: dict[Family, float | None] = {LENGTH: listing.length, COMPLETE: listing.complete}
    chunks: Chunks = {}
    if (content := listing.content) is not None:
        values |= {
            CPU_CORES: content.requested.cpu_cores,
            MEMORY: content.requested.memory_bytes,
            UNREAD_SPECS: content.requested.unread,
            OLDEST_RANK: content.oldest_rank,
        }
        chunks |= chunks_of({JOBS: _job_lines(labels, content)})
    if totals.known:
        values |= {ARRIVALS: totals.arrivals, DEPARTURES: totals.departures}
        chunks[OBSERVED_QUEUE] = histogram_lines(OBSERVED_QUEUE, labels, totals.waits)
    return chunks | one_each(values, labels)


def _job_lines(labels: tuple[str, ...], content: QueueContent) -> list[str]:
    """In a fixed order, so that an unchanged queue gives unchanged bytes."""
    return [sample(JOBS, (*labels, *kind), count) for kind, count in sorted(content.jobs.items())]


class QueuePolling:
    """Polls one queue, page by page, and counts the entries that come and go."""

    def __init__(self, project: Project, subject: Subject) -> None:
        queue: OctopusQueue = subject.section
        self._project = project
        self._place = queue.place
        self._key = QUEUING_JOBS.key(subject)
        self._queue = Queue(queue.queue_type, queue.cluster_type or "", queue.cluster_id or "")
        self._labels = (project.name, *self._queue)
        self._totals = project.totals_of(self._queue)
        self._lost = Notice(
            "a queue was not read as a whole", "the queue is read as a whole again", **self._key._asdict()
        )

    async def poll(self) -> QueueListing:
        try:
            return await read_queue(self._project.pages, QUEUING_JOBS, self._queue)
        except RejectedError as error:
            text = Text(f"{error}; the queue is at {self._place}", f"{error.text.zh}；该队列在 {self._place}")
            raise RejectedError(text, api_code=error.api_code) from None

    async def publish(self, listing: QueueListing) -> None:
        project, context = self._project, self._project.context
        context.own.rejected(project.name, QUEUING_JOBS.name, listing.rejected + listing.rejected_values)
        project.note_skew(listing.skew)
        self._lost.update(bool(listing.lost), length=listing.length, reason=listing.lost)
        await self._count_changes(listing)
        kinds = 0 if listing.content is None else len(listing.content.jobs)
        chunks = await off_loop(kinds, WORK_ON_LOOP_LIMIT, lambda: rendered(self._labels, listing, self._totals))
        context.display.show(self._key, chunks, TaskFigures(listing.length))

    async def _count_changes(self, listing: QueueListing) -> None:
        """Count arrivals and departures since the last listing."""
        at, longest_gap = self._project.context.clock.monotonic(), self._project.project.poll.stale_after
        state = self._totals.state
        size = len(listing.ids) + len(state.present)
        self._totals.add(*await off_loop(size, WORK_ON_LOOP_LIMIT, lambda: diff(state, listing, at, longest_gap)))


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
        *map(number_column, ("length", "cores requested", "GiB requested")),
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
        families=FAMILIES,
        start=QueuePolling,
        default=True,
        advice=ADVICE,
        once=Once("octopus_queues", OctopusRow, _rows, "Octopus queues", "no queues", _table),
    )
)
