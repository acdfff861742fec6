"""An SCNet region as a source: its targets and its tokens."""

import asyncio
import ssl
import weakref
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import structlog

from exporter.config import Cluster, Secret
from exporter.http import EitherToken, Endpoint, StaticToken, TokenProvider, TokenSource, Upstream
from exporter.metrics.family import Family
from exporter.metrics.health import HPC_UP
from exporter.polling import SLICE, WHOLE, Target, TargetKey, batched
from exporter.sources.collector import Collector, Subject, collectors_of, registry, subjects_of
from exporter.sources.scnet.api import address, open_envelope
from exporter.sources.scnet.login import PLATFORM, read_token, renewal
from exporter.sources.scnet.platform import AccountSession, secrets_of
from exporter.sources.scnet.schedulers import SchedulerIds
from exporter.sources.scnet.subjects import OWNER, USER
from exporter.sources.source import Context, Source

log = structlog.get_logger()

T = TypeVar("T")


class Region(Source):
    """A configured region."""

    kind: ClassVar = "scnet"
    up_family: ClassVar[Family] = HPC_UP
    open = staticmethod(open_envelope)

    def __init__(
        self,
        cluster: Cluster,
        accounts: Mapping[str, AccountSession],
        context: Context,
        *,
        slots: asyncio.Semaphore,
        tls: ssl.SSLContext,
        owns: Callable[[TargetKey], bool] = WHOLE.owns,
    ) -> None:
        super().__init__(cluster, context, slots=slots, tls=tls, owns=owns)
        self.cluster = cluster
        self.accounts = {name: accounts[name] for name in account_names(cluster)}
        self._remarks: dict[str, str] = {}
        # The users that the targets were made for.
        self._users: list[str] = []
        self.tokens = RegionTokens(self)
        self.scheduler_ids = SchedulerIds(self.upstream, self.tokens.own, cluster.hpc_url, context.clock)

    @property
    def address(self) -> Hashable:
        return self.cluster.cluster_id, self.cluster.hpc_url, self.cluster.ac_url

    def remark(self, collector: str, text: str) -> None:
        """Set the warning of a collector about its answers; an empty text clears it. Logged when it changes."""
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
        """Return the targets of this region: made anew when its token turns out to be another user's."""
        if self.cluster.users is None and self._users != self._queue_users():
            self._targets = None
        targets = super().targets()
        if any(registry()[collector].per is USER for collector in {target.key.collector for target in targets}):
            self.context.own.declare_queues(self.name)
        return targets

    async def prepare(self) -> None:
        """Make the targets in slices: thousands in one go would block the event loop for too long."""
        if self._targets is None:
            targets = list[Target]()
            for target in self.new_targets():
                targets.append(target)
                if len(targets) % SLICE == 0:
                    await asyncio.sleep(0)
            self._targets = targets

    def new_targets(self) -> Iterator[Target]:
        """Make the targets for the users that are known now."""
        cluster, users = self.cluster, self._queue_users()
        self._users = users
        for collector, subject in subjects_of("clusters", cluster, users[0] if users else OWNER):
            # Each of several instances needs the ends of its members, which one answer holds for all.
            owns = collector.tells_ends or self._owns(collector.configured_key(subject))
            if owns and (subject.configured is None or users):
                together = f"{collector.name}/{cluster.account}" if collector.per.needs_account else ""
                yield self.new_target(collector, subject, together=together)

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

    def use_changed(self, secrets: frozenset[Secret]) -> bool:
        """Use the new contents of `secrets`; False where none of them is its own."""
        if not self.tokens.use_changed(secrets):
            return False
        self.scheduler_ids.credential_changed()
        return True

    async def show_token_expiry(self) -> None:
        """Put the expiry of the tokens into the metrics."""
        await self.tokens.show_expiry()

    async def hide_token_expiry(self) -> None:
        """Take the expiry of the tokens out of the metrics."""
        await self.tokens.hide_expiry()


class RegionTokens:
    """The tokens of one region: its own, those of single users, and those that the member lists take."""

    def __init__(self, region: Region) -> None:
        # Weak, so that a region is freed immediately after a reload, instead of being left to the garbage collector.
        self._region = weakref.proxy(region)
        self._cluster = cluster = region.cluster
        self._own_metrics = region.context.own
        self._logins: dict[str, Upstream] = {}
        self._platform: tuple[Upstream, TokenSource] | None = None
        self.own = self._token(cluster.token, cluster.account, "")
        self._of_users = {
            user.name: self._token(user.token, user.account, user.name)
            for user in cluster.users or ()
            if user.token is not None or user.account is not None
        }
        # No page says whether member lists take the region's token or the platform's.
        self.members: TokenProvider = self.own
        if isinstance(self.own, TokenSource):
            platform = self._source(cluster.account or "", PLATFORM, None)
            self.members = EitherToken(self.own, platform, region.context.clock)

    def of_user(self, user: str) -> StaticToken | TokenSource:
        """Return the token to ask for a user's queues with."""
        return self._of_users.get(user, self.own)

    @property
    def _by_user(self) -> list[tuple[str, StaticToken | TokenSource]]:
        return [("", self.own), *self._of_users.items()]

    def use_changed(self, secrets: frozenset[Secret]) -> bool:
        """End the pauses that old contents of `secrets` caused and show the expiry of new tokens; False if none is used."""
        sessions = self._region.accounts.values()
        changed = [each.tokens for each in sessions if not secrets.isdisjoint(secrets_of(each.account))]
        users = (user.token for user in self._cluster.users or ())
        if not changed and secrets.isdisjoint((self._cluster.token, *users)):
            return False
        for tokens in changed:
            tokens.credential_changed()
        if isinstance(self.members, EitherToken):
            self.members.reset()
        for user, token in self._by_user:
            if isinstance(token, StaticToken):
                self._show_static(user, token)
        return True

    async def show_expiry(self) -> None:
        """Put the expiry of all tokens into the metrics."""
        async for some in batched(self._by_user):
            for user, token in some:
                if isinstance(token, TokenSource):
                    self._own_metrics.declare_token(self._cluster.name)
                    token.show_expiry()
                else:
                    self._show_static(user, token)

    def _show_static(self, user: str, token: StaticToken) -> None:
        self._own_metrics.token_expiry(self._cluster.name, user, token.issued.expires)

    async def hide_expiry(self) -> None:
        """Take the expiry of all tokens out of the metrics."""
        async for some in batched(self._by_user):
            for user, _ in some:
                self._own_metrics.token_expiry(self._cluster.name, user, None)

    def shared(self, collector: str, make: Callable[[], T]) -> T:
        """Return the object that all regions of the region's account share for a collector."""
        found: T = self._region.accounts[self._cluster.account or ""].shared.setdefault(collector, make())
        return found

    def platform_endpoint(self, collector: str, path: str, json_body: Mapping[str, Any]) -> Endpoint:
        """Return a path of the platform, requested by POST with the platform's token of the region's account."""
        session = self._region.accounts[self._cluster.account or ""]
        if self._platform is None:
            token = self._source(session.account.name, PLATFORM, None)
            self._platform = self._region.connection(tls=session.tls), token
        upstream, token = self._platform
        return Endpoint(upstream, token, collector, session.account.url + path, json_body=json_body)

    def _token(self, credential: Secret | None, account: str | None, user: str) -> StaticToken | TokenSource:
        if credential is not None:
            return StaticToken(credential, read_token)
        return self._source(account or "", self._cluster.cluster_id, user)

    def _source(self, account: str, scope: str, user: str | None) -> TokenSource:
        """Return the way to a token of an account.

        Logins go to another host than the region's calls, but count as the region's that needed them.
        """
        session = self._region.accounts[account]
        if account not in self._logins:
            self._logins[account] = self._region.connection(tls=session.tls)
        return TokenSource(
            session.tokens,
            scope,
            source=self._cluster.name,
            user=user,
            upstream=self._logins[account],
            observer=self._own_metrics,
            renewal=renewal(self._region.upstream, self._cluster.ac_url),
        )


def account_names(cluster: Cluster) -> set[str]:
    """Return the accounts that a region takes tokens from."""
    names = [cluster.account, *(user.account for user in cluster.users or ())]
    return {name for name in names if name is not None}
