"""Shows how the polls go: the poller's news as metrics."""

from collections.abc import Callable

from exporter.errors import PollError
from exporter.metrics import catalogue, families
from exporter.metrics.family import Family
from exporter.polling import TargetKey, TargetStatus
from exporter.sources.services import Services, show_jobs_dropped


class Publisher:
    """The poller's listener. Owners in the exposition: a target's key for its data, ("health", key) and ("up", source)."""

    def __init__(self, services: Services, *, up_family: Callable[[str], Family]) -> None:
        """`up_family` gives the family that says whether a region or project works, by its name."""
        self._services = services
        self._up_family = up_family
        # Shown as up and not stale: of these, a further success changes one line only.
        self._well: set[TargetKey] = set()

    def polled(self, key: TargetKey, seconds: float, error: PollError | None) -> None:
        self._services.own.poll(key.source, key.endpoint, seconds, error.reason if error else None)

    def health_changed(self, status: TargetStatus) -> None:
        if not self._services.exporter_metrics:
            return
        key, last_success, exposition = status.key, status.last_success, self._services.exposition
        well = status.up is True and not status.stale
        if well and key in self._well and last_success is not None:
            exposition.renew(("health", key), catalogue.TARGET_LAST_SUCCESS, last_success)
            return
        if well:
            self._well.add(key)
        else:
            self._well.discard(key)
        chunks = families.target_health(*key, up=status.up, stale=status.stale, last_success=last_success)
        exposition.put(("health", key), chunks)

    def source_changed(self, source: str, up: bool | None) -> None:
        self._services.exposition.put(("up", source), families.source_up(self._up_family(source), source, up))

    def expired(self, key: TargetKey) -> None:
        self._services.exposition.remove(key)
        self._services.figures.hide(key)
        self._services.shown_answers.pop(key, None)
        self._services.tracked.hide(key)
        self._release_jobs(key)

    def removed(self, key: TargetKey) -> None:
        self.expired(key)
        self._services.exposition.remove(("health", key))
        self._well.discard(key)
        self._services.queues_seen.pop(key, None)

    def _release_jobs(self, key: TargetKey) -> None:
        if self._services.per_job is not None:
            self._services.per_job.release(key)
            show_jobs_dropped(self._services, key.source)
