"""One Octopus project at work: its client, its token and its queues."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

import structlog

from exporter.config import Config, FileSecret, OctopusProject, OctopusQueue, Secret, Tls
from exporter.errors import RejectedError
from exporter.metrics import catalogue
from exporter.metrics import octopus as families
from exporter.metrics.family import Family
from exporter.metrics.octopus import QueueCounters, QueueLabels
from exporter.octopus import IamLogin, ProjectClient, Queue, QueueTotals
from exporter.octopus.client import QUEUING_JOBS
from exporter.octopus.records import QueueListing
from exporter.polling import Target, TargetKey
from exporter.sources.figures import TaskFigures
from exporter.sources.keys import octopus_key
from exporter.sources.services import Services
from exporter.threads import off_loop
from exporter.upstream import ALARMING_SKEW, Settings, StaticToken, TokenCache, TokenSource, Upstream

log = structlog.get_logger()

# Working through so many entries takes a few milliseconds; more is done in a thread.
WORK_ON_LOOP_LIMIT: Final = 2_000


class Project:
    """A configured project at work. Making one has no effect yet."""

    up_family: Final[Family] = catalogue.OCTOPUS_UP

    def __init__(
        self,
        project: OctopusProject,
        services: Services,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        before: "Project | None" = None,
    ) -> None:
        """`before` is the project of this name until now, whose queues' counters go on where they mean the same."""
        self.project = project
        self.tls = tls
        self.name = project.name
        self._services = services
        self._upstream = self._made_upstream(1, slots, tls, project.requests_per_second)
        # Logins go to another host than the project's calls, but count as the project's.
        self._iam = self._made_upstream(1, slots, tls, None)
        self._client = ProjectClient(
            self._upstream, base_url=project.base_url, project_id=project.project_id, clock=services.clock
        )
        self._logins = self._made_logins()
        self._token = self._made_token()
        self._queues = [ObservedQueue(queue) for queue in project.queues]
        self._made: list[Target] | None = None
        self._skew_told = False
        if before is not None:
            self._go_on_from(before)

    def warnings(self) -> list[str]:
        """What is allowed but may surprise."""
        return []

    def targets(self) -> list[Target]:
        """A target for each queue, in the order of the configuration: the same targets every time."""
        own = self._services.own
        own.declare(self.name, QUEUING_JOBS)
        own.poll_interval(self.name, QUEUING_JOBS, self.project.poll.interval)
        if self._made is None:
            self._made = [self._target(queue) for queue in self._queues]
        return self._made

    def secret_changed(self, secret: FileSecret) -> list[TargetKey]:
        """Use the new content of `secret`; the targets that may work again now."""
        if not any(secret is used for used in self._secrets()):
            return []
        if self._logins is not None:
            self._logins.credential_changed()
        return [self._key(queue) for queue in self._queues]

    def show_token_expiry(self) -> None:
        """Declare the token's metrics; a pasted token does not say when it ends."""
        if self._logins is not None:
            self._services.own.declare_token(self.name)

    def hide_token_expiry(self) -> None:
        """Take the end of the token out of the metrics."""
        self._services.own.token_expiry(self.name, "", None)

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        await self._upstream.close()
        await self._iam.close()
        # They refer to the project: so all of it is gone at once instead of being left to the garbage collector.
        self._made = None

    def _made_upstream(
        self,
        max_concurrency: int,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext | bool,
        requests_per_second: float | None,
    ) -> Upstream:
        poll = self.project.poll
        settings = Settings(self.name, poll.timeout, poll.retries, max_concurrency, requests_per_second, poll.max_body)
        return Upstream(settings, slots=slots, observer=self._services.own, clock=self._services.clock, tls=tls)

    def _made_token(self) -> StaticToken | TokenSource:
        if self.project.credential is not None:
            return StaticToken(self.project.credential)
        assert self._logins is not None  # noqa: S101 - the configuration's checks see to it
        return TokenSource(self._logins, source=self.name, upstream=self._iam, observer=self._services.own)

    def _made_logins(self) -> TokenCache | None:
        iam = self.project.iam
        if iam is None:
            return None
        return TokenCache(IamLogin(iam.url, iam.domain, iam.user, iam.password, iam.project), self._services.clock)

    def _secrets(self) -> list[Secret | None]:
        return [self.project.credential, self.project.iam.password if self.project.iam else None]

    def _go_on_from(self, before: "Project") -> None:
        known = {before._identity(queue): queue.totals for queue in before._queues}  # noqa: SLF001 - another of this class
        for queue in self._queues:
            queue.totals = known.get(self._identity(queue), queue.totals)

    def _identity(self, queue: "ObservedQueue") -> tuple[str, str, Queue]:
        return self.project.base_url, self.project.project_id, queue.asked

    def _key(self, queue: "ObservedQueue") -> TargetKey:
        return octopus_key(self.project, queue.configured)

    def _target(self, queue: "ObservedQueue") -> Target:
        key, poll_settings, own = self._key(queue), self.project.poll, self._services.own

        async def poll() -> QueueListing:
            try:
                return await self._client.queuing_jobs(queue.asked, self._token)
            except RejectedError as error:
                raise RejectedError(
                    f"{error}; the queue is at {queue.configured.place}", api_code=error.api_code
                ) from None

        async def publish(listing: QueueListing) -> None:
            own.rejected(self.name, QUEUING_JOBS, listing.rejected + listing.rejected_values)
            self._tell_skew(listing.skew)
            self._tell_lost(key, queue, listing)
            await self._conclude(queue, listing)
            labels = QueueLabels(self.name, *queue.labels)
            kinds = 0 if listing.content is None else len(listing.content.jobs)
            chunks = await off_loop(
                kinds, WORK_ON_LOOP_LIMIT, lambda: families.queue(labels, listing, queue.counters())
            )
            self._services.exposition.put(key, chunks)
            self._services.figures.show(key, TaskFigures(listing.length))

        return Target(
            key=key,
            interval=poll_settings.interval,
            stale_after=poll_settings.stale_after,
            poll=poll,
            publish=publish,
            identity=self._identity(queue),
        )

    async def _conclude(self, queue: "ObservedQueue", listing: QueueListing) -> None:
        """Find out what came and went since the last listing."""
        at, longest_gap = self._services.clock.monotonic(), self.project.poll.stale_after
        totals = queue.totals
        size = len(listing.ids) + len(totals.flow.present)
        totals.take(await off_loop(size, WORK_ON_LOOP_LIMIT, lambda: totals.conclusion(listing, at, longest_gap)))

    def _tell_skew(self, skew: float | None) -> None:
        """Say once that the clocks differ, and once that they no longer do."""
        if skew is None:
            return
        alarming = abs(skew) > ALARMING_SKEW
        if alarming and not self._skew_told:
            log.warning(
                "this machine's clock and the project's differ: one of the two needs setting",
                source=self.name,
                ours_ahead_by_seconds=round(skew),
            )
        elif self._skew_told and not alarming:
            log.info("this machine's clock agrees with the project's again", source=self.name)
        self._skew_told = alarming

    def _tell_lost(self, key: TargetKey, queue: "ObservedQueue", listing: QueueListing) -> None:
        """Say once that a queue cannot be read as a whole, and once that it can again."""
        if listing.lost and not queue.lost_told:
            log.warning("a queue was not read as a whole", **key._asdict(), length=listing.length, reason=listing.lost)
        elif queue.lost_told and not listing.lost:
            log.info("the queue is read as a whole again", **key._asdict())
        queue.lost_told = bool(listing.lost)


class ObservedQueue:
    """A configured queue and what was counted there."""

    def __init__(self, queue: OctopusQueue) -> None:
        self.configured = queue
        self.labels = (queue.queue_type, queue.cluster_type or "", queue.cluster_id or "")
        self.asked = Queue(*self.labels)
        self.totals = QueueTotals()
        self.lost_told = False

    def counters(self) -> QueueCounters | None:
        """What came and went; None while nothing can be said about it."""
        totals = self.totals
        if totals.flow.complete_at is None:
            return None
        return QueueCounters(totals.arrivals, totals.departures, totals.waits.view())


def build_projects(
    config: Config,
    contexts: Mapping[Tls, ssl.SSLContext],
    services: Services,
    slots: asyncio.Semaphore,
    *,
    running: Mapping[str, Project],
    before: Mapping[str, Project],
) -> dict[str, Project]:
    """A project for each configured one: the `running` one where nothing of it or its CA changed, else one that follows `before`."""
    return {
        project.name: kept
        if (kept := running.get(project.name)) is not None
        and kept.project == project
        and kept.tls is contexts[project.tls]
        else Project(project, services, slots=slots, tls=contexts[project.tls], before=before.get(project.name))
        for project in config.octopus
    }
