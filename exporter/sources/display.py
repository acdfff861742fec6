"""Everything that is shown of targets: samples for Prometheus, figures for people, and the health of polls.

A number is None where it is unknown, and so is a sum of which a part is unknown: unknown is never zero.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from exporter.errors import PollError
from exporter.metrics import health
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family, Sample
from exporter.metrics.format import Chunks, one_each
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import SourceStatus, TargetKey, TargetStatus
from exporter.records import Job, JobState, known_sum
from exporter.sources.per_job import PerJobBudget
from exporter.sources.tracked import Tracked
from exporter.tracking import MemberKey

STATES: Final = (JobState.RUNNING, JobState.QUEUED, JobState.HELD, JobState.SUSPENDED, JobState.OTHER)
Number = int | None
# Queues without jobs that are remembered for each target: more than any cluster has, unless it keeps inventing new ones.
ABSENT_LIMIT: Final = 1000
# A queue, or a group with one.
Q = TypeVar("Q", str, tuple[str, str])


class Counts(NamedTuple):
    """Jobs by state; all further states count as `other`."""

    running: Number = 0
    queued: Number = 0
    held: Number = 0
    suspended: Number = 0
    other: Number = 0


class InUse(NamedTuple):
    """Resources allocated to jobs now, in cores and devices."""

    cpus: Number = 0
    gpus: Number = 0
    dcus: Number = 0


class QueueFigures(msgspec.Struct, frozen=True, gc=False):
    """Jobs of a user by queue. `numbers` are the fields of the queues' `Counts`, one queue after the other.

    In so few objects, because ten thousand users have a hundred thousand counts, made anew with every change.
    """

    names: tuple[str, ...]
    numbers: tuple[Number, ...]

    @property
    def queues(self) -> list[tuple[str, Counts]]:
        """The queues and their counts."""
        width = len(STATES)
        return [
            (name, Counts._make(self.numbers[start : start + width]))
            for name, start in zip(self.names, range(0, len(self.numbers), width), strict=True)
        ]


class MemberFigures(NamedTuple):
    """Jobs of a group's member, and what they use."""

    jobs: Counts
    in_use: InUse


class ListedMember(NamedTuple):
    """A member among those that one target lists: by their names, with the jobs of each queue."""

    group: str
    user: str
    figures: MemberFigures
    queues: tuple[tuple[str, Counts], ...] = ()


class ListFigures(NamedTuple):
    """The members that one target lists."""

    members: tuple[ListedMember, ...]


class TaskFigures(NamedTuple):
    """Length of a queue of data jobs."""

    length: Number


class SampleFigures(NamedTuple):
    """The samples of a declared collector, as they are."""

    samples: tuple[Sample, ...]


class MemberJobs(NamedTuple):
    """The single jobs of a member that a target listed last."""

    source: str
    group: str
    user: str
    group_id: str
    jobs: tuple[Job, ...]

    @property
    def key(self) -> MemberKey:
        """The member, for the tracker."""
        return MemberKey(self.source, self.group_id, self.user)


Figures = QueueFigures | MemberFigures | ListFigures | TaskFigures | SampleFigures


class Totals(NamedTuple):
    """Figures of one source, added up by kind; None where it has none of the kind."""

    queues: Counts | None
    members: MemberFigures | None
    tasks: TaskFigures | None


class StatusSummary:
    """The figures that each target shows now, and the single jobs, where these may be shown."""

    def __init__(self) -> None:
        self._shown: dict[str, dict[TargetKey, Figures]] = {}
        self._jobs: dict[TargetKey, tuple[MemberJobs, ...]] = {}

    def copy(self) -> "StatusSummary":
        """Return the figures as they are now: those of a target are never changed, only replaced."""
        copied = StatusSummary()
        copied._shown = {source: dict(shown) for source, shown in self._shown.items()}
        copied._jobs = dict(self._jobs)
        return copied

    def show(self, key: TargetKey, figures: Figures) -> None:
        self._shown.setdefault(key.source, {})[key] = figures

    def show_jobs(self, key: TargetKey, listed: tuple[MemberJobs, ...]) -> None:
        self._jobs[key] = listed

    def hide_jobs(self) -> None:
        """Forget all single jobs."""
        self._jobs.clear()

    @property
    def jobs(self) -> list[MemberJobs]:
        """The single jobs of all targets."""
        return list(chain.from_iterable(self._jobs.values()))

    def hide(self, key: TargetKey) -> None:
        """Remove the target's figures and jobs, if there are any."""
        self._jobs.pop(key, None)
        of_source = self._shown.get(key.source, {})
        of_source.pop(key, None)
        if not of_source:
            self._shown.pop(key.source, None)

    def of(self, key: TargetKey) -> Figures | None:
        return self._shown.get(key.source, {}).get(key)

    def samples(self, source: str) -> Iterator[Sample]:
        """Yield the samples of the declared collectors of a source."""
        for figures in self._shown.get(source, {}).values():
            if isinstance(figures, SampleFigures):
                yield from figures.samples

    def totals(self, source: str) -> Totals:
        """Return the sums over a region's or project's targets."""
        shown = tuple(self._shown.get(source, {}).values())
        queues = [figures.numbers for figures in shown if isinstance(figures, QueueFigures)]
        members = [figures for figures in shown if isinstance(figures, MemberFigures)]
        lists = [figures for figures in shown if isinstance(figures, ListFigures)]
        members += [member.figures for figures in lists for member in figures.members]
        tasks = [figures.length for figures in shown if isinstance(figures, TaskFigures)]
        return Totals(
            Counts(*added(list(in_counts(chain.from_iterable(queues))), len(Counts._fields))) if queues else None,
            MemberFigures(
                Counts(*added([member.jobs for member in members], len(Counts._fields))),
                InUse(*added([member.in_use for member in members], len(InUse._fields))),
            )
            if members or lists
            else None,
            TaskFigures(added([(length,) for length in tasks], 1)[0]) if tasks else None,
        )


def in_counts(numbers: Iterable[Number]) -> Iterator[tuple[Number, ...]]:
    """Yield the numbers of queues by queue: as many at a time as a `Counts` has fields."""
    one_after_the_other = iter(numbers)
    return zip(*[one_after_the_other] * len(STATES), strict=True)


def added(rows: Sequence[tuple[Number, ...]], width: int) -> list[Number]:
    """Return the sums of columns; None where a value of the column is unknown."""
    return [known_sum(column) for column in zip(*rows, strict=True)] if rows else [0] * width


class SeenQueues(NamedTuple, Generic[Q]):
    """Queues in the latest answer (`present`), and earlier ones that are not in it (`absent`), longest gone first.

    A queue that was there once is shown at 0 while it has no jobs.
    """

    present: frozenset[Q] = frozenset()
    absent: tuple[Q, ...] = ()

    def after(self, queues: Iterable[Q]) -> tuple["SeenQueues[Q]", int]:
        """Return the queues to remember after an answer with these, and the number dropped to stay below the limit."""
        present = frozenset(queues)
        if present == self.present:
            return self, 0
        absent = [queue for queue in self.absent if queue not in present] + sorted(self.present - present)
        dropped = max(0, len(absent) - ABSENT_LIMIT)
        return SeenQueues(present, tuple(absent[dropped:])), dropped


class Display:
    """The samples and figures of each target now; the scheduler's listener.

    Owners in the exposition: a target's key for its data, ("health", key), ("up", source), ("targets", source) and
    ("dropped", source).
    """

    def __init__(
        self, own: SelfMetrics, exposition: Exposition, tracked: Tracked, *, exporter_metrics: bool = True
    ) -> None:
        """`exporter_metrics`: whether the health of targets is shown, besides what their sources say."""
        self.exposition = exposition
        self.figures = StatusSummary()
        # Which jobs have series of their own; None where no job has. A reload replaces it where its settings changed.
        self.per_job: PerJobBudget | None = None
        # The families that say whether a region or project answers, by its name.
        self.up_families: Mapping[str, Family] = {}
        # State of a target's polling that survives reloads.
        self.remembered: dict[TargetKey, Any] = {}
        self._own = own
        self._tracked = tracked
        self._exporter_metrics = exporter_metrics
        self._answers: dict[TargetKey, int | None] = {}
        # The members that each target lists, by their keys; only of targets that list jobs.
        self._parts: dict[TargetKey, frozenset[TargetKey]] = {}

    def answer(self, key: TargetKey) -> int | None:
        """Return the fingerprint of the answer that the target shows now: the same answer again needs no rendering."""
        return self._answers.get(key)

    def show(
        self,
        key: TargetKey,
        chunks: Chunks,
        figures: Figures | None = None,
        answer: int | None = None,
        parts: frozenset[TargetKey] = frozenset(),
    ) -> None:
        """Replace the data of the target; `answer` is the fingerprint of the answer that it comes from.

        `parts` are the keys of the members that it lists, under which jobs are followed and have series of their own.
        """
        self.exposition.put(key, chunks)
        for part in self._parts.pop(key, frozenset()) - parts:
            self._hide_jobs(part)
        if parts:
            self._parts[key] = parts
        if figures is not None:
            self.figures.show(key, figures)
        self._answers[key] = answer

    def exclude(self, names: Iterable[str]) -> None:
        """Hide the metric families of these names, and show all others."""
        self.exposition.exclude(names)
        self._own.exclude(names)

    def show_jobs_dropped(self, source: str) -> None:
        """Show the number of jobs of `source` without per-job series."""
        if self.per_job is not None and self._exporter_metrics:
            dropped = {health.JOBS_DROPPED: self.per_job.dropped(source)}
            self.exposition.put(("dropped", source), one_each(dropped, (source,)))

    def limit_jobs(self, per_job: PerJobBudget | None, sources: Mapping[str, Any]) -> None:
        """Use another budget for series of single jobs."""
        self.per_job = per_job
        if per_job is None:
            self.figures.hide_jobs()
        for source in sources:
            self.exposition.remove(("dropped", source))

    def drop_source(self, source: str) -> None:
        """Remove a source that is no longer polled."""
        self._own.drop_source(source)
        for owner in (("up", source), ("targets", source), ("dropped", source)):
            self.exposition.remove(owner)

    # The scheduler's listener: see `exporter.polling.Listener`.

    def polled(self, key: TargetKey, seconds: float, error: PollError | None) -> None:
        self._own.poll(key.source, key.collector, seconds, error.reason if error else None)

    def health_changed(self, status: TargetStatus, *, flipped: bool) -> None:
        if not self._exporter_metrics:
            return
        owner, last_success = ("health", status.key), status.last_success
        if flipped:
            chunks = health.target_health(status.key, up=status.up, stale=status.stale, last_success=last_success)
            self.exposition.put(owner, chunks)
        elif status.up and last_success is not None:
            self.exposition.renew(owner, health.TARGET_LAST_SUCCESS, last_success)

    def source_changed(self, source: str, status: SourceStatus) -> None:
        self.exposition.put(("up", source), one_each({self.up_families[source]: status.up}, (source,)))
        if self._exporter_metrics:
            counts = {health.TARGETS: status.targets, health.TARGETS_UP: status.working}
            self.exposition.put(("targets", source), one_each(counts, (source,)))

    def expired(self, key: TargetKey) -> None:
        self.exposition.remove(key)
        self.figures.hide(key)
        self._answers.pop(key, None)
        for part in self._parts.pop(key, frozenset({key})):
            self._hide_jobs(part)
        self.show_jobs_dropped(key.source)

    def removed(self, key: TargetKey) -> None:
        self.expired(key)
        self.exposition.remove(("health", key))
        self.remembered.pop(key, None)

    def _hide_jobs(self, part: TargetKey) -> None:
        self._tracked.hide(part)
        if self.per_job is not None:
            self.per_job.release(part)
