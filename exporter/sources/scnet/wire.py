"""What SCNet sends, and how it becomes records. Records are read one by one where they cannot be read all at once.

Sources: the pages 查询队列作业统计信息 (queue statistics), 查询集群信息 (schedulers), 查询成员实时作业列表 (member jobs).
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from exporter.errors import DecodeError, RecordError
from exporter.http import excerpt, one_line
from exporter.http.values import (
    NULL,
    UNREADABLE,
    Count,
    count_of,
    id_of,
    id_of_number,
    id_of_text,
    text_of,
    value_of,
    word_of,
)
from exporter.records import (
    Job,
    JobListing,
    JobState,
    QueueCounts,
    QueueStatistics,
    Scheduler,
    Schedulers,
)
from exporter.sources.scnet.states import PAGE_STATES, state_of

W = TypeVar("W")

QUEUE_LETTERS = {
    "R": JobState.RUNNING,
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "S": JobState.SUSPENDED,
    "O": JobState.OTHER,
}
_NO_JOBS: Final = dict.fromkeys(QUEUE_LETTERS.values(), 0)


class WireValue(msgspec.Struct, gc=False, rename="camel"):
    metric_name: str
    metric_value: Count


class WireQueue(msgspec.Struct, gc=False):
    name: str | int
    values: list[WireValue] | None = None


class WireJob(msgspec.Struct, gc=False, rename="camel"):
    """Requested: node, proc, gpu, dcu ``...NumReq``. In use: ``cpuCore``, ``gpuNum``, ``dcuNumUsed``."""

    id: int | str | float
    status: str | None = None
    name: str | int | None = None
    node_num_req: Count | None = None
    proc_num_req: Count | None = None
    gpu_num_req: Count | None = None
    dcu_num_req: Count | None = None
    cpu_core: Count | None = None
    gpu_num: Count | None = None
    dcu_num_used: Count | None = None


# The same, with each field to be read on its own: one that is odd must not cost the others.


class RawValue(msgspec.Struct, gc=False, rename="camel"):
    metric_name: msgspec.Raw = NULL
    metric_value: msgspec.Raw = NULL


class RawQueue(msgspec.Struct, gc=False):
    name: msgspec.Raw = NULL
    values: msgspec.Raw = NULL


class RawScheduler(msgspec.Struct, gc=False):
    id: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    type: msgspec.Raw = msgspec.field(name="JobManagerType", default=NULL)


class RawJob(msgspec.Struct, gc=False, rename="camel"):
    id: msgspec.Raw = NULL
    status: msgspec.Raw = NULL
    name: msgspec.Raw = NULL
    node_num_req: msgspec.Raw = NULL
    proc_num_req: msgspec.Raw = NULL
    gpu_num_req: msgspec.Raw = NULL
    dcu_num_req: msgspec.Raw = NULL
    cpu_core: msgspec.Raw = NULL
    gpu_num: msgspec.Raw = NULL
    dcu_num_used: msgspec.Raw = NULL


_rows = msgspec.json.Decoder(list[msgspec.Raw])
_jobs = msgspec.json.Decoder(list[WireJob], strict=False)
_job = msgspec.json.Decoder(WireJob, strict=False)
_raw_job = msgspec.json.Decoder(RawJob)
_queues = msgspec.json.Decoder(list[WireQueue], strict=False)
_queue = msgspec.json.Decoder(WireQueue, strict=False)
_raw_queue = msgspec.json.Decoder(RawQueue)
_raw_value = msgspec.json.Decoder(RawValue)
_raw_scheduler = msgspec.json.Decoder(RawScheduler)

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


def raise_if_all_rejected(found: Collection[object], rejected: int, data: msgspec.Raw) -> None:
    """DecodeError for a list of which no row can be used: it says nothing, not that there is nothing."""
    if rejected and not found:
        raise DecodeError(f"none of the answer's {rejected} rows can be read: {excerpt(bytes(data))}")


def queue_statistics(user: str, data: msgspec.Raw) -> QueueStatistics:
    """Queue counts of one user. Queues of one name (of two schedulers) are added up where they are shown."""
    if (wire := wire_queues(data)) is not None:
        try:
            return QueueStatistics(user, tuple([QueueCounts(str(queue.name), plain_counts(queue)) for queue in wire]))
        except KeyError:
            pass
    tallies = list(read_each(rows_of(data), tallied))
    read = [tally for tally in tallies if tally is not None]
    rejected = len(tallies) - len(read)
    raise_if_all_rejected(read, rejected, data)
    return QueueStatistics(
        user,
        tuple([QueueCounts(tally.queue, tally.counts()) for tally in read]),
        rejected,
        sum(tally.unknown for tally in read),
        rejected_values=sum(tally.rejected for tally in read),
        unknown_words=tuple(sorted({word for tally in read for word in tally.unknown_words})),
    )


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


def tallied(raw: msgspec.Raw) -> "Tally":
    """A queue with its counts. Raises RecordError for one without a name."""
    try:
        queue = _queue.decode(raw)
        return Tally(str(queue.name), plain_counts(queue))
    except (*UNREADABLE, KeyError):
        fields = read_one(_raw_queue.decode, raw)
    name = text_of(fields.name)
    if name is None or bytes(fields.name) == b"null":
        raise RecordError("a queue without a name")
    tally = Tally(name)
    try:
        tally.add(rows_of(fields.values))
    except DecodeError:
        tally.lose_all()
    return tally


class Tally:
    """Adds up the values of one queue. A letter that is not sent is 0, unless something sent may have stood for it."""

    def __init__(self, queue: str, counts: dict[JobState, int] | None = None) -> None:
        self.queue = queue
        self.rejected = 0
        self.unknown = 0
        self.unknown_words: set[str] = set()
        self._counts: dict[JobState, int] = _NO_JOBS.copy() if counts is None else counts
        self._sent: set[JobState] = set()
        self._lost: set[JobState] = set()
        self._all_lost = False

    def add(self, values: Iterable[msgspec.Raw]) -> None:
        for raw in values:
            try:
                value = _raw_value.decode(raw)
            except UNREADABLE:
                self.lose_all()
            else:
                self._add(value)

    def _add(self, value: RawValue) -> None:
        name = value_of(value.metric_name)
        state = queue_state(name) if isinstance(name, str) else None
        count, _ = count_of(value.metric_value)
        self.rejected += count is None or state is None
        if state is None:
            # It may have been any of them, unless it says that there is none.
            self._all_lost = self._all_lost or count != 0
            return
        if state is JobState.UNKNOWN:
            self.unknown += 1
            self.unknown_words.add(word_of(value.metric_name))
        self._sent.add(state)
        if count is None:
            self._lost.add(state)
        else:
            self._counts[state] = self._counts.get(state, 0) + count

    def lose_all(self) -> None:
        """Something was sent that cannot be read at all."""
        self.rejected += 1
        self._all_lost = True

    def counts(self) -> dict[JobState, int]:
        """The counts that are known."""
        if self._all_lost:
            return {}
        lost = set(self._lost)
        if JobState.UNKNOWN in self._sent and self._counts.get(JobState.UNKNOWN) != 0:
            # A letter that nobody knows may be another name for one that was not sent.
            lost |= _NO_JOBS.keys() - self._sent
        return {state: count for state, count in self._counts.items() if state not in lost}


def queue_state(metric_name: str) -> JobState | None:
    """The state for "R", or for "R(运行)" and "'R(运行)'" as the page's table spells it; None where there is no letter."""
    letter = metric_name.strip().strip("'\"‘’“”")[:1].upper()
    if letter in QUEUE_LETTERS:
        return QUEUE_LETTERS[letter]
    return JobState.UNKNOWN if letter.isalpha() else None


def schedulers(data: msgspec.Raw) -> Schedulers:
    """Schedulers of a region; a single object instead of a list is met as well."""
    body = bytes(data).lstrip()
    rows = [msgspec.Raw(body)] if body.startswith(b"{") else rows_of(data)
    found = [scheduler for scheduler in read_each(rows, read_scheduler) if scheduler is not None]
    raise_if_all_rejected(found, len(rows) - len(found), data)
    return Schedulers(tuple(found), len(rows) - len(found))


def read_scheduler(raw: msgspec.Raw) -> Scheduler:
    """One scheduler. Raises RecordError for one without a usable id."""
    fields = read_one(_raw_scheduler.decode, raw)
    scheduler_id = id_of(fields.id)
    if scheduler_id is None:
        raise RecordError("a scheduler without a usable id")
    return Scheduler(scheduler_id, text_of(fields.text) or "", text_of(fields.type) or "")


def job_listing(data: msgspec.Raw) -> JobListing:
    """The listed jobs of one member."""
    jobs = jobs_in_one_go(data)
    rejected = odd = 0
    if jobs is None:
        jobs = []
        for found in read_each(rows_of(data), read_job):
            if found is None:
                rejected += 1
            else:
                jobs.append(found[0])
                odd += found[1]
        raise_if_all_rejected(jobs, rejected, data)
    unknown = sum([job.state is JobState.UNKNOWN for job in jobs])
    return JobListing(tuple(jobs), rejected, unknown, rejected_values=odd)


def jobs_in_one_go(data: msgspec.Raw) -> list[Job] | None:
    """All jobs, if there are not too many and nothing about them is odd."""
    body = bytes(data)
    if len(body) > ONE_GO_LIMIT:
        return None
    try:
        return list(map(to_job, _jobs.decode(body)))
    except (*UNREADABLE, RecordError):
        return None


def read_job(raw: msgspec.Raw) -> tuple[Job, int]:
    """One job and how many of its values cannot be used. Raises RecordError for one without a usable id."""
    try:
        return to_job(_job.decode(raw)), 0
    except UNREADABLE:
        return piece_by_piece(read_one(_raw_job.decode, raw))


def piece_by_piece(fields: RawJob) -> tuple[Job, int]:
    """A job of which not all values can be read, and how many of them make no sense. Raises RecordError as `read_job`."""
    job_id = id_of(fields.id)
    if job_id is None:
        raise RecordError("a job without a usable id")
    name = text_of(fields.name)
    status = value_of(fields.status)
    state = state_of(status) if isinstance(status, str) else JobState.UNKNOWN
    word = word_of(fields.status) if state is JobState.UNKNOWN else ""
    counts = [count_of(raw) for raw in msgspec.structs.astuple(fields)[3:]]
    odd = (name is None) + sum(is_odd for _, is_odd in counts)
    nodes, cpus, gpus, dcus, used_cpus, used_gpus, used_dcus = (count for count, _ in counts)
    return Job(job_id, name or "", state, nodes, cpus, gpus, dcus, used_cpus, used_gpus, used_dcus, word), odd


def to_job(wire: WireJob) -> Job:
    """The job. Raises RecordError if its id cannot be used."""
    # Nearly always the id is plain text and the state one of the page's: anything else is looked at more closely.
    job_id, status = wire.id, wire.status
    if type(job_id) is not str or not job_id.isalnum():
        job_id = plain_id(job_id)
    state, word = PAGE_STATES.get(status or ""), ""
    if state is None:
        state = state_of(status or "")
        word = "" if state is not JobState.UNKNOWN else one_line(status or "")
    return Job(
        job_id,
        "" if wire.name is None else str(wire.name),
        state,
        wire.node_num_req,
        wire.proc_num_req,
        wire.gpu_num_req,
        wire.dcu_num_req,
        wire.cpu_core,
        wire.gpu_num,
        wire.dcu_num_used,
        word,
    )


def plain_id(value: str | float) -> str:
    """An id as text. Raises RecordError for one that cannot be used."""
    job_id = id_of_text(value) if isinstance(value, str) else id_of_number(value)
    if job_id is None:
        raise RecordError("a job without a usable id")
    return job_id
