"""The whole exporter in one object: configuration in, bytes for /metrics and facts for the status out."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import structlog

from exporter.app.handover import followed_elsewhere, left_alone, state_file_of, tracked_members
from exporter.app.publisher import Publisher
from exporter.app.share import share_of
from exporter.app.status import Selection, status_of
from exporter.app.tls import context_for
from exporter.clock import Clock, SystemClock
from exporter.config import Account, Cluster, Config, FileSecret, OctopusProject, SecretFiles, Tls, effective_yaml, load
from exporter.errors import ConfigurationError, Mistake
from exporter.metrics.family import Family
from exporter.metrics.own import OwnMetrics
from exporter.metrics.perjob import PerJobBudget
from exporter.metrics.render import Format
from exporter.metrics.snapshot import Exposition
from exporter.polling import WHOLE, Poller, Shard, Target, TargetKey, in_slices
from exporter.sources.figures import Figureboard
from exporter.sources.octopus.project import Project, build_projects
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.region_tokens import AccountAtWork, account_at_work
from exporter.sources.services import Services
from exporter.sources.source import Source
from exporter.sources.tracked import Tracked
from exporter.supervise import supervise
from exporter.tracking import StateFileError, TrackingService

log = structlog.get_logger()

Made = TypeVar("Made")
# So many targets a second are asked out of turn when a credential changed.
POLLS_SOON_PER_SECOND = 2_000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about the process; the rest is in the configuration file."""

    config_file: Path
    exporter_metrics: bool = True
    shard: Shard = WHOLE


class Application:
    """Made on the event loop that it lives on. `load` comes first, then `start`, at the end `stop`."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self.options = options
        self._clock = clock or SystemClock()
        self._services = Services(self._clock, OwnMetrics(), Exposition(), exporter_metrics=options.exporter_metrics)
        self._services.targets_changed = self._update_targets
        self.own.shard(options.shard.ordinal, options.shard.total)
        self._services.tracked = Tracked(self._services)
        self._publisher = Publisher(self._services, up_family=lambda source: self._up_families[source])
        self.poller = Poller(self._clock, self._publisher)
        # All that is configured, and what of it this instance polls.
        self.config: Config | None = None
        self._share = Config()
        self._slots = asyncio.Semaphore()
        self._accounts: dict[str, AccountAtWork] = {}
        # Also of sources that are about to leave.
        self._up_families: dict[str, Family] = {}
        self.regions: dict[str, Region] = {}
        self.projects: dict[str, Project] = {}
        self._tracking: TrackingService | None = None
        self._watch: asyncio.Task[None] | None = None
        self._hurrying: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        # Entered around every reload, for who has to be told.
        self.around_reload: Callable[[], AbstractContextManager[None]] = nullcontext
        self.started_at = self._clock.now()
        self.reload_successful: bool | None = None
        self.reload_error: str | None = None
        self.reloaded_at: float | None = None

    @property
    def ready(self) -> bool:
        """Whether every target was tried once."""
        return self.poller.ready

    def http_request(self, path: str, code: int) -> None:
        """Count a request that was answered."""
        self.own.http_request(path, code)

    @property
    def sources(self) -> dict[str, Source]:
        """All that is polled, by name, in the order of the configuration."""
        return {**self.regions, **self.projects}

    @property
    def own(self) -> OwnMetrics:
        return self._services.own

    async def start(self) -> None:
        """Load the configuration and begin to poll. Raises ConfigurationError."""
        async with self._reloading:
            await self._load_and_apply()
            self._note_reload(ok=True)

    async def reload(self) -> None:
        """Load the configuration anew, all or nothing. Raises ConfigurationError; the old one then goes on."""
        async with self._reloading:
            with self.around_reload():
                await self._reload()

    async def _reload(self) -> None:
        try:
            await self._load_and_apply()
        except ConfigurationError as error:
            self._note_reload(ok=False)
            self.reload_error = str(error)
            raise
        self._note_reload(ok=True)
        self.reload_error = None

    async def stop(self) -> None:
        """Stop polling, write what the tracker knows, and close all connections."""
        if self._watch is not None:
            self._watch.cancel()
        for task in self._hurrying:
            task.cancel()
        await self.poller.stop()
        if self._tracking is not None:
            await self._tracking.stop()
        await asyncio.gather(*(source.close() for source in self.sources.values()), *self._closing)

    async def metrics(self, fmt: Format, *, compress: bool) -> bytes:
        """The body of a scrape."""
        self.poller.expire()
        exposition = self._services.exposition
        own = await self.own.document(fmt, exposition.series) if self.options.exporter_metrics else b""
        return await exposition.body(fmt, compress, own)

    def status(self, selection: Selection | None = None) -> dict[str, Any]:
        """What `/api/v1/status` says of the targets selected, and of the whole."""
        self.poller.expire()
        return status_of(self, selection)

    async def status_as(self, made: Callable[[dict[str, Any]], Made], selection: Selection) -> Made:
        """The same, made into something. In a thread: it takes a while for thousands of targets, and polls go on."""
        self.poller.expire()
        return await asyncio.to_thread(lambda: made(status_of(self, selection)))

    @property
    def figures(self) -> Figureboard:
        """The numbers that are shown now."""
        return self._services.figures

    def now(self) -> float:
        """Unix time."""
        return self._clock.now()

    @property
    def warnings(self) -> list[str]:
        """What is allowed in the configuration but may surprise."""
        return warnings_of(self.config, self.sources) if self.config else []

    def effective_config(self) -> str:
        """The configuration in use, as YAML, secrets hidden."""
        return effective_yaml(self.config) if self.config else ""

    async def _load_and_apply(self) -> None:
        config, contexts = await asyncio.to_thread(load_with_tls, self.options.config_file)
        if self.config is not None:
            config = await asyncio.to_thread(config.keeping, self.config)
        share = await asyncio.to_thread(share_of, config, self.options.shard)
        # Everything that can be wrong comes first, and touches nothing that runs.
        slots, accounts, regions, projects = self._slots, self._accounts, self.regions, self.projects
        if self.config is None or config.poll.max_concurrency != self.config.poll.max_concurrency:
            slots = asyncio.Semaphore(config.poll.max_concurrency)
            regions, projects = {}, {}
        regions = await asyncio.to_thread(unchanged, share, regions)
        # Each of these steps takes some milliseconds for thousands of targets; between them, others have their turn.
        await asyncio.sleep(0)
        accounts = build_accounts(config, contexts, self._services, running=accounts)
        regions = build_regions(share, accounts, contexts, self._services, slots, running=regions)
        projects = build_projects(share, contexts, self._services, slots, running=projects, before=self.projects)
        tracking = await self._tracking_for(config)
        await asyncio.sleep(0)
        for region in regions.values():
            await region.prepare()
        # From here on nothing fails. The polls follow bit by bit: first those that end, then those that begin.
        old = self.sources
        self._swap(config, accounts, regions, projects, slots)
        targets = self._targets()
        await self.poller.leave_others(targets)
        self._share = share
        self._track_with(tracking)
        await self.poller.take(targets)
        self._update_targets()
        await asyncio.sleep(0)
        self._retire_all_but(self.sources, old)
        self._watch_secrets(config)
        await asyncio.sleep(0)

    async def _tracking_for(self, config: Config) -> TrackingService | None:
        """The tracker that `config` asks for, started: the running one where its settings are the same.

        Raises ConfigurationError where the state file cannot be used.
        """
        if not config.tracking.enabled:
            return None
        if self._tracking is not None and self.config is not None and self.config.tracking == config.tracking:
            return self._tracking
        service = TrackingService(
            state_file_of(config, self.options.shard),
            clock=self._clock,
            on_write_failure=self.own.state_file_write_failed,
        )
        try:
            await service.start()
        except StateFileError as error:
            file = str(self.options.config_file)
            raise ConfigurationError([Mistake(file, 1, 1, "tracking.state_file", str(error))]) from None
        return service

    def _track_with(self, tracking: TrackingService | None) -> None:
        """Let `tracking` count from now on, and tell it who is polled."""
        old, self._tracking, self._services.tracked.service = self._tracking, tracking, tracking
        if old is not None and old is not tracking:
            self._services.tracked.hide_all()
            self._in_background(old.stop())
        if tracking is not None and self.config is not None:
            others = followed_elsewhere(self.config, self._share)
            if old is not tracking:
                others |= left_alone(self._share, self.options.shard, tracking)
            mine = [key for cluster in self._share.clusters for key in tracked_members(cluster)]
            tracking.forget_members(mine, others)

    def _swap(
        self,
        config: Config,
        accounts: dict[str, AccountAtWork],
        regions: dict[str, Region],
        projects: dict[str, Project],
        slots: asyncio.Semaphore,
    ) -> None:
        """Let the new configuration take over at once, from the event loop's point of view."""
        if self.config is None or config.per_job != self.config.per_job:
            self._services.per_job = PerJobBudget(config.per_job.max_jobs) if config.per_job.enabled else None
            for name in self.sources:
                self._services.exposition.remove(("dropped", name))
        self.regions, self.projects, self.config = regions, projects, config
        self._accounts, self._slots = accounts, slots
        self._up_families |= {name: source.up_family for name, source in self.sources.items()}

    def _retire_all_but(self, new: dict[str, Source], old: dict[str, Source]) -> None:
        """Say goodbye to the sources that are polled no longer, and welcome to those that are polled since now."""
        self._up_families = {name: source.up_family for name, source in new.items()}
        for name in old.keys() - new.keys():
            self._forget(name)
        for name, source in old.items():
            if new.get(name) is not source:
                source.hide_token_expiry()
                self._in_background(self._retire(name, source))
        for name, source in new.items():
            if old.get(name) is not source:
                source.show_token_expiry()
                self._try_failed_soon(name)
        for warning in self.warnings:
            log.warning(warning)

    def _update_targets(self) -> None:
        self.poller.update(self._targets())

    def _targets(self) -> list[Target]:
        return [target for source in self.sources.values() for target in source.targets()]

    def _try_failed_soon(self, source: str) -> None:
        """What fails may work with the changed configuration: nobody should have to wait for the end of its pause."""
        statuses = self.poller.statuses
        self.poller.poll_soon([status.key for status in statuses if status.key.source == source and status.failures])

    async def _retire(self, name: str, source: Source) -> None:
        """Close what is polled no longer."""
        await source.close()
        # Requests that were under way were counted meanwhile.
        if name not in self.sources:
            self._forget(name)

    def _forget(self, source: str) -> None:
        self.own.drop_source(source)
        self._services.exposition.remove(("up", source))
        self._services.exposition.remove(("dropped", source))

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _watch_secrets(self, config: Config) -> None:
        if self._watch is not None:
            self._watch.cancel()
        watcher = SecretFiles(config.file_secrets(), self._clock, on_change=self._secret_changed)
        self._watch = asyncio.create_task(supervise("secret watch", watcher.run, clock=self._clock, observer=self.own))

    def _secret_changed(self, secret: FileSecret) -> None:
        """Try at once again what may have failed for the old content; the new one may be another user's, too."""
        keys = [key for source in self.sources.values() for key in source.secret_changed(secret)]
        self._update_targets()
        task = asyncio.create_task(self._poll_soon(keys))
        self._hurrying.add(task)
        task.add_done_callback(self._hurrying.discard)

    async def _poll_soon(self, keys: Sequence[TargetKey]) -> None:
        async for some in in_slices(keys):
            self.poller.poll_soon(some)
            # Thousands at once would only wait for each other.
            await self._clock.sleep(len(some) / POLLS_SOON_PER_SECOND)

    def _note_reload(self, *, ok: bool) -> None:
        self.reload_successful = ok
        if ok:
            self.reloaded_at = self._clock.now()
        self.own.config_reload(ok, self._clock.now())


def load_with_tls(path: Path) -> tuple[Config, dict[Tls, ssl.SSLContext]]:
    """Load a configuration, and a context for each of the TLS settings in it. Blocks.

    Raises ConfigurationError.
    """
    config = load(path)
    contexts: dict[Tls, ssl.SSLContext] = {}
    mistakes: list[Mistake] = []
    parts: list[Account | Cluster | OctopusProject] = [*config.accounts, *config.clusters, *config.octopus]
    for place, tls in [(part.place, part.tls) for part in parts]:
        try:
            contexts[tls] = context_for(tls, place)
        except ConfigurationError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigurationError(mistakes)
    return config, contexts


def unchanged(share: Config, running: Mapping[str, Region]) -> dict[str, Region]:
    """The regions that are configured as they were. Takes a while for thousands of users."""
    of_name = {cluster.name: cluster for cluster in share.clusters}
    return {name: region for name, region in running.items() if region.cluster == of_name.get(name)}


def build_accounts(
    config: Config, contexts: Mapping[Tls, ssl.SSLContext], services: Services, *, running: Mapping[str, AccountAtWork]
) -> dict[str, AccountAtWork]:
    """A login for each configured account: the running one, with its tokens, where nothing of it or its CA changed."""
    return {
        account.name: kept
        if (kept := running.get(account.name)) is not None
        and kept.account == account
        and kept.tls is contexts[account.tls]
        else account_at_work(account, services, contexts[account.tls])
        for account in config.accounts
    }


def build_regions(
    config: Config,
    accounts: Mapping[str, AccountAtWork],
    contexts: Mapping[Tls, ssl.SSLContext],
    services: Services,
    slots: asyncio.Semaphore,
    *,
    running: Mapping[str, Region],
) -> dict[str, Region]:
    """A region for each configured one: the running one where nothing of its CA or its accounts changed either.

    `running` are those whose own configuration is `unchanged`.
    """
    regions: dict[str, Region] = {}
    for cluster in config.clusters:
        kept = running.get(cluster.name)
        if (
            kept is None
            or kept.tls is not contexts[cluster.tls]
            or any(accounts[name] is not at_work for name, at_work in kept.accounts.items())
        ):
            kept = Region(cluster, accounts, services, slots=slots, tls=contexts[cluster.tls])
        regions[cluster.name] = kept
    return regions


def warnings_of(config: Config, sources: Mapping[str, Source]) -> list[str]:
    """What is allowed in a configuration but may surprise."""
    return [*config.warnings, *(warning for source in sources.values() for warning in source.warnings())]
