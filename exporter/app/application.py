"""The service: polls what a configuration names, reloads it, and serves /metrics and the status from memory."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from exporter.app.components import Components, job_budget, load_with_tls, rebuilt
from exporter.app.membership import HOUR, PAUSE_AFTER_FAILURE, Membership, accounts_with_members
from exporter.app.reload import SharedReload, StoppedError
from exporter.app.status import LastReload, Selection, Snapshot, status_of
from exporter.app.tls import AuthorityFile, Contexts, authority_files
from exporter.app.tracker import Followed, TrackerSwitch
from exporter.clock import Clock, SystemClock
from exporter.config import Config, FileSecret, FileWatch, Tls, effective_yaml
from exporter.config.files import UnansweredFileError, read_in_thread
from exporter.errors import ConfigProblem, ConfigurationError
from exporter.metrics.exposition import Exposition
from exporter.metrics.format import Format
from exporter.metrics.self_metrics import SelfMetrics
from exporter.polling import WHOLE, Scheduler, Shard, TargetKey, TargetStatus, batched
from exporter.sources.source import Context, Source
from exporter.supervise import ShortTasks, supervised
from exporter.threads import in_daemon_thread
from exporter.tracking import StateFileError, TrackingService

log = structlog.get_logger()

Made = TypeVar("Made")
# Targets per second that are polled out of turn when a credential changed.
POLLS_SOON_PER_SECOND = 2_000
# Seconds that connections have to close when the exporter stops.
CLOSE_TIMEOUT = 3.0
# Simultaneous threads that make the status: scrapes and polls need threads, too.
STATUS_THREADS = 2


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of the command line; the rest is in the configuration file."""

    config_file: Path
    exporter_metrics: bool = True
    shard: Shard = WHOLE


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that is ready to be applied.

    `loaded` is the configuration as it was written, without the members that the platform lists; `secrets` are the
    objects that stay in use for its secrets from files, with the contents just read.
    """

    loaded: Config
    secrets: list[tuple[FileSecret, str]]
    components: Components
    tracking: TrackingService | None
    followed: Followed


class Application:
    """Made on the event loop that it runs on. Call `start` first, `stop` at the end."""

    def __init__(self, options: Options, clock: Clock | None = None) -> None:
        self.options = options
        self._clock = clock or SystemClock()
        self._context = Context(self._clock, Exposition(), exporter_metrics=options.exporter_metrics)
        self._context.targets_changed = self._update_targets
        self._display = self._context.display
        self.own.shard(options.shard.ordinal, options.shard.total)
        self.scheduler = Scheduler(self._clock, self._display)
        self.components = Components.none(self._context)
        self._secrets = FileWatch[FileSecret]("secret file", self._clock, on_change=self._use_changed)
        self._authorities = FileWatch[AuthorityFile]("CA file", self._clock, on_change=self._use_authorities)
        self._background = AsyncExitStack()
        self._polling_soon, self._closing = ShortTasks(), ShortTasks()
        self._tracker = TrackerSwitch(self._context, options.shard, self._closing)
        self._reloads = SharedReload(self._reload)
        # The configuration as it was written, and the members that the platform lists.
        self._loaded = self.components.config
        self._members = Membership(self._clock)
        self._members_wanted = asyncio.Event()
        # Whether they were requested once, and whether all targets were tried after that.
        self._members_known = self._ready = False
        # Also held by the first load: a reload that is requested meanwhile follows it.
        self._loading = asyncio.Lock()
        # Entered around every reload, for the service manager and the garbage collector.
        self.around_reload: Callable[[], AbstractContextManager[None]] = nullcontext
        self._status_threads = asyncio.Semaphore(STATUS_THREADS)
        # The text shown of a configuration.
        self._effective: tuple[Config, asyncio.Future[str]] | None = None
        self.started_at = self._clock.now()
        self.last_reload = LastReload()

    @property
    def ready(self) -> bool:
        """Whether every target was polled once, also those of members that the platform lists."""
        if self._members_known and not self._ready:
            self._ready = self.scheduler.ready and all(
                status.up is not None or status.absent for status in self.scheduler.statuses
            )
        return self._ready if accounts_with_members(self._loaded) else self.scheduler.ready

    @property
    def own(self) -> SelfMetrics:
        return self._context.own

    def http_request(self, path: str, code: int) -> None:
        """Count a response."""
        self.own.http_request(path, code)

    async def start(self) -> None:
        """Load the configuration and begin to poll. Raises ConfigurationError; call `stop` after that, too."""
        async with self._loading:
            await self._replace(*await self._load())
            self._note_reload(None)
        watches = {
            "secret watch": self._secrets.run,
            "CA watch": self._authorities.run,
            "members": self._follow_members,
        }
        await self._background.enter_async_context(supervised(watches, clock=self._clock, observer=self.own))

    async def reload(self) -> None:
        """Reload the configuration, all or nothing. Simultaneous calls share a reload.

        Raises ConfigurationError; the old configuration then stays in use.
        """
        try:
            await self._reloads.finished()
        except StoppedError:
            raise self._unloadable("not reloaded: the exporter stops") from None

    def request_reload(self) -> None:
        """Reload without waiting; the outcome is logged."""
        with suppress(StoppedError):
            self._reloads.request()

    async def stop_reloading(self) -> None:
        """Cancel the reload in progress, unless it is being applied, and reject further ones."""
        await self._reloads.stop()

    async def stop(self) -> None:
        """Stop reloading and polling, write the state of the tracker, and close all connections."""
        await self.stop_reloading()
        await self._background.aclose()
        await self._polling_soon.stop()
        await self.scheduler.stop()
        await self._tracker.stop()
        for name, source in self.components.sources.items():
            self._closing.start(f"close of {name}", source.close())
        await self._closing.finish(CLOSE_TIMEOUT)

    async def metrics(self, fmt: Format, *, compress: bool) -> bytes:
        """Return the body of a scrape."""
        self.scheduler.expire()
        exposition = self._display.exposition
        own = await self.own.document(fmt, exposition.series) if self.options.exporter_metrics else b""
        return await exposition.body(fmt, compress, own)

    async def status_as(
        self, made: Callable[[dict[str, Any]], Made], selection: Selection, wanted: Callable[[], bool] = lambda: True
    ) -> Made:
        """Return the result of `made` for the status of the selected targets and of the whole.

        Runs in a thread: it takes a while for thousands of targets. Raises ConnectionAbortedError where it is not `wanted`
        any more when its turn comes: clients that give up and try again would otherwise keep the threads busy for nothing.
        """
        async with self._status_threads:
            if not wanted():
                raise ConnectionAbortedError
            self.scheduler.expire()
            snapshot = await self._snapshot(with_jobs=selection.jobs is not None)
            return await asyncio.to_thread(lambda: made(status_of(snapshot, selection)))

    async def effective_config(self) -> str:
        """Return the configuration in use as YAML, secrets hidden. Made once, in a thread."""
        if self._effective is None or self._effective[0] is not self.components.config:
            text = in_daemon_thread(partial(effective_yaml, self.components.config), name="effective configuration")
            self._effective = self.components.config, text
        _, text = self._effective
        await asyncio.wait({text})
        return text.result()

    async def _snapshot(self, *, with_jobs: bool) -> Snapshot:
        service = self._context.tracked.service
        statuses: list[TargetStatus] = []
        async for some in batched(self.scheduler.statuses):
            statuses += [status.copy() for status in some]
        return Snapshot(
            now=self._clock.now(),
            started_at=self.started_at,
            ready=self.ready,
            shard=self.options.shard,
            config_file=self.options.config_file,
            reload=self.last_reload,
            warnings=[*self.components.warnings, *self._members.problems(self._loaded)],
            kinds=self.components.kinds,
            statuses=statuses,
            figures=self._display.figures.copy(),
            waits=self._context.tracked.waits(),
            accounts={each.name: each.account for each in self.components.config.clusters if each.account},
            single_jobs=self._display.per_job is not None,
            tracked=service.tracker.followed_jobs() if with_jobs and service is not None else {},
            token_ends={source: dict(ends) for source, ends in self.own.token_ends.items()},
        )

    # Load.

    async def _reload(self) -> None:
        async with self._loading:
            with self.around_reload():
                try:
                    await self._replace(*await self._load())
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

    async def _load(self) -> tuple[Config, dict[Tls, ssl.SSLContext]]:
        try:
            return await read_in_thread(lambda: load_with_tls(self.options.config_file))
        except UnansweredFileError as error:
            raise self._unloadable(f"{error.path}: {error}") from None

    def _unloadable(self, why: str, key: str = "") -> ConfigurationError:
        return ConfigurationError([ConfigProblem(str(self.options.config_file), 1, 1, key, why)])

    def _note_reload(self, error: str | None) -> None:
        now, succeeded = self._clock.now(), error is None
        self.last_reload = LastReload(succeeded, now if succeeded else self.last_reload.succeeded_at, error)
        self.own.config_reload(succeeded, now)

    # Compare with the running configuration, and apply.

    async def _replace(self, loaded: Config, contexts: Contexts) -> None:
        prepared = await self._prepare(loaded, contexts)
        # From here on nothing fails. A cancelled reload is finished first, so that it is not left half done.
        applying = asyncio.ensure_future(self._apply(prepared))
        try:
            await asyncio.shield(applying)
        except asyncio.CancelledError:
            await asyncio.wait({applying})
            raise

    async def _prepare(self, loaded: Config, contexts: Contexts) -> Prepared:
        """Do everything that can fail or takes long, without touching anything that runs."""
        written = await asyncio.to_thread(loaded.keeping, self.components.config)
        config = await asyncio.to_thread(self._members.expanded, written)
        # Finding them among thousands of users takes a while.
        secrets = await asyncio.to_thread(
            lambda: [
                (kept, fresh.value()) for kept, fresh in zip(config.file_secrets(), loaded.file_secrets(), strict=True)
            ]
        )
        components = await rebuilt(config, contexts, self.components, self.options.shard)
        followed = await asyncio.to_thread(Followed.of, config, self.options.shard)
        # The last step: nothing can fail after it and leave a state file open.
        try:
            tracking = await self._tracker.open(config)
        except StateFileError as error:
            raise self._unloadable(str(error), "tracking.state_file") from None
        return Prepared(written, secrets, components, tracking, followed)

    async def _apply(self, prepared: Prepared) -> None:
        """Let the new configuration take over."""
        old, new = self.components, prepared.components
        changed = take_contents(prepared.secrets)
        if new.config.per_job != old.config.per_job:
            self._display.limit_jobs(job_budget(new.config), old.sources)
        self._context.zone = new.config.tracking.time_zone
        self._context.history_window = new.config.tracking.history_window
        self._display.exclude(new.config.metrics.exclude)
        # Including those of sources that are about to be closed.
        self._display.up_families = old.up_families | new.up_families
        self.components = new
        if prepared.loaded != self._loaded:
            self._members_wanted.set()
        self._loaded = prepared.loaded
        self._tracker.use(prepared.tracking, new.config, prepared.followed)
        await self.scheduler.set_targets(self.components.targets())
        self._display.up_families = new.up_families
        await self._exchange_sources(old.sources, new.sources)
        for warning in new.warnings:
            log.warning(warning)
        self._secrets.follow(secret for secret, _ in prepared.secrets)
        self._authorities.follow(authority_files(new.contexts))
        await asyncio.sleep(0)
        if changed:
            self._polling_soon.start("use of changed secrets", self._use_changed(changed))

    async def _exchange_sources(self, old: Mapping[str, Source], new: Mapping[str, Source]) -> None:
        """Close the sources that are no longer polled.

        Show the tokens of new ones, and retry the failed targets they replace.
        """
        for name, source in old.items():
            if name not in new:
                self._display.drop_source(name)
            if new.get(name) is not source:
                await source.hide_token_expiry()
                self._closing.start("close of a source", self._retire(name, source))
        for name, source in new.items():
            if old.get(name) is not source:
                await source.show_token_expiry()
                failed = [each.key for each in self.scheduler.statuses if each.key.source == name and each.failures]
                self.scheduler.poll_soon(failed)

    async def _retire(self, name: str, source: Source) -> None:
        """Close a source that is no longer polled, after its last polls have ended."""
        await self.scheduler.replaced_polls(name)
        await source.close()
        # The last requests were counted meanwhile.
        if name not in self.components.sources:
            self._display.drop_source(name)

    def _update_targets(self) -> None:
        self.scheduler.update(self.components.targets())

    # Members that the platform lists.

    async def _follow_members(self) -> None:
        """Request members now, every hour, and when another configuration is loaded."""
        while True:
            self._members_wanted.clear()
            pause = HOUR if await self._update_members() else PAUSE_AFTER_FAILURE
            timer = self._clock.call_later(pause, self._members_wanted.set)
            try:
                await self._members_wanted.wait()
            finally:
                timer.cancel()

    async def _update_members(self) -> bool:
        """Request members, and poll those that there are now; return whether all accounts answered."""
        answered = await self._members.refresh(self._loaded, self.components.accounts, self.components.slots)
        async with self._loading:
            if await asyncio.to_thread(lambda: self._members.expanded(self._loaded) != self.components.config):
                await self._replace(self._loaded, self.components.contexts)
        self._members_known = True
        return answered

    # Files that change between reloads.

    async def _use_authorities(self, files: Sequence[AuthorityFile]) -> None:
        """Let sources whose CA file changed connect anew; their old connections are closed after their requests."""
        async with self._loading:
            contexts = self.components.contexts
            # Without files of before a reload, which read its own.
            changed = {file.identity: file.value() for file in files if file.identity in contexts}
            await self._replace(self._loaded, {**contexts, **changed})

    async def _use_changed(self, secrets: Sequence[FileSecret]) -> None:
        """Retry immediately the targets that use these secrets; the new content may belong to another user."""
        keys: dict[TargetKey, None] = {}
        changed = frozenset(secrets)
        for source in self.components.sources.values():
            keys |= dict.fromkeys(source.secrets_changed(changed))
            await asyncio.sleep(0)
        self._update_targets()
        self._polling_soon.start("polls after a change of secrets", self._poll_soon(tuple(keys)))

    async def _poll_soon(self, keys: Sequence[TargetKey]) -> None:
        async for some in batched(keys):
            self.scheduler.poll_soon(some)
            # Thousands of simultaneous polls would only wait for each other.
            await self._clock.sleep(len(some) / POLLS_SOON_PER_SECOND)


def take_contents(read: Iterable[tuple[FileSecret, str]]) -> list[FileSecret]:
    """Update secrets with the contents that were `read`; return those that changed."""
    changed = []
    for secret, content in read:
        if content != secret.value():
            secret.update(content)
            changed.append(secret)
    return changed
