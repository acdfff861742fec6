"""Accounts of the SCNet platform: their login sessions, and the source that is polled with the platform's own token."""

import asyncio
import ssl
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from exporter.config import Account, Secret
from exporter.http import Endpoint, TokenCache, TokenSource
from exporter.metrics.family import Family
from exporter.polling import WHOLE, TargetKey
from exporter.sources.collector import Collector, Subject
from exporter.sources.scnet.api import address, open_envelope
from exporter.sources.scnet.login import PLATFORM, AccessKeyLogin, PasswordLogin, renewal
from exporter.sources.scnet.subjects import ACCOUNT_UP
from exporter.sources.source import Context, Source


@dataclass(frozen=True, slots=True)
class AccountSession:
    """A configured account, the tokens of its login, and the TLS context for the host that it logs in at."""

    account: Account
    tokens: TokenCache
    tls: ssl.SSLContext
    # By collector: objects of those that are requested once for all regions of the account.
    shared: dict[str, Any] = field(default_factory=dict, compare=False)


def account_session(
    account: Account, context: Context, tls: ssl.SSLContext, before: AccountSession | None = None
) -> AccountSession:
    """Return the session of an account, with the tokens that it had `before` a reload if it logs in as before."""
    if before is not None and before.tls is tls and login_of(account) == login_of(before.account):
        return AccountSession(account, before.tokens, tls)
    return AccountSession(account, TokenCache(login_of(account), context.clock), tls)


def login_of(account: Account) -> AccessKeyLogin | PasswordLogin:
    """Return the way that an account logs in."""
    if account.password is not None:
        return PasswordLogin(account.user, account.password, account.org_id or "", account.url, account.name)
    assert account.access_key is not None  # noqa: S101 - the configuration's checks see to it
    assert account.secret_key is not None  # noqa: S101
    return AccessKeyLogin(account.user, account.access_key, account.secret_key, account.token_url, account.name)


def secrets_of(account: Account) -> tuple[Secret | None, ...]:
    """Return the credentials of an account."""
    return account.access_key, account.secret_key, account.password


class Platform(Source):
    """The platform for a configured account that collects something."""

    kind: ClassVar = "account"
    up_family: ClassVar[Family] = ACCOUNT_UP
    open = staticmethod(open_envelope)

    def __init__(
        self,
        session: AccountSession,
        context: Context,
        *,
        slots: asyncio.Semaphore,
        owns: Callable[[TargetKey], bool] = WHOLE.owns,
    ) -> None:
        super().__init__(session.account, context, slots=slots, tls=session.tls, owns=owns)
        self.session = session
        self.account = session.account
        self._token = TokenSource(
            session.tokens,
            PLATFORM,
            source=self.name,
            # Logins may go to another host.
            upstream=self.connection(),
            observer=context.own,
            renewal=renewal(self.upstream, self.account.url),
        )

    @property
    def address(self) -> Hashable:
        return self.account.url, self.account.user

    def endpoint(self, collector: Collector, subject: Subject) -> Endpoint:
        """Return the path of `collector`, requested with the platform's token."""
        url = self.account.url
        path = address(collector.path, subject.params, hpc_url=url, ac_url=url)
        return Endpoint(self.upstream, self._token, collector.name, path)

    def use_changed(self, secrets: frozenset[Secret]) -> bool:
        """Use the new contents of `secrets`; False where none of them is its own."""
        if secrets.isdisjoint(secrets_of(self.account)):
            return False
        self.session.tokens.credential_changed()
        return True

    async def show_token_expiry(self) -> None:
        """Put the expiry of the platform's token into the metrics."""
        self.context.own.declare_token(self.name)
        self._token.show_expiry()
