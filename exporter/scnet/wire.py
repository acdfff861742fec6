"""What SCNet sends, and how it becomes records. Records are read one by one where they cannot be read all at once.

Sources: the pages 查询队列作业统计信息 (queue statistics), 查询集群信息 (schedulers), 查询成员实时作业列表 (member jobs).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final, TypeVar

import msgspec

from exporter.errors import DecodeError, RecordError
from exporter.records import (
    Job,
    JobListing,
    JobState,
    QueueCounts,
    QueueStatistics,
    Scheduler,
    Schedulers,
)
from exporter.upstream import excerpt

W = TypeVar("W")

# More of anything than this is not a count. Numeric text is met as well: the decoders are lenient (strict=False).
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

QUEUE_LETTERS = {
    "R": JobState.RUNNING,
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "S": JobState.SUSPENDED,
    "O": JobState.OTHER,
}
_NO_JOBS: Final = dict.fromkeys(QUEUE_LETTERS.values(), 0)
JOB_STATUSES = {
    "statR": JobState.RUNNING,
    "statQ": JobState.QUEUED,
    "statH": JobState.HELD,
    "statS": JobState.SUSPENDED,
    "statW": JobState.WAITING,
    "statE": JobState.EXITING,
    "statC": JobState.COMPLETED,
    "statX": JobState.OTHER,
    "statDE": JobState.DELETED,
    "statD": JobState.FAILED,
    "statT": JobState.TIMEOUT,
    "statN": JobState.NODE_FAILURE,
    "statRQ": JobState.REQUEUED,
}


class WireValue(msgspec.Struct, gc=False, rename="camel"):
    metric_name: str
    metric_value: Count


class WireQueue(msgspec.Struct, gc=False):
    name: str | int
    values: list[WireValue] | None = None


class RawQueue(msgspec.Struct, gc=False):
    """A queue of which not all values are readable."""

    name: str | int
    values: list[msgspec.Raw] | None = None


class WireScheduler(msgspec.Struct, gc=False):
    id: int | str
    text: str | None = None
    type: str | None = msgspec.field(name="JobManagerType", default=None)


class WireJob(msgspec.Struct, gc=False, rename="camel"):
    """Requested: node, proc, gpu, dcu ``...NumReq``. In use: ``cpuCore``, ``gpuNum``, ``dcuNumUsed``."""

    id: int | str
    status: str | None = None
    name: str | int | None = None
    node_num_req: Count | None = None
    proc_num_req: Count | None = None
    gpu_num_req: Count | None = None
    dcu_num_req: Count | None = None
    cpu_core: Count | None = None
    gpu_num: Count | None = None
    dcu_num_used: Count | None = None


COUNT_FIELDS = ("nodeNumReq", "procNumReq", "gpuNumReq", "dcuNumReq", "cpuCore", "gpuNum", "dcuNumUsed")

_rows = msgspec.json.Decoder(list[msgspec.Raw])
_jobs = msgspec.json.Decoder(list[WireJob], strict=False)
_job = msgspec.json.Decoder(WireJob, strict=False)
_queues = msgspec.json.Decoder(list[WireQueue], strict=False)
_queue = msgspec.json.Decoder(RawQueue, strict=False)
_value = msgspec.json.Decoder(WireValue, strict=False)
_scheduler = msgspec.json.Decoder(WireScheduler)

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
# Up to this size all records are decoded in one go, in about a millisecond; a longer list is decoded piece by
# piece, so that the thread it is decoded in lets the event loop have its turn.
ONE_GO_LIMIT = 256 * 1024


def rows_of(data: msgspec.Raw) -> list[msgspec.Raw]:
    """The members of a list in ``data``; null means that there are none. Raises DecodeError for anything else."""
    body = bytes(data)
    if body == b"null":
        return []
    try:
        return _rows.decode(body)
    except UNREADABLE:
        raise DecodeError(f"the answer's data is not a list: {excerpt(body)}") from None


def read_one(decode: Callable[[msgspec.Raw], W], raw: msgspec.Raw) -> W:
    """Decode one record; RecordError if it is not what the page describes."""
    try:
        return decode(raw)
    except UNREADABLE as error:
        raise RecordError(str(error)) from None


def read_each(rows: list[msgspec.Raw], read: Callable[[msgspec.Raw], W]) -> Iterator[W | None]:
    """Every row read, None in the place of each that could not be."""
    for row in rows:
        try:
            yield read(row)
        except RecordError:
            yield None


def queue_statistics(user: str, data: msgspec.Raw) -> QueueStatistics:
    """Queue counts of one user. Queues of one name (of two schedulers) are added up by whoever shows them."""
    wire = wire_queues(data)
    if wire is not None:
        try:
            return QueueStatistics(user, tuple([QueueCounts(str(queue.name), plain_counts(queue)) for queue in wire]))
        except KeyError:
            return closer_look(user, map(tallied, wire))
    return closer_look(user, read_each(rows_of(data), lambda row: tallied(read_one(_queue.decode, row))))


def wire_queues(data: msgspec.Raw) -> list[WireQueue] | None:
    """All queues, if they can be read in one go."""
    body = bytes(data)
    if len(body) > ONE_GO_LIMIT:
        return None
    try:
        return _queues.decode(body)
    except UNREADABLE:
        return None


def plain_counts(queue: WireQueue) -> dict[JobState, int]:
    """The counts where every name is a bare letter, as nearly always; KeyError where not."""
    counts = _NO_JOBS.copy()
    for value in queue.values or ():
        counts[QUEUE_LETTERS[value.metric_name]] += value.metric_value
    return counts


def closer_look(user: str, tallies: Iterable[tuple[str | int, "Tally"] | None]) -> QueueStatistics:
    """Queue counts from the name and the tally of every queue, None in the place of each that is unreadable."""
    queues: list[QueueCounts] = []
    rejected = unknown = 0
    for named_tally in tallies:
        if named_tally is None:
            rejected += 1
            continue
        queue, tally = named_tally
        queues.append(QueueCounts(str(queue), tally.counts()))
        rejected += tally.rejected
        unknown += tally.unknown
    return QueueStatistics(user, tuple(queues), rejected, unknown)


def tallied(queue: WireQueue | RawQueue) -> tuple[str | int, "Tally"]:
    tally = Tally()
    tally.add(queue.values or () if isinstance(queue, WireQueue) else tally.readable(queue.values or ()))
    return queue.name, tally


class Tally:
    """Adds up the values of one queue. A letter that is not sent is 0; one whose value is unreadable is unknown."""

    def __init__(self) -> None:
        self._counts: dict[JobState, int] = _NO_JOBS.copy()
        self._unreadable: list[JobState] = []
        self.rejected = 0
        self.unknown = 0

    def add(self, values: Iterable[WireValue]) -> None:
        counts = self._counts
        for value in values:
            state = queue_state(value.metric_name)
            counts[state] = counts.get(state, 0) + value.metric_value
            if state is JobState.UNKNOWN:
                self.unknown += 1

    def readable(self, values: Iterable[msgspec.Raw]) -> Iterator[WireValue]:
        for raw in values:
            try:
                yield read_one(_value.decode, raw)
            except RecordError:
                self.rejected += 1
                self._unreadable.append(state_of_unreadable(raw))

    def counts(self) -> dict[JobState, int]:
        for state in self._unreadable:
            self._counts.pop(state, None)
        return self._counts


def queue_state(metric_name: str) -> JobState:
    """The state for "R", or for "R(运行)" and "'R(运行)'" as the page's table spells it."""
    return QUEUE_LETTERS.get(metric_name.strip().strip("'\"‘’“”")[:1].upper(), JobState.UNKNOWN)


class WireValueName(msgspec.Struct, gc=False, rename="camel"):
    metric_name: str


_value_name = msgspec.json.Decoder(WireValueName)


def state_of_unreadable(raw: msgspec.Raw) -> JobState:
    """The state whose count could not be read, so that it is shown as absent and not as 0."""
    try:
        return queue_state(read_one(_value_name.decode, raw).metric_name)
    except RecordError:
        return JobState.UNKNOWN


def schedulers(data: msgspec.Raw) -> Schedulers:
    """Schedulers of a region; a single object instead of a list is met as well."""
    body = bytes(data).lstrip()
    rows = [msgspec.Raw(body)] if body.startswith(b"{") else rows_of(data)
    found: list[Scheduler] = []
    rejected = 0
    for row in read_each(rows, lambda row: read_one(_scheduler.decode, row)):
        if row is None:
            rejected += 1
        else:
            found.append(Scheduler(str(row.id), row.text or "", row.type or ""))
    return Schedulers(tuple(found), rejected)


def job_listing(data: msgspec.Raw) -> JobListing:
    """The listed jobs of one member."""
    jobs: list[Job] = []
    rejected = 0
    for wire in wire_jobs(data):
        if wire is None or wire.id == "":
            rejected += 1
        else:
            jobs.append(to_job(wire))
    unknown = sum(job.state is JobState.UNKNOWN for job in jobs)
    return JobListing(tuple(jobs), rejected, unknown)


def wire_jobs(data: msgspec.Raw) -> Iterator[WireJob | None]:
    body = bytes(data)
    if len(body) <= ONE_GO_LIMIT:
        try:
            return iter(_jobs.decode(body))
        except UNREADABLE:
            pass
    return read_each(rows_of(data), read_job)


def read_job(raw: msgspec.Raw) -> WireJob:
    """One job, with the leniency that the fast way does not have: empty text and blanks around numbers."""
    try:
        return _job.decode(raw)
    except UNREADABLE:
        fields = read_one(msgspec.json.Decoder(dict[str, object]).decode, raw)
    for name in COUNT_FIELDS:
        value = fields.get(name)
        if isinstance(value, str):
            fields[name] = value.strip() or None
    try:
        return msgspec.convert(fields, WireJob, strict=False)
    except UNREADABLE as error:
        raise RecordError(str(error)) from None


def to_job(wire: WireJob) -> Job:
    return Job(
        str(wire.id),
        "" if wire.name is None else str(wire.name),
        JOB_STATUSES.get(wire.status or "", JobState.UNKNOWN),
        wire.node_num_req,
        wire.proc_num_req,
        wire.gpu_num_req,
        wire.dcu_num_req,
        wire.cpu_core,
        wire.gpu_num,
        wire.dcu_num_used,
    )
