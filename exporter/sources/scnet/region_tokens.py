"""Which token each SCNet target travels with."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from exporter import config
from exporter.config import Cluster, FileSecret, Secret
from exporter.http import EitherToken, Endpoint, Settings, StaticToken, TokenCache, TokenSource, Upstream
from exporter.polling import batched
from exporter.sources.scnet.login import PLATFORM, AccessKeyLogin, PasswordLogin, read_token, renewal
from exporter.sources.source import Context

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AccountSession:
    """A configured account, the tokens of its login, and the TLS context for the host that it logs in at."""

    account: config.Account
    tokens: TokenCache
    tls: ssl.SSLContext
    # By collector: objects of those that are requested once for all regions of the account.
    shared: dict[str, Any] = field(default_factory=dict, compare=False)


def account_at_work(
    account: config.Account, context: Context, tls: ssl.SSLContext, before: AccountSession | None = None
) -> AccountSession:
    """Return an account with the tokens that it had `before` a reload, if it logs in as before."""
    if before is not None and before.tls is tls and same_login(account, before.account):
        return AccountSession(account, before.tokens, tls)
    return AccountSession(account, TokenCache(login_of(account), context.clock), tls)


def same_login(one: config.Account, other: config.Account) -> bool:
    """Whether two accounts log in alike, with the very same files: others are not read when their content changes."""
    secrets = zip(secrets_of(one), secrets_of(other), strict=True)
    return login_of(one) == login_of(other) and all(
        mine is theirs or not isinstance(mine, FileSecret) for mine, theirs in secrets
    )


def login_of(account: config.Account) -> AccessKeyLogin | PasswordLogin:
    """Return the way that an account logs in."""
    if account.password is not None:
        return PasswordLogin(account.user, account.password, account.org_id or "", account.url, account.name)
    assert account.access_key is not None  # noqa: S101 - the configuration's checks see to it
    assert account.secret_key is not None  # noqa: S101
    return AccessKeyLogin(account.user, account.access_key, account.secret_key, account.token_url, account.name)


class RegionTokens:
    """The tokens of one region: its own, those of single users, and those that the member lists take."""

    def __init__(
        self,
        cluster: Cluster,
        accounts: Mapping[str, AccountSession],
        context: Context,
        *,
        upstream: Upstream,
        slots: asyncio.Semaphore,
    ) -> None:
        self._cluster = cluster
        self._accounts = accounts
        self._context = context
        self._upstream = upstream
        self._slots = slots
        self._logins: dict[str, Upstream] = {}
        self._platform: Upstream | None = None
        self.own = self._token(cluster.token, cluster.account, "")
        self._of_users = {
            user.name: self._token(user.token, user.account, user.name)
            for user in cluster.users or ()
            if user.token is not None or user.account is not None
        }
        # No page says whether member lists take the region's token or the platform's.
        self.members = self._either(self.own) if isinstance(self.own, TokenSource) else self.own

    def of_user(self, user: str) -> StaticToken | TokenSource:
        """Return the token to ask for a user's queues with."""
        return self._of_users.get(user, self.own)

    def credentials_changed(self, secrets: frozenset[Secret]) -> bool:
        """End the pauses that old contents of `secrets` caused and show the expiry of new tokens; False if none is used."""
        changed = [a.tokens for a in self._accounts.values() if not secrets.isdisjoint(secrets_of(a.account))]
        users = (user.token for user in self._cluster.users or ())
        if not changed and secrets.isdisjoint((self._cluster.token, *users)):
            return False
        for tokens in changed:
            tokens.credential_changed()
        if isinstance(self.members, EitherToken):
            self.members.reset()
        for user, token in [("", self.own), *self._of_users.items()]:
            if isinstance(token, StaticToken):
                self._show_static(user, token)
        return True

    async def show_expiry(self) -> None:
        """Put the expiry of all tokens into the metrics."""
        async for some in batched([("", self.own), *self._of_users.items()]):
            for user, token in some:
                if isinstance(token, TokenSource):
                    self._context.own.declare_token(self._cluster.name)
                    token.show_expiry()
                else:
                    self._show_static(user, token)

    def _show_static(self, user: str, token: StaticToken) -> None:
        self._context.own.token_expiry(self._cluster.name, user, token.issued.expires)

    async def hide_expiry(self) -> None:
        """Take the expiry of all tokens out of the metrics."""
        async for users in batched(("", *self._of_users)):
            for user in users:
                self._context.own.token_expiry(self._cluster.name, user, None)

    def shared(self, collector: str, make: Callable[[], T]) -> T:
        """Return the object that all regions of the region's account share for a collector."""
        found: T = self._accounts[self._cluster.account or ""].shared.setdefault(collector, make())
        return found

    def platform_endpoint(self, collector: str, path: str, wanted: Mapping[str, Any]) -> Endpoint:
        """Return a path of the platform, requested by POST with the platform's token of the region's account."""
        at_work = self._accounts[self._cluster.account or ""]
        if self._platform is None:
            poll = self._cluster.poll
            settings = Settings(
                self._cluster.name, poll.timeout, poll.retries, poll.max_concurrency, max_body=poll.max_body
            )
            self._platform = Upstream(
                settings, slots=self._slots, observer=self._context.own, clock=self._context.clock, tls=at_work.tls
            )
            self._platform_token = self._source(at_work.account.name, PLATFORM, None)
        return Endpoint(self._platform, self._platform_token, collector, at_work.account.url + path, wanted=wanted)

    async def close(self) -> None:
        if self._platform is not None:
            await self._platform.close()
        for upstream in self._logins.values():
            await upstream.close()

    def _token(self, credential: Secret | None, account: str | None, user: str) -> StaticToken | TokenSource:
        if credential is not None:
            return StaticToken(credential, read_token)
        return self._source(account or "", self._cluster.cluster_id, user)

    def _either(self, own: TokenSource) -> EitherToken:
        platform = self._source(self._cluster.account or "", PLATFORM, None)
        return EitherToken(own, platform, self._context.clock)

    def _source(self, account: str, scope: str, user: str | None) -> TokenSource:
        at_work = self._accounts[account]
        return TokenSource(
            at_work.tokens,
            scope,
            source=self._cluster.name,
            user=user,
            upstream=self._login_upstream(at_work),
            observer=self._context.own,
            renewal=renewal(self._upstream, self._cluster.ac_url),
        )

    def _login_upstream(self, at_work: AccountSession) -> Upstream:
        """Logins go to another host than the region's calls, but count as the region's that needed them."""
        name = at_work.account.name
        if name not in self._logins:
            settings = Settings(
                name=self._cluster.name, timeout=self._cluster.poll.timeout, retries=self._cluster.poll.retries
            )
            self._logins[name] = Upstream(
                settings, slots=self._slots, observer=self._context.own, clock=self._context.clock, tls=at_work.tls
            )
        return self._logins[name]


def secrets_of(account: config.Account) -> tuple[Secret | None, ...]:
    """Return the credentials of an account."""
    return account.access_key, account.secret_key, account.password
