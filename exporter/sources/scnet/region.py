"""One SCNet region at work: its connections, its tokens and its targets."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import structlog

from exporter.config import Cluster, Secret
from exporter.http import Endpoint, Settings, TokenProvider, Upstream
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks
from exporter.metrics.health import HPC_UP
from exporter.polling import SLICE, Target, TargetKey
from exporter.records import Answer
from exporter.sources.collector import Collector, Found, Subject, collectors_of, registry, subjects_of
from exporter.sources.figures import SampleFigures
from exporter.sources.scnet.api import address, open_envelope
from exporter.sources.scnet.region_tokens import AccountSession, RegionTokens
from exporter.sources.scnet.schedulers import SchedulerIds
from exporter.sources.scnet.subjects import OWNER, USER
from exporter.sources.source import Context, target_of

log = structlog.get_logger()


class MadeTargets:
    """A region's targets, made for the queues of these `users`."""

    def __init__(self, users: list[str], targets: list[Target]) -> None:
        self.users = users
        self.targets = targets
        self.endpoints = tuple(dict.fromkeys(target.key.collector for target in targets))


class Region:
    """A configured region at work. Making one has no effect yet."""

    kind: Final = "scnet"
    up_family: Final[Family] = HPC_UP

    def __init__(
        self,
        cluster: Cluster,
        accounts: Mapping[str, AccountSession],
        context: Context,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext,
        owns: Callable[[TargetKey], bool] = lambda _key: True,
    ) -> None:
        """`owns` says of each configured target whether this instance polls it, where several share them."""
        self.cluster = cluster
        self._owns = owns
        self.tls = tls
        self.accounts = {name: accounts[name] for name in account_names(cluster)}
        self.name = cluster.name
        self.context = context
        self.upstream = Upstream(
            Settings(
                name=cluster.name,
                timeout=cluster.poll.timeout,
                retries=cluster.poll.retries,
                max_concurrency=cluster.poll.max_concurrency,
                requests_per_second=cluster.requests_per_second,
                max_body=cluster.poll.max_body,
            ),
            slots=slots,
            observer=context.own,
            clock=context.clock,
            tls=tls,
        )
        self.shown = context.display.answer
        self._made: MadeTargets | None = None
        self._remarks: dict[str, str] = {}
        self.tokens = RegionTokens(cluster, self.accounts, context, upstream=self.upstream, slots=slots)
        self.scheduler_ids = SchedulerIds(self.upstream, self.tokens.own, cluster.hpc_url, context.clock)

    def remark(self, collector: str, text: str) -> None:
        """Warn of something that a poll found out; an empty text takes it back. Logged when it changes."""
        if text and self._remarks.get(collector) != text:
            log.warning(text)
        self._remarks[collector] = text

    def warnings(self) -> list[str]:
        """Return settings that are allowed but may surprise, and what polls found out about them."""
        return [*self._warnings_of_users(), *self._warnings_of_history(), *filter(None, self._remarks.values())]

    def _warnings_of_history(self) -> list[str]:
        collected = [registry()[name] for name in self.cluster.collect]
        telling = [each.name for each in collected if each.tells_ends]
        if not telling or any(each.lists_jobs for each in collected):
            return []
        place, useless = self.cluster.place, ", ".join(telling)
        listing = ", ".join(each.name for each in collectors_of("clusters") if each.lists_jobs)
        return [f"{place}: collect: {useless} counts nothing without one of {listing}, which say whose jobs to follow"]

    def _warnings_of_users(self) -> list[str]:
        if self.cluster.users is not None:
            return []
        asked = [
            collector.name
            for collector, subject in subjects_of("clusters", self.cluster)
            if subject.configured == OWNER
        ]
        if asked and not self._queue_users():
            token = self.tokens.own.origin
            message = f"users is left out, and {token} does not say whose it is: no {', '.join(asked)}; list the users"
            return [f"{self.cluster.place}: {message}"]
        return []

    def _queue_users(self) -> list[str]:
        """Return the users whose queues are counted.

        OWNER stands for the token's own user until a login gives the name.
        """
        if self.cluster.users is not None:
            return [user.name for user in self.cluster.users]
        owner = self.tokens.own.issued.owner
        if owner:
            return [owner]
        return [OWNER] if self.cluster.account is not None else []

    def targets(self) -> list[Target]:
        """All that is polled in this region, in the order of the configuration: the same targets every time."""
        made = self._made
        if made is None or self._owner_changed(made):
            users = self._queue_users()
            made = self._made = MadeTargets(users, list(self._make_targets(users)))
        for collector in made.endpoints:
            self.context.own.declare(self.name, collector)
            if registry()[collector].per is USER:
                self.context.own.declare_queues(self.name)
            self.context.own.poll_interval(self.name, collector, self.cluster.poll.interval)
        return made.targets

    async def prepare(self) -> None:
        """Make the targets in slices: thousands in one go would block the event loop for too long."""
        if self._made is None:
            users, targets = self._queue_users(), list[Target]()
            for target in self._make_targets(users):
                targets.append(target)
                if len(targets) % SLICE == 0:
                    await asyncio.sleep(0)
            self._made = MadeTargets(users, targets)

    def _owner_changed(self, made: MadeTargets) -> bool:
        """Whether the token turned out to be another user's than when the targets were made."""
        return self.cluster.users is None and made.users != self._queue_users()

    def _make_targets(self, users: list[str]) -> Iterator[Target]:
        cluster = self.cluster
        owner = users[0] if users else OWNER
        for collector, subject in subjects_of("clusters", cluster, owner):
            # Each of several instances needs the ends of its members, which one answer holds for all.
            owns = collector.tells_ends or self._owns(collector.configured_key(subject))
            if not owns or (subject.configured is not None and not users):
                continue
            identity = (cluster.cluster_id, cluster.hpc_url, cluster.ac_url, subject.target)
            together = f"{collector.name}/{cluster.account}" if collector.per.needs_account else ""
            yield target_of(self, collector, subject, cluster.poll, identity, together=together)

    def count_flaws(self, collector: str, answer: Answer, unknown_words: Iterable[str]) -> None:
        """Count what could not be used of an answer; log an unknown state once for each spelling."""
        self.context.count_flaws(self.name, collector, answer, unknown_words)

    # For the polling of declared collectors: see `exporter.sources.collector.Source`.

    open = staticmethod(open_envelope)

    def endpoint(self, collector: Collector, subject: Subject) -> Endpoint:
        """Return the path of `collector`, requested with the token of the subject's user, or else the region's."""
        cluster = self.cluster
        url = address(collector.path, subject.params, hpc_url=cluster.hpc_url, ac_url=cluster.ac_url)
        tokens: TokenProvider
        if subject.group_id:
            tokens = self.tokens.members
        else:
            tokens = self.tokens.of_user(subject.user) if subject.user else self.tokens.own
        return Endpoint(self.upstream, tokens, collector.name, url)

    def show(self, key: TargetKey, found: Found, chunks: Chunks) -> None:
        """Let the target show this from now on."""
        self.context.own.rejected(self.name, key.collector, found.rejected)
        self.context.display.show(key, chunks, SampleFigures(found.samples), found.fingerprint)

    def secrets_changed(self, secrets: frozenset[Secret]) -> list[TargetKey]:
        """Use the new contents of `secrets`, not all of them its own; return the targets that may work again now."""
        if not self.tokens.credentials_changed(secrets):
            return []
        self.scheduler_ids.credential_changed()
        return [target.key for target in self.targets()]

    async def show_token_expiry(self) -> None:
        """Put the expiry of the tokens into the metrics."""
        await self.tokens.show_expiry()

    async def hide_token_expiry(self) -> None:
        """Take the expiry of the tokens out of the metrics."""
        await self.tokens.hide_expiry()

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        await self.tokens.close()
        await self.upstream.close()
        # They refer to the region: so all of it is freed immediately instead of being left to the garbage collector.
        self._made = None


def account_names(cluster: Cluster) -> set[str]:
    """Return the accounts that a region takes tokens from."""
    names = [cluster.account, *(user.account for user in cluster.users or ())]
    return {name for name in names if name is not None}
