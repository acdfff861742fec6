"""Jobs of each user by queue and state (page 查询队列作业统计信息)."""

import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from exporter.errors import DecodeError, RecordError
from exporter.http import Response
from exporter.metrics.family import Text, gauge
from exporter.metrics.format import Chunks, escape, start, to_bytes
from exporter.records import Answer, JobState, Record
from exporter.sources.collector import Collector, Subject, get_unless_shown, register
from exporter.sources.decoding import in_one_go, list_of, read_each, read_row
from exporter.sources.display import QueueFigures, SeenQueues
from exporter.sources.jobs import lines_by_state
from exporter.sources.once import Column, Once, Shape, Table, state_columns, states_to_show
from exporter.sources.scnet.api import is_bare_null, open_envelope
from exporter.sources.scnet.owner import Owner
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.subjects import USER
from exporter.sources.values import NULL, UNREADABLE, Count, count_of, text_of, value_of, word_of
from exporter.threads import off_loop

JOBS: Final = gauge(
    "hpc_queue_jobs",
    ("hpc_cluster", "user", "queue", "state"),
    "Jobs of a scheduler user in a queue, by state. Queues of the same name in several schedulers of the region are added up. "
    "A queue once seen stays, at 0. Absent where a count is unknown, and while there is no recent data.",
    zh="调度系统用户在一个队列中的作业数，按状态分。区域内多个调度系统的同名队列会相加。出现过的队列会一直保留，值为 0。",
    absent=Text("", "数量未知，或没有近期数据。"),
)

_LETTERS: Final = {
    "R": JobState.RUNNING,
    "Q": JobState.QUEUED,
    "H": JobState.HELD,
    "S": JobState.SUSPENDED,
    "O": JobState.OTHER,
}
Counts = Mapping[JobState, int]
# The five states that every queue has. A letter that is not sent is 0.
_NO_JOBS: Final[dict[JobState, int]] = dict.fromkeys(_LETTERS.values(), 0)
_STATES: Final = frozenset(_NO_JOBS)
# The counts of the five states, in this order; KeyError where one is unknown.
_five_counts: Final[Callable[[Counts], tuple[int, int, int, int, int]]] = itemgetter(*_LETTERS.values())

# Rendering this many queues takes a few milliseconds; more is done in a thread.
RENDER_ON_LOOP_LIMIT: Final = 2_000


class QueueCounts(Record, frozen=True, gc=False):
    """Jobs of one user in one queue, by state. A state that is not in `counts` is unknown."""

    queue: str
    counts: dict[JobState, int]


class QueueStatistics(Answer, frozen=True, gc=False):
    """One user's queues. `unknown_words` are the unknown states, as the upstream spells them."""

    user: str
    queues: tuple[QueueCounts, ...]
    unknown_words: tuple[str, ...] = ()


# --- The answer -----------------------------------------------------------------------------------------------------------


class _Value(msgspec.Struct, gc=False, rename="camel"):
    metric_name: str
    metric_value: Count


class _Queue(msgspec.Struct, gc=False):
    name: str | int
    values: list[_Value]


# The same, with each field read on its own: a malformed one must not affect the others.


class _RawValue(msgspec.Struct, gc=False, rename="camel"):
    metric_name: msgspec.Raw = NULL
    metric_value: msgspec.Raw = NULL


class _RawQueue(msgspec.Struct, gc=False):
    name: msgspec.Raw = NULL
    values: msgspec.Raw = NULL


_queues = msgspec.json.Decoder(list[_Queue], strict=False)
_queue = msgspec.json.Decoder(_Queue, strict=False)


def read_queues(user: str, response: Response) -> QueueStatistics:
    """Queue counts of one user in an answer. Raises PollError."""
    if is_bare_null(response):
        return QueueStatistics(user, ())
    statistics = queue_statistics(user, open_envelope(response))
    return statistics.fingerprinted(response.body) if statistics.queues else statistics


def queue_statistics(user: str, data: msgspec.Raw) -> QueueStatistics:
    """Queue counts of one user. Queues of one name (of two schedulers) are added up where they are shown.

    Raises DecodeError where the data is no list, or holds rows of which none can be read.
    """
    if (plain := in_one_go(data, _plain_queues)) is not None:
        return QueueStatistics(user, plain)
    tallies, rejected = read_each(data, list_of(data), _tallied)
    return QueueStatistics(
        user,
        tuple([QueueCounts(tally.queue, tally.counts()) for tally in tallies]),
        tuple(sorted({word for tally in tallies for word in tally.unknown_words})),
        rejected=rejected,
        rejected_values=sum(tally.rejected for tally in tallies),
        unknown_states=sum(tally.unknown for tally in tallies),
    )


def _plain_queues(body: bytes) -> tuple[QueueCounts, ...]:
    return tuple([QueueCounts(str(queue.name), _plain_counts(queue)) for queue in _queues.decode(body)])


def _plain_counts(queue: _Queue) -> dict[JobState, int]:
    """Return the counts where every name is a bare letter, as nearly always; KeyError where not."""
    counts = _NO_JOBS.copy()
    for value in queue.values:
        counts[_LETTERS[value.metric_name]] += value.metric_value
    return counts


def _tallied(raw: msgspec.Raw) -> "_Tally":
    """Return a queue with its counts. Raises RecordError for one without a name."""
    try:
        queue = _queue.decode(raw)
        return _Tally(str(queue.name), _plain_counts(queue))
    except (*UNREADABLE, KeyError):
        pass
    fields = read_row(raw, _RawQueue)
    name = text_of(fields.name)
    if name is None or bytes(fields.name) == b"null":
        raise RecordError("a queue without a name")
    tally = _Tally(name)
    try:
        # The page has null for all queues without jobs, and for nothing else.
        values = None if bytes(fields.values) == b"null" else list_of(fields.values)
    except DecodeError:
        values = None
    if values is None:
        tally.lose_all()
    else:
        tally.add(values)
    return tally


class _Tally:
    """Adds up the values of one queue. A letter that is not sent is 0, unless something sent may have stood for it."""

    def __init__(self, queue: str, counts: dict[JobState, int] | None = None) -> None:
        self.queue = queue
        self.rejected = 0
        self.unknown = 0
        self.unknown_words: set[str] = set()
        self._counts = _NO_JOBS.copy() if counts is None else counts
        self._sent: set[JobState] = set()
        self._lost: set[JobState] = set()
        self._all_lost = False

    def add(self, values: Iterable[msgspec.Raw]) -> None:
        for raw in values:
            try:
                value = read_row(raw, _RawValue)
            except RecordError:
                self.lose_all()
            else:
                self._add(value)

    def _add(self, value: _RawValue) -> None:
        name = value_of(value.metric_name)
        state = _state_of(name) if isinstance(name, str) else None
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
        """Take all counts as unknown: something cannot be read at all, or there is nothing to be read."""
        self.rejected += 1
        self._all_lost = True

    def counts(self) -> dict[JobState, int]:
        """Return the counts that are known."""
        if self._all_lost:
            return {}
        lost = set(self._lost)
        if JobState.UNKNOWN in self._sent and self._counts.get(JobState.UNKNOWN) != 0:
            # An unknown letter may be another name for one that was not sent.
            lost |= _STATES - self._sent
        return {state: count for state, count in self._counts.items() if state not in lost}


def _state_of(metric_name: str) -> JobState | None:
    """Return the state for "R", or for "R(运行)" and "'R(运行)'" as the page's table spells it.

    None where there is no letter.
    """
    letter = metric_name.strip().strip("'\"‘’“”")[:1].upper()
    if letter in _LETTERS:
        return _LETTERS[letter]
    return JobState.UNKNOWN if letter.isalpha() else None


# --- What is shown of it --------------------------------------------------------------------------------------------------


def by_queue(statistics: QueueStatistics, seen: Collection[str] = ()) -> dict[str, Counts]:
    """Jobs by queue and state, in the order of the queues' names. Queues of one name are added up.

    `seen` names queues of earlier polls: one that is absent now has no jobs, unless it may be among the rows that could
    not be read. A state without a count is unknown.
    """
    queues: dict[str, Counts] = {} if statistics.rejected else dict.fromkeys(seen, _NO_JOBS)
    for row in statistics.queues:
        known = queues.get(row.queue, _NO_JOBS)
        queues[row.queue] = row.counts if known is _NO_JOBS else _added(known, row.counts)
    return dict(sorted(queues.items()))


def _added(one: Counts, other: Counts) -> Counts:
    """Return the sums; of the states that every queue has, those that are known of both."""
    known = (one.keys() & other.keys()) | ((one.keys() | other.keys()) - _STATES)
    return {state: one.get(state, 0) + other.get(state, 0) for state in known}


def rendered(hpc_cluster: str, user: str, queues: Mapping[str, Counts]) -> Chunks:
    """Return the lines of a user's queues.

    Runs at every change of an answer, so what lines have in common is rendered once.
    """
    lines_start = start(JOBS, hpc_cluster, user)
    lines = "".join(
        [_queue_lines(f'{lines_start},queue="{escape(queue)}"', counts) for queue, counts in queues.items()]
    )
    return {JOBS: to_bytes(lines)} if lines else {}


def _queue_lines(line_start: str, counts: Counts) -> str:
    """As `lines_by_state`. Nearly always a queue has five counts and no other: written out, that is thrice as fast."""
    try:
        running, queued, held, suspended, other = _five_counts(counts)
    except KeyError:
        return lines_by_state(line_start, counts, _STATES)
    if len(counts) > len(_STATES):
        return lines_by_state(line_start, counts, _STATES)
    return (
        f'{line_start},state="running"}} {running}\n'
        f'{line_start},state="queued"}} {queued}\n'
        f'{line_start},state="held"}} {held}\n'
        f'{line_start},state="suspended"}} {suspended}\n'
        f'{line_start},state="other"}} {other}\n'
    )


def figures(queues: Mapping[str, Counts]) -> QueueFigures:
    """Return the same numbers as `rendered` shows."""
    return QueueFigures(tuple(map(sys.intern, queues)), tuple(chain.from_iterable(map(_numbers, queues.values()))))


def _numbers(counts: Counts) -> Iterable[int | None]:
    try:
        return _five_counts(counts)
    except KeyError:
        return map(counts.get, _NO_JOBS)


# --- In the output of `once` ----------------------------------------------------------------------------------------------


class QueueRow(Shape, frozen=True, kw_only=True):
    """A user's jobs in one queue."""

    cluster: str
    user: str
    queue: str
    jobs: Annotated[
        dict[JobState, int], Meta(description="number of jobs by state; a state whose number is unknown is left out")
    ]


def _rows(user: Subject, found: QueueStatistics) -> Iterator[QueueRow]:
    for queue, counts in by_queue(found).items():
        in_order = {state: counts[state] for state in JobState if state in counts}
        yield QueueRow(cluster=user.source, user=found.user, queue=queue, jobs=in_order)


def _table(rows: Sequence[QueueRow]) -> Table:
    states = states_to_show(JobState.OTHER, *(state for row in rows for state, jobs in row.jobs.items() if jobs))
    columns = [Column("cluster"), Column("user"), Column("queue"), *state_columns(states)]
    # A queue without a number for a state: unknown, or no such job where the state is seldom met.
    absent = {JobState.UNKNOWN: 0}
    return Table(
        columns,
        [
            (row.cluster, row.user, row.queue, *(row.jobs.get(state, absent.get(state)) for state in states))
            for row in rows
        ],
    )


# --- The poll -------------------------------------------------------------------------------------------------------------


class UserPolling:
    """Polls the queues of one user. An answer that is the same as the one shown is not even decoded."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._user = subject.user
        self._key = QUEUE_JOBS.key(subject)
        self._endpoint = region.endpoint(QUEUE_JOBS, subject)
        self._shown = region.shown
        self._owner = Owner(region, subject)

    async def poll(self) -> QueueStatistics | None:
        return await self._owner.asked(self._ask)

    async def publish(self, records: QueueStatistics | None) -> None:
        if records is None:
            return
        self._region.context.count_flaws(self._key, records)
        await self._show(records)

    async def _show(self, records: QueueStatistics) -> None:
        name, context = self._region.name, self._region.context
        before: SeenQueues[str] = context.display.remembered.get(self._key, SeenQueues())

        def made() -> tuple[Chunks, QueueFigures, SeenQueues[str], int]:
            seen, dropped = before.after(queue.queue for queue in records.queues)
            queues = by_queue(records, seen.absent)
            return rendered(name, records.user, queues), figures(queues), seen, dropped

        chunks, numbers, seen, dropped = await off_loop(len(records.queues), RENDER_ON_LOOP_LIMIT, made)
        context.display.show(self._key, chunks, numbers, records.fingerprint)
        context.display.remembered[self._key] = seen
        context.own.queues_dropped(name, dropped)

    def _ask(self) -> Coroutine[Any, Any, QueueStatistics | None]:
        return get_unless_shown(self._endpoint, lambda: self._shown(self._key), self._read)

    def _read(self, response: Response) -> QueueStatistics:
        return read_queues(self._user, response)


QUEUE_JOBS: Final = register(
    Collector(
        name="queue_jobs",
        path="/hpc/openapi/v2/view/queue/jobs?userName={user}",
        per=USER,
        title=Text("queue jobs", "队列作业"),
        gives=Text("jobs by queue and state", "按队列和状态统计的作业数"),
        families=(JOBS,),
        start=UserPolling,
        default=True,
        advice="give {user} a token of their own under users at {place}",
        once=Once("queues", QueueRow, _rows, "Jobs by queue", "no queue has a job", _table),
    )
)
