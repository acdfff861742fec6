"""Sources: configured regions, clusters, projects and accounts of all vendors; and the context that they share."""

import asyncio
import ssl
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from datetime import tzinfo
from typing import ClassVar, Final

import structlog

from exporter.clock import Clock
from exporter.config import Polled, Secret, Tracking
from exporter.http import Settings, Upstream
from exporter.metrics.exposition import Exposition
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import WHOLE, Target, TargetKey
from exporter.records import Answer
from exporter.sources.collector import Collector, Found, Subject, subjects_of
from exporter.sources.display import Display, SampleFigures
from exporter.sources.tracked import Tracked

log = structlog.get_logger()

# Unknown states that are logged of a source: one with ever new spellings must not fill the log.
UNKNOWN_WORDS_LOGGED: Final = 50


class Context:
    """Objects that all sources of one process share; they outlive reloads."""

    def __init__(self, clock: Clock, exposition: Exposition, *, exporter_metrics: bool = True) -> None:
        """With `exporter_metrics`, metrics about the exporter and its targets are shown, besides those of the sources."""
        self.clock = clock
        self.own = SelfMetrics()
        self.tracked = Tracked(exposition, self.own)
        self.display = Display(self.own, exposition, self.tracked, exporter_metrics=exporter_metrics)
        # Of times that an upstream sends without a time zone.
        self.zone: tzinfo = Tracking().time_zone
        # Seconds for which the history of ended jobs is read back after a time without polls.
        self.history_window: float = Tracking().history_window
        # Spellings of unknown states that were logged, by source: a reload does not repeat them.
        self.unknown_words_logged: defaultdict[str, set[str]] = defaultdict(set)
        # Called when the targets of a source change without a reload.
        self.targets_changed: Callable[[], None] = lambda: None

    def count_flaws(self, key: TargetKey, answer: Answer) -> None:
        """Count what could not be used of an answer; log an unknown state once for each spelling."""
        self.own.rejected(key.source, key.collector, answer.rejected + answer.rejected_values)
        self.own.unknown_states(key.source, key.collector, answer.unknown_states)
        if not answer.unknown_states:
            return
        logged = self.unknown_words_logged[key.source]
        for word in answer.unknown_words:
            if word not in logged and len(logged) < UNKNOWN_WORDS_LOGGED:
                logged.add(word)
                log.warning(
                    "an unknown state is shown as unknown and holds no resources; please report it",
                    source=key.source,
                    collector=key.collector,
                    state=word,
                )


class Notice:
    """A condition of a source: logged as the warning `event` when it begins, and as `over` when it ends."""

    def __init__(self, event: str, over: str = "", **about: str) -> None:
        """`about` is logged with both."""
        self._event = event
        self._over = over
        self._about = about
        self._active = False

    def update(self, active: bool, **facts: object) -> None:
        """Log a change of the condition; `facts` are added to the warning."""
        if active and not self._active:
            log.warning(self._event, **self._about, **facts)
        elif self._active and not active and self._over:
            log.info(self._over, **self._about)
        self._active = active


class Source(ABC):
    """A configured region, cluster, project or account: its connections, tokens and targets. Making one has no effect yet.

    Each vendor has a class of its own; those with declared collectors are an `exporter.sources.collector.RowSource`.
    """

    # Its kind in the status: scnet, slurm, octopus or account.
    kind: ClassVar[str]
    # The family that says whether it answers.
    up_family: ClassVar[Family]
    # Requests in flight to each of its hosts; None: as configured.
    max_concurrency: ClassVar[int | None] = None

    def __init__(
        self,
        section: Polled,
        context: Context,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        owns: Callable[[TargetKey], bool] = WHOLE.owns,
        unix_socket: str = "",
    ) -> None:
        """`section` is its part of the configuration, `slots` limits the requests in flight of the whole process.

        `owns` says whether this instance polls a target, where several shards share them.
        """
        self.section = section
        self.name = section.name
        self.context = context
        self.tls = tls
        self.shown = context.display.answer
        self._slots = slots
        self._owns = owns
        self._upstreams: list[Upstream] = []
        self._targets: list[Target] | None = None
        limit = section.requests_per_second
        self.upstream = self.connection(requests_per_second=limit, unix_socket=unix_socket)

    @property
    @abstractmethod
    def address(self) -> Hashable:
        """The identity of the upstream: a target keeps its data over a reload only while this stays the same."""

    def connection(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        requests_per_second: float | None = None,
        unix_socket: str = "",
    ) -> Upstream:
        """Return a new connection, whose requests count as the source's; it is closed with the source."""
        poll = self.section.poll
        most = self.max_concurrency or poll.max_concurrency
        upstream = Upstream(
            Settings(self.name, poll.timeout, poll.retries, most, requests_per_second, poll.max_body, unix_socket),
            slots=self._slots,
            observer=self.context.own,
            clock=self.context.clock,
            tls=self.tls if tls is None else tls,
        )
        self._upstreams.append(upstream)
        return upstream

    def warnings(self) -> list[str]:
        """Return settings of its configuration that are allowed but may surprise."""
        return []

    def targets(self) -> list[Target]:
        """All that is polled there, in the order of the configuration: the same targets every time."""
        if self._targets is None:
            self._targets = list(self.new_targets())
        for collector in dict.fromkeys(target.key.collector for target in self._targets):
            self.context.own.declare(self.name, collector)
            self.context.own.poll_interval(self.name, collector, self.section.poll.interval)
        return self._targets

    def new_targets(self) -> Iterator[Target]:
        """Make the targets."""
        for collector, subject in subjects_of(self.section.listed_in, self.section):
            if self._owns(collector.configured_key(subject)):
                yield self.new_target(collector, subject)

    def new_target(self, collector: Collector, subject: Subject, *, together: str = "") -> Target:
        """Return the target that polls a subject; see `Target` for `together`."""
        polling = collector.start(self, subject)
        return Target(
            collector.key(subject),
            self.section.poll.interval,
            self.section.poll.stale_after,
            polling.poll,
            polling.publish,
            (self.address, subject.section),
            optional=collector.optional,
            together=together,
        )

    def show(self, key: TargetKey, found: Found, chunks: Chunks) -> None:
        """Replace the data of a target of a declared collector."""
        self.context.own.rejected(self.name, key.collector, found.rejected)
        self.context.display.show(key, chunks, SampleFigures(found.samples), found.fingerprint)

    def secrets_changed(self, secrets: frozenset[Secret]) -> list[TargetKey]:
        """Use the new contents of `secrets`, not all of them its own; return the targets that may work again now."""
        return [target.key for target in self.targets()] if self.use_changed(secrets) else []

    @abstractmethod
    def use_changed(self, secrets: frozenset[Secret]) -> bool:
        """Use the new contents of `secrets`; False where none of them is its own."""

    @abstractmethod
    async def show_token_expiry(self) -> None:
        """Put the expiry of its tokens into the metrics."""

    async def hide_token_expiry(self) -> None:
        """Take the expiry of its tokens out of the metrics."""
        self.context.own.token_expiry(self.name, "", None)

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        for upstream in self._upstreams:
            await upstream.close()
        # They refer to the source: so all of it is freed immediately instead of being left to the garbage collector.
        self._targets = None
