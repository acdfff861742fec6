"""All that is shown of targets: samples for Prometheus, the numbers for people beside them, and how the polls go."""

from collections.abc import Iterable, Mapping
from typing import Any

from exporter.errors import PollError
from exporter.metrics import health
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks, one_each
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import SourceStatus, TargetKey, TargetStatus
from exporter.sources.figures import Figures, StatusSummary
from exporter.sources.per_job import PerJobBudget
from exporter.sources.tracked import Tracked


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
        # Only those of targets that list jobs.
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
        """Let the target show this from now on; `answer` is the fingerprint of where it comes from.

        `parts` are the keys of what it is made of, by which jobs are followed and have series of their own.
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
        """Show no metric families of these names from now on, and all others."""
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
