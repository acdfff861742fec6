"""What all regions and projects of one process share."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from exporter.clock import Clock
from exporter.metrics import families
from exporter.metrics.own import OwnMetrics
from exporter.metrics.perjob import PerJobBudget
from exporter.metrics.snapshot import Exposition
from exporter.polling import TargetKey
from exporter.sources.figures import Figureboard

if TYPE_CHECKING:
    from exporter.sources.scnet.seen_queues import SeenQueues
    from exporter.sources.tracked import Tracked


@dataclass(slots=True)
class Services:
    """Long-lived parts; a reload replaces `per_job` where its settings changed."""

    clock: Clock
    own: OwnMetrics
    exposition: Exposition
    # Whether the exporter shows metrics about itself and its targets, besides what the regions say.
    exporter_metrics: bool = True
    per_job: PerJobBudget | None = None
    tracked: "Tracked" = field(init=False)
    # A queue once seen stays, at 0: the names outlive a reload with their target.
    queues_seen: dict[TargetKey, "SeenQueues"] = field(default_factory=dict)
    # Spellings of states that nobody knows and that were logged, by region: a reload does not repeat them.
    unknown_words_told: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    # The fingerprint of the answer that a target shows now: the same answer again needs no rendering.
    shown_answers: dict[TargetKey, int | None] = field(default_factory=dict)
    # The numbers for people: beside the exposition, changed together with it.
    figures: Figureboard = field(default_factory=Figureboard)
    # To be called when a region has other targets than before without a reload.
    targets_changed: Callable[[], None] = lambda: None


def show_jobs_dropped(services: Services, source: str) -> None:
    """Say how many jobs of `source` found no room among the per-job series."""
    if services.per_job is not None and services.exporter_metrics:
        dropped = services.per_job.dropped(source)
        services.exposition.put(("dropped", source), families.jobs_dropped(source, dropped))
