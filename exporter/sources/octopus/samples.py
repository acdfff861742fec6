"""What is known of an Octopus queue as samples. Pure functions like those of `families`."""

from typing import Final, NamedTuple

from exporter.metrics.family import Family, Text, counter, gauge, histogram
from exporter.metrics.render import Chunks, escape, number, sample, start, to_bytes
from exporter.metrics.render import histogram as histogram_lines
from exporter.sources.octopus.records import QueueContent, QueueListing
from exporter.tracking import HistogramView

_QUEUE: Final = ("project", "queue_type", "cluster_type", "cluster_id")
_WHOLE: Final = " Absent where not all pages of the queue could be read, or nothing recent is known."
_WHOLE_ZH: Final = Text("", "未能读到队列的所有页，或没有近期数据。")
_TOLD: Final = (
    " Counted from the first complete listing on, and absent while none is recent: a queue that moves while it is read, "
    "or a lost page, tells nothing."
)
_TOLD_ZH: Final = "从第一次完整读取时开始计数：读取过程中变化的队列或丢失的页不说明任何问题。"
_READ: Final = ", as far as their resource specs could be read: see octopus_queued_unread_resource_specs."
_READ_ZH: Final = "只计资源规格能读懂的作业，其余见 octopus_queued_unread_resource_specs。"
_FIRST_LISTING: Final = Text(
    "until a first complete listing, and while none is recent.", "第一次完整读取之前，以及近期没有完整读取时。"
)

LENGTH: Final = gauge(
    "octopus_queue_length",
    _QUEUE,
    "Entries in the queue as the API counts them. The labels are the queue's in the configuration, empty where it "
    "leaves them out. Absent where the API does not say, or nothing recent is known.",
    zh="队列中的条目数，由接口给出。标签取自配置中的队列，没有写的为空。",
    absent=Text("", "接口没有返回，或没有近期数据。"),
)
COMPLETE: Final = gauge(
    "octopus_queue_listing_complete",
    _QUEUE,
    "Whether the last listing of the queue is known to hold each of its entries (1) or not (0): a page was lost, a row "
    "was unreadable, or the queue moved while it was read.",
    zh="最近一次读取是否确知包含队列的每个条目：1 为是，0 为否，即丢了一页、有一行读不懂，或读取过程中队列发生了变化。",
    absent=Text("while nothing recent is known.", "没有近期数据。"),
)
JOBS: Final = gauge(
    "octopus_queued_jobs",
    (*_QUEUE, "job_type", "processor", "resource_spec"),
    "Queued data jobs by type, processor and resource spec, as the API spells them; empty where it says nothing. "
    "Only kinds of which a job is queued." + _WHOLE,
    zh="排队的数据作业数，按类型、处理器和资源规格分，按接口的写法，没有返回则为空。只有正在排队的种类。",
    absent=_WHOLE_ZH,
)
CPU_CORES: Final = gauge(
    "octopus_queued_requested_cpu_cores",
    _QUEUE,
    "CPU cores that the queued jobs ask for" + _READ + _WHOLE,
    zh=f"排队作业申请的 CPU 核数。{_READ_ZH}",
    absent=_WHOLE_ZH,
)
MEMORY: Final = gauge(
    "octopus_queued_requested_memory_bytes",
    _QUEUE,
    "Memory that the queued jobs ask for, in bytes" + _READ + _WHOLE,
    zh=f"排队作业申请的内存（字节）。{_READ_ZH}",
    absent=_WHOLE_ZH,
)
UNREAD_SPECS: Final = gauge(
    "octopus_queued_unread_resource_specs",
    _QUEUE,
    "Queued jobs whose resource spec is missing or not of a known form, and which the requested cores and memory "
    "therefore leave out." + _WHOLE,
    zh="资源规格缺失或形式未知的排队作业数，申请的核数和内存不包括它们。",
    absent=_WHOLE_ZH,
)
OLDEST_RANK: Final = gauge(
    "octopus_queued_oldest_rank_timestamp_seconds",
    _QUEUE,
    "Smallest ordering stamp in the queue, as Unix time in seconds. It changes when an entry is moved: it is not when the "
    "entry was queued. Absent where no entry has one." + _WHOLE,
    zh="队列中最小的排序时间戳，Unix 时间（秒）。条目被移动时它会改变：它不是入队时间。",
    absent=Text("", f"没有条目带排序时间戳，或{_WHOLE_ZH.zh}"),
)
ARRIVALS: Final = counter(
    "octopus_queue_arrivals_total",
    _QUEUE,
    "Entries that came to the queue." + _TOLD,
    zh=f"进入队列的条目。{_TOLD_ZH}",
    absent=_FIRST_LISTING,
)
DEPARTURES: Final = counter(
    "octopus_queue_departures_total",
    _QUEUE,
    "Entries that left the queue, whatever became of them. In a queue of several pages each is counted one poll late, "
    "when a second listing lacks it." + _TOLD,
    zh=f"离开队列的条目，不论去向。多页的队列要等第二次读取也没有它时才计数，因此晚一次采集。{_TOLD_ZH}",
    absent=_FIRST_LISTING,
)
OBSERVED_QUEUE: Final = histogram(
    "octopus_job_observed_queue_seconds",
    _QUEUE,
    "Time in the queue in seconds, of the entries that were seen to come and to leave: from the poll that showed an entry "
    "first to the middle between the last one that did and the first one that did not." + _TOLD,
    zh="看到进入又看到离开的条目在队列中的时间（秒）：从首次看到它的采集，到最后一次看到和第一次没看到之间的中点。"
    + _TOLD_ZH,
    absent=_FIRST_LISTING,
)
FAMILIES: Final = (
    LENGTH,
    COMPLETE,
    JOBS,
    CPU_CORES,
    MEMORY,
    UNREAD_SPECS,
    OLDEST_RANK,
    ARRIVALS,
    DEPARTURES,
    OBSERVED_QUEUE,
)


class QueueLabels(NamedTuple):
    """The labels of a queue, in the catalogue's order; "" for what its configuration leaves out."""

    project: str
    queue_type: str
    cluster_type: str
    cluster_id: str


class QueueCounters(NamedTuple):
    """What came and went since the start."""

    arrivals: int
    departures: int
    waits: HistogramView


def queue(labels: QueueLabels, listing: QueueListing, counters: QueueCounters | None) -> Chunks:
    """All samples of a queue. `counters` is None while nothing is known of what comes and goes."""
    values: dict[Family, float | None] = {
        LENGTH: listing.length,
        COMPLETE: listing.complete,
    }
    lines: dict[Family, str] = {}
    if listing.content is not None:
        requested = listing.content.requested
        values |= {
            CPU_CORES: requested.cpu_cores,
            MEMORY: requested.memory_bytes,
            UNREAD_SPECS: requested.unread,
            OLDEST_RANK: listing.content.oldest_rank,
        }
        lines[JOBS] = _jobs(labels, listing.content)
    if counters is not None:
        values |= {
            ARRIVALS: counters.arrivals,
            DEPARTURES: counters.departures,
        }
        waits = counters.waits
        family = OBSERVED_QUEUE
        lines[family] = histogram_lines(family, labels, waits.bounds, waits.cumulative, waits.sum)
    lines |= {family: sample(family, labels, value) for family, value in values.items() if value is not None}
    return {family: to_bytes(text) for family, text in lines.items() if text}


def _jobs(labels: QueueLabels, content: QueueContent) -> str:
    """In a fixed order, so that an unchanged queue gives unchanged bytes."""
    family = JOBS
    line_start = start(family, *labels)
    names = family.labels[len(labels) :]
    return "".join(
        [
            line_start
            + "".join([f',{name}="{escape(value)}"' for name, value in zip(names, kind, strict=True)])
            + f"}} {number(count)}\n"
            for kind, count in sorted(content.jobs.items())
        ]
    )
