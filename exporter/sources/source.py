"""Interfaces between the application and its sources, for any vendor."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from datetime import tzinfo
from typing import Any, Final, Protocol

import structlog

from exporter.clock import Clock
from exporter.config import PollSettings, Secret, Tracking
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import Target, TargetKey
from exporter.records import Answer
from exporter.sources.collector import Collector, Subject
from exporter.sources.display import Display
from exporter.sources.tracked import Tracked

log = structlog.get_logger()

# An upstream that spells its states differently all the time must not fill the log.
UNKNOWN_WORDS_TOLD: Final = 50


class Context:
    """Objects that all sources of one process share; they outlive reloads."""

    def __init__(self, clock: Clock, exposition: Exposition, *, exporter_metrics: bool = True) -> None:
        """`exporter_metrics`.

        Whether metrics about the exporter and its targets are shown, besides those of the sources.
        """
        self.clock = clock
        self.own = SelfMetrics()
        self.tracked = Tracked(exposition, self.own)
        self.display = Display(self.own, exposition, self.tracked, exporter_metrics=exporter_metrics)
        # That of times which an upstream sends without one.
        self.zone: tzinfo = Tracking().time_zone
        # Seconds for which a history of ended jobs is made up for after a time without polls.
        self.history_window: float = Tracking().history_window
        # Spellings of unknown states that were logged, by source: a reload does not repeat them.
        self.unknown_words_told: defaultdict[str, set[str]] = defaultdict(set)
        # To be called when a source has other targets than before without a reload.
        self.targets_changed: Callable[[], None] = lambda: None

    def count_flaws(self, source: str, collector: str, answer: Answer, unknown_words: Iterable[str]) -> None:
        """Count what could not be used of an answer; log an unknown state once for each spelling."""
        self.own.rejected(source, collector, answer.rejected + answer.rejected_values)
        self.own.unknown_states(source, collector, answer.unknown_states)
        told = self.unknown_words_told[source]
        for word in unknown_words:
            if word not in told and len(told) < UNKNOWN_WORDS_TOLD:
                told.add(word)
                log.warning(
                    "an unknown state is shown as unknown and holds no resources; please report it",
                    source=source,
                    collector=collector,
                    state=word,
                )


class Source(Protocol):
    """A configured region, project or account at work. Making one has no effect yet."""

    @property
    def kind(self) -> str:
        """The word for its kind: scnet, slurm, octopus or account."""
        ...

    @property
    def up_family(self) -> Family:
        """The family that says whether it answers."""
        ...

    def warnings(self) -> list[str]:
        """Return settings of its configuration that are allowed but may surprise."""
        ...

    def targets(self) -> list[Target]:
        """All that is polled there, in the order of the configuration."""
        ...

    def secrets_changed(self, secrets: frozenset[Secret]) -> list[TargetKey]:
        """Use the new contents of `secrets`, not all of them its own; return the targets that may work again now."""
        ...

    async def show_token_expiry(self) -> None:
        """Put the expiry of its tokens into the metrics."""
        ...

    async def hide_token_expiry(self) -> None:
        """Take the expiry of its tokens out of the metrics."""
        ...

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        ...


def target_of(
    source: Any, collector: Collector, subject: Subject, poll: PollSettings, identity: Hashable, *, together: str = ""
) -> Target:
    """Return the target that polls `subject` of a source; see `Target` for its `identity`."""
    polling = collector.start(source, subject)
    return Target(
        collector.key(subject),
        poll.interval,
        poll.stale_after,
        polling.poll,
        polling.publish,
        identity,
        optional=collector.optional,
        together=together,
    )
