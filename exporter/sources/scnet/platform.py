"""The SCNet platform as one account sees it: asked with the platform's token, at the account's address."""

import asyncio
from collections.abc import Callable
from typing import Final

from exporter.config import Secret
from exporter.http import Endpoint, Settings, TokenSource, Upstream
from exporter.metrics.family import Family
from exporter.metrics.format import Chunks
from exporter.polling import Target, TargetKey
from exporter.sources.collector import Collector, Found, Subject, subjects_of
from exporter.sources.figures import SampleFigures
from exporter.sources.scnet.api import address, open_envelope
from exporter.sources.scnet.login import PLATFORM, renewal
from exporter.sources.scnet.region_tokens import AccountSession, secrets_of
from exporter.sources.scnet.subjects import ACCOUNT_UP
from exporter.sources.source import Context, target_of


class Platform:
    """The platform for a configured account that collects something. Making one has no effect yet."""

    kind: Final = "account"
    up_family: Final[Family] = ACCOUNT_UP

    def __init__(
        self,
        at_work: AccountSession,
        context: Context,
        *,
        slots: asyncio.Semaphore,
        owns: Callable[[TargetKey], bool] = lambda _key: True,
    ) -> None:
        """`owns` says of each configured target whether this instance polls it, where several share them."""
        self.at_work = at_work
        self.account = account = at_work.account
        self.tls = at_work.tls
        self.name = account.name
        self.context = context
        self.shown = context.display.answer
        self._owns = owns
        self._targets: list[Target] | None = None
        poll = account.poll

        def upstream(requests_per_second: float | None) -> Upstream:
            settings = Settings(
                self.name, poll.timeout, poll.retries, poll.max_concurrency, requests_per_second, poll.max_body
            )
            return Upstream(settings, slots=slots, observer=context.own, clock=context.clock, tls=self.tls)

        self._upstream = upstream(account.requests_per_second)
        # Logins may go to another host.
        self._logins = upstream(None)
        self.token = TokenSource(
            at_work.tokens,
            PLATFORM,
            source=self.name,
            upstream=self._logins,
            observer=context.own,
            renewal=renewal(self._upstream, account.url),
        )

    def warnings(self) -> list[str]:
        """Return settings that are allowed but may surprise."""
        return []

    def targets(self) -> list[Target]:
        """All that is polled with this account, in the order of the registry: the same targets every time."""
        account = self.account
        if self._targets is None:
            self._targets = [
                target_of(self, collector, subject, account.poll, (account.url, account.user))
                for collector, subject in subjects_of(account.listed_in, account)
                if self._owns(collector.configured_key(subject))
            ]
        for name in dict.fromkeys(target.key.collector for target in self._targets):
            self.context.own.declare(self.name, name)
            self.context.own.poll_interval(self.name, name, account.poll.interval)
        return self._targets

    # For the polling of declared collectors: see `exporter.sources.collector.Source`.

    open = staticmethod(open_envelope)

    def endpoint(self, collector: Collector, subject: Subject) -> Endpoint:
        """Return the path of `collector`, requested with the platform's token."""
        url = self.account.url
        path = address(collector.path, subject.params, hpc_url=url, ac_url=url)
        return Endpoint(self._upstream, self.token, collector.name, path)

    def show(self, key: TargetKey, found: Found, chunks: Chunks) -> None:
        """Let the target show this from now on."""
        self.context.own.rejected(self.name, key.collector, found.rejected)
        self.context.display.show(key, chunks, SampleFigures(found.samples), found.fingerprint)

    def secrets_changed(self, secrets: frozenset[Secret]) -> list[TargetKey]:
        """Use the new contents of `secrets`, not all of them its own; return the targets that may work again now."""
        if secrets.isdisjoint(secrets_of(self.account)):
            return []
        self.at_work.tokens.credential_changed()
        return [target.key for target in self.targets()]

    async def show_token_expiry(self) -> None:
        """Put the expiry of the platform's token into the metrics."""
        self.context.own.declare_token(self.name)
        self.token.show_expiry()

    async def hide_token_expiry(self) -> None:
        """Take the expiry of the token out of the metrics."""
        self.context.own.token_expiry(self.name, "", None)

    async def close(self) -> None:
        """Let requests in flight finish, then close the connections."""
        await self._upstream.close()
        await self._logins.close()
        # They refer to the platform: so all of it is freed immediately instead of being left to the garbage collector.
        self._targets = None
