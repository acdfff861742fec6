"""The whole exporter in one object: configuration in, bytes for /metrics and facts for the status out."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from exporter.app.handover import followed, left_alone, state_file_of
from exporter.app.reload import SharedReload, StoppedError
from exporter.app.share import share_of
from exporter.app.status import Selection, Snapshot, status_of
from exporter.app.tls import AuthorityFiles, Contexts, context_for
from exporter.clock import Clock, SystemClock
from exporter.config import Account, Cluster, Config, FileSecret, OctopusProject, SecretFiles, Tls, effective_yaml, load
from exporter.config.files import UnansweredFileError, read_in_thread
from exporter.errors import ConfigurationError, Mistake
from exporter.metrics.family import Family
from exporter.metrics.own import OwnMetrics
from exporter.metrics.perjob import PerJobBudget
from exporter.metrics.render import Format
from exporter.metrics.snapshot import Exposition
from exporter.polling import WHOLE, Scheduler, Shard, Target, TargetKey, TargetStatus, in_slices
from exporter.sources.figures import Figureboard
from exporter.sources.octopus.project import Project, build_projects
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.region_tokens import AccountAtWork, account_at_work
from exporter.sources.source import Context, Source
from exporter.supervise import ShortTasks, supervise
from exporter.threads import in_daemon_thread
from exporter.tracking import StateFileError, TrackingService

log = structlog.get_logger()

Made = TypeVar("Made")
# So many targets a second are asked out of turn when a credential changed.
POLLS_SOON_PER_SECOND = 2_000
# Seconds after which a state file that is not open counts as unusable.
STATE_FILE_TIMEOUT = 10.0
# Seconds for the ends of connections when the exporter stops.
CLOSE_TIMEOUT = 3.0
# Threads that make the status at a time: scrapes and polls need some as well.
STATUS_THREADS = 2


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about the process; the rest is in the configuration file."""

    config_file: Path
    exporter_metrics: bool = True
    shard: Shard = WHOLE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that only has to be applied: as it was `loaded`, and with the secrets that are in use already."""

    loaded: Config
    contexts: Contexts
    config: Config
    slots: asyncio.Semaphore
    accounts: dict[str, AccountAtWork]
    regions: dict[str, Region]
    projects: dict[str, Project]
    tracking: TrackingService | None


class Application:
    """Made on the event loop that it lives on. `load` comes first, then `start`, at the end `stop`."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self.options = options
        self._clock = clock or SystemClock()
        self._services = Context(self._clock, Exposition(), exporter_metrics=options.exporter_metrics)
        self._services.targets_changed = self._update_targets
        self._display = self._services.display
        self.own.shard(options.shard.ordinal, options.shard.total)
        self.poller = Scheduler(self._clock, self._display)
        self.config: Config | None = None
        self._slots = asyncio.Semaphore()
        self._accounts: dict[str, AccountAtWork] = {}
        self.regions: dict[str, Region] = {}
        self.projects: dict[str, Project] = {}
        self._tracking: TrackingService | None = None
        self._secrets = SecretFiles(self._clock, on_change=self._use_changed)
        self._authorities = AuthorityFiles(self._clock, on_change=self._use_authorities)
        self._contexts: Contexts = {}
        self._watches: list[asyncio.Task[None]] = []
        self._polling_soon, self._closing = ShortTasks(), ShortTasks()
        self._reloads = SharedReload(self._reload)
        # Held by the first load, too: what is requested meanwhile comes after it.
        self._loading = asyncio.Lock()
        # Entered around every reload, for who has to be told.
        self.around_reload: Callable[[], AbstractContextManager[None]] = nullcontext
        self._status_threads = asyncio.Semaphore(STATUS_THREADS)
        # What is shown of a configuration.
        self._effective: tuple[Config, asyncio.Future[str]] | None = None
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
        """Load the configuration and begin to poll. Raises ConfigurationError; `stop` has to be called all the same."""
        async with self._loading:
            await self._load_and_apply()
            self._note_reload(None)
        self._watches = [
            asyncio.create_task(supervise(name, run, clock=self._clock, observer=self.own))
            for name, run in (("secret watch", self._secrets.run), ("CA watch", self._authorities.run))
        ]

    async def reload(self) -> None:
        """Load the configuration anew, all or nothing, together with all who request it meanwhile.

        Raises ConfigurationError; the old configuration then goes on.
        """
        try:
            await self._reloads.finished()
        except StoppedError:
            raise self._unloadable("not reloaded: the exporter stops") from None

    def request_reload(self) -> None:
        """The same for a caller that does not wait: the log has the outcome."""
        with suppress(StoppedError):
            self._reloads.request()

    async def _reload(self) -> None:
        async with self._loading:
            with self.around_reload():
                try:
                    await self._load_and_apply()
                except ConfigurationError as error:
                    self._note_reload(str(error))
                    # Its text says all; a traceback would only hide it.
                    log.error("the configuration was not reloaded; the old one goes on", error=str(error))  # noqa: TRY400
                    raise
                except Exception:
                    self._note_reload("an error inside the exporter, see its log")
                    log.exception("the configuration was not reloaded in an unforeseen way; please report this")
                    raise
                self._note_reload(None)

    async def stop_reloading(self) -> None:
        """Give up the reload that is under way, unless it is being applied; no further one begins."""
        await self._reloads.stop()

    async def stop(self) -> None:
        """Stop reloading and polling, write what the tracker knows, and close all connections."""
        await self.stop_reloading()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._polling_soon.stop()
        await self.poller.stop()
        if self._tracking is not None:
            await self._tracking.stop()
        for name, source in self.sources.items():
            self._closing.start(f"close of {name}", source.close())
        await self._closing.finish(CLOSE_TIMEOUT)

    async def metrics(self, fmt: Format, *, compress: bool) -> bytes:
        """The body of a scrape."""
        self.poller.expire()
        exposition = self._display.exposition
        own = await self.own.document(fmt, exposition.series) if self.options.exporter_metrics else b""
        return await exposition.body(fmt, compress, own)

    async def status_as(self, made: Callable[[dict[str, Any]], Made], selection: Selection) -> Made:
        """What `/api/v1/status` says of the targets selected and of the whole, made into something.

        In a thread: it takes a while for thousands of targets, and polls go on.
        """
        async with self._status_threads:
            self.poller.expire()
            snapshot = await self._snapshot()
            return await asyncio.to_thread(lambda: made(status_of(snapshot, selection)))

    async def _snapshot(self) -> Snapshot:
        statuses: list[TargetStatus] = []
        async for some in in_slices(self.poller.statuses):
            statuses += [status.copy() for status in some]
        return Snapshot(
            now=self._clock.now(),
            started_at=self.started_at,
            ready=self.poller.ready,
            shard=self.options.shard,
            config_file=self.options.config_file,
            reload_successful=self.reload_successful,
            reloaded_at=self.reloaded_at,
            reload_error=self.reload_error,
            warnings=self.warnings,
            kinds=dict.fromkeys(self.regions, "scnet") | dict.fromkeys(self.projects, "octopus"),
            statuses=statuses,
            figures=self.figures.copy(),
            token_ends={source: dict(ends) for source, ends in self.own.token_ends.items()},
        )

    @property
    def figures(self) -> Figureboard:
        """The numbers that are shown now."""
        return self._display.figures

    def now(self) -> float:
        """Unix time."""
        return self._clock.now()

    @property
    def warnings(self) -> list[str]:
        """What is allowed in the configuration but may surprise."""
        return warnings_of(self.config, self.sources) if self.config else []

    async def effective_config(self) -> str:
        """Return the configuration in use as YAML, secrets hidden. It is made once, in a thread."""
        if self.config is None:
            return ""
        if self._effective is None or self._effective[0] is not self.config:
            text = in_daemon_thread(partial(effective_yaml, self.config), name="effective configuration")
            self._effective = self.config, text
        _, text = self._effective
        await asyncio.wait({text})
        return text.result()

    async def _load_and_apply(self) -> None:
        await self._replace(*await self._load())

    async def _use_authorities(self, contexts: Contexts) -> None:
        """Let sources whose CA file changed connect anew; connections of before are closed after their requests."""
        async with self._loading:
            # A reload that came first read the files itself.
            if self.config is not None and contexts.keys() == self._contexts.keys():
                await self._replace(self.config, contexts)

    async def _replace(self, loaded: Config, contexts: Contexts) -> None:
        prepared = await self._prepare(loaded, contexts)
        # From here on nothing fails, and who cancels the reload has to wait: it is not left half done.
        applying = asyncio.ensure_future(self._apply(prepared))
        try:
            await asyncio.shield(applying)
        except asyncio.CancelledError:
            await asyncio.wait({applying})
            raise

    async def _load(self) -> tuple[Config, dict[Tls, ssl.SSLContext]]:
        try:
            return await read_in_thread(lambda: load_with_tls(self.options.config_file))
        except UnansweredFileError as error:
            raise self._unloadable(f"{error.path}: {error}") from None

    def _unloadable(self, why: str) -> ConfigurationError:
        return ConfigurationError([Mistake(str(self.options.config_file), 1, 1, "", why)])

    async def _prepare(self, loaded: Config, contexts: Contexts) -> Prepared:
        """Do everything that can fail or takes long, without touching anything that runs."""
        config = loaded if self.config is None else await asyncio.to_thread(loaded.keeping, self.config)
        share = await asyncio.to_thread(share_of, config, self.options.shard)
        slots, regions, projects = self._slots, self.regions, self.projects
        if self.config is None or config.poll.max_concurrency != self.config.poll.max_concurrency:
            slots = asyncio.Semaphore(config.poll.max_concurrency)
            regions, projects = {}, {}
        regions = await asyncio.to_thread(unchanged, share, regions)
        # Each of these steps takes some milliseconds for thousands of targets; between them, others have their turn.
        await asyncio.sleep(0)
        accounts = build_accounts(config, contexts, self._services, running=self._accounts)
        owns = self.options.shard.owns
        regions = build_regions(share, accounts, contexts, self._services, slots, running=regions, owns=owns)
        projects = build_projects(
            share, contexts, self._services, slots, running=projects, before=self.projects, owns=owns
        )
        await asyncio.sleep(0)
        for region in regions.values():
            await region.prepare()
        # The last step: nothing can fail after it and leave a state file open.
        tracking = await self._tracking_for(config)
        return Prepared(loaded, contexts, config, slots, accounts, regions, projects, tracking)

    async def _apply(self, prepared: Prepared) -> None:
        """Let the new configuration take over."""
        old, config = self.sources, prepared.config
        changed = take_contents(prepared.loaded.file_secrets(), config.file_secrets())
        self._swap(prepared)
        self._track_with(prepared.tracking)
        await self.poller.set_targets(self._targets())
        self._retire_all_but(self.sources, old)
        self._secrets.follow(config.file_secrets())
        self._contexts = prepared.contexts
        self._authorities.follow(prepared.contexts)
        await asyncio.sleep(0)
        if changed:
            self._polling_soon.start("use of changed secrets", self._use_changed(changed))

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
            observer=self.own,
        )
        starting = asyncio.ensure_future(service.start())
        try:
            await asyncio.wait({starting}, timeout=STATE_FILE_TIMEOUT)
            raise_unless_open(starting, config.tracking.state_file)
        except StateFileError as error:
            self._abandon(service, starting)
            file = str(self.options.config_file)
            raise ConfigurationError([Mistake(file, 1, 1, "tracking.state_file", str(error))]) from None
        except BaseException:
            self._abandon(service, starting)
            raise
        return service

    def _abandon(self, service: TrackingService, starting: asyncio.Future[None]) -> None:
        """Close the state file once it is open: cancelled in between, it would stay locked."""

        def close(started: asyncio.Future[None]) -> None:
            if not started.cancelled() and started.exception() is None:
                self._closing.start("close of a state file", service.stop())

        starting.add_done_callback(close)

    def _track_with(self, tracking: TrackingService | None) -> None:
        """Let `tracking` count from now on, and tell it who is polled."""
        old, self._tracking, self._services.tracked.service = self._tracking, tracking, tracking
        if old is not None and old is not tracking:
            self._services.tracked.hide_all()
            self._closing.start("stop of the tracker", old.stop())
        if tracking is not None and self.config is not None:
            mine, others = followed(self.config, self.options.shard)
            if old is not tracking:
                others |= left_alone(self.config, mine, self.options.shard, tracking)
            tracking.forget_members(mine, others)

    def _swap(self, prepared: Prepared) -> None:
        """Let the new configuration take over at once, from the event loop's point of view."""
        config = prepared.config
        if self.config is None or config.per_job != self.config.per_job:
            self._display.limit_jobs(job_budget(config), self.sources)
        self.regions, self.projects, self.config = prepared.regions, prepared.projects, config
        self._accounts, self._slots = prepared.accounts, prepared.slots
        # Also of sources that are about to leave.
        self._display.up_families = {**self._display.up_families, **up_families(self.sources)}

    def _retire_all_but(self, new: dict[str, Source], old: dict[str, Source]) -> None:
        """Say goodbye to the sources that are polled no longer, and welcome to those that are polled since now."""
        self._display.up_families = up_families(new)
        for name in old.keys() - new.keys():
            self._display.drop_source(name)
        for name, source in old.items():
            if new.get(name) is not source:
                source.hide_token_expiry()
                self._closing.start("close of a source", self._retire(name, source))
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
        """Close a source that is polled no longer, once the polls that go on with it have ended."""
        await self.poller.replaced_polls(name)
        await source.close()
        # Requests that were under way were counted meanwhile.
        if name not in self.sources:
            self._display.drop_source(name)

    async def _use_changed(self, secrets: Sequence[FileSecret]) -> None:
        """Try at once again what may have failed for the old contents; the new ones may be another user's, too."""
        keys: dict[TargetKey, None] = {}
        for secret in secrets:
            for source in self.sources.values():
                keys |= dict.fromkeys(source.secret_changed(secret))
            await asyncio.sleep(0)
        self._update_targets()
        self._polling_soon.start("polls after a change of secrets", self._poll_soon(tuple(keys)))

    async def _poll_soon(self, keys: Sequence[TargetKey]) -> None:
        async for some in in_slices(keys):
            self.poller.poll_soon(some)
            # Thousands at once would only wait for each other.
            await self._clock.sleep(len(some) / POLLS_SOON_PER_SECOND)

    def _note_reload(self, error: str | None) -> None:
        self.reload_successful, self.reload_error = error is None, error
        if error is None:
            self.reloaded_at = self._clock.now()
        self.own.config_reload(error is None, self._clock.now())


def raise_unless_open(opening: asyncio.Future[None], file: Path | None) -> None:
    """Raise StateFileError if a state file could not be opened, or is not open yet."""
    if not opening.done():
        raise StateFileError(
            f"state file {file}: is not open after {STATE_FILE_TIMEOUT:g} seconds: "
            "is the disk or network share that it is on there?"
        )
    opening.result()


def take_contents(fresh: Iterable[FileSecret], kept: Iterable[FileSecret]) -> list[FileSecret]:
    """Let the `kept` secrets have the contents of the `fresh` ones in the same places; those that changed by it."""
    changed = {
        id(secret): (secret, new.value())
        for new, secret in zip(fresh, kept, strict=True)
        if new.value() != secret.value()
    }
    for secret, content in changed.values():
        secret.update(content)
    return [secret for secret, _ in changed.values()]


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
    config: Config, contexts: Mapping[Tls, ssl.SSLContext], services: Context, *, running: Mapping[str, AccountAtWork]
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
    services: Context,
    slots: asyncio.Semaphore,
    *,
    running: Mapping[str, Region],
    owns: Callable[[TargetKey], bool] = lambda _key: True,
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
            kept = Region(cluster, accounts, services, slots=slots, tls=contexts[cluster.tls], owns=owns)
        regions[cluster.name] = kept
    return regions


def up_families(sources: Mapping[str, Source]) -> dict[str, Family]:
    return {name: source.up_family for name, source in sources.items()}


def job_budget(config: Config) -> PerJobBudget | None:
    return PerJobBudget(config.per_job.max_jobs) if config.per_job.enabled else None


def warnings_of(config: Config, sources: Mapping[str, Source]) -> list[str]:
    """What is allowed in a configuration but may surprise."""
    return [*config.warnings, *(warning for source in sources.values() for warning in source.warnings())]
