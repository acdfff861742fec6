"""Tokens from an account's login: obtained once for all its regions, renewed ahead of their end, replaced when refused.

A region's targets share one `AccountToken`, the account's regions share one `Account`. Whoever needs a token first
gets it; the others wait for the same login.
"""

import asyncio
import contextlib
import dataclasses
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from exporter.clock import Clock
from exporter.errors import AuthenticationError, DecodeError, PollError
from exporter.scnet.envelope import open_envelope
from exporter.scnet.login import (
    PLATFORM_CLUSTER_ID,
    TOKEN,
    Login,
    RegionToken,
    describe_skew,
    read_login,
)
from exporter.scnet.tokens import Claims, read_claims
from exporter.upstream import ALARMING_SKEW, Lifetime, Pause, Request, Response, TokenObserver, Upstream

log = structlog.get_logger()


class Account:
    """One login. `logins` counts the successful ones, so that a waiter knows whether somebody was faster."""

    def __init__(self, name: str, login: Login, clock: Clock) -> None:
        self.name = name
        self.logins = 0
        self._login = login
        self._clock = clock
        self._lock = asyncio.Lock()
        self._pause = Pause(clock)
        self._regions: Mapping[str, RegionToken] = {}
        self._skew_told = False
        self.skew = 0.0

    def credential_changed(self) -> None:
        """The pause after failures belongs to the old credential."""
        self._pause.end()

    async def log_in(self, upstream: Upstream, seen: int, on_failure: Callable[[], None]) -> None:
        """Log in, unless somebody did since the caller saw the `seen`-th login.

        Raises PollError: that of the login, after calling `on_failure`, or the last one again while a pause lasts.
        """
        async with self._lock:
            if self.logins > seen:
                return
            self._pause.check()
            try:
                await self._log_in(upstream)
            except PollError as error:
                error.culprit = f"account {self.name}"
                error.args = (f"the login of account {self.name} failed: {error}",)
                self._pause.failed(error)
                on_failure()
                raise
            self._pause.end()

    async def _log_in(self, upstream: Upstream) -> None:
        now = self._clock.now()
        answer = await upstream.call(self._login.request(now), read_login)
        self._regions = answer.regions
        self.skew = answer.skew or 0.0
        self.logins += 1
        self._tell_skew()

    def _tell_skew(self) -> None:
        alarming = abs(self.skew) >= ALARMING_SKEW
        if alarming and not self._skew_told:
            log.warning(describe_skew(self.skew), account=self.name)
        self._skew_told = alarming

    @property
    def regions(self) -> Mapping[str, RegionToken]:
        """What the last login gave, by region id, without the platform's own token."""
        return {key: region for key, region in self._regions.items() if key != PLATFORM_CLUSTER_ID}

    def token_for(self, cluster_id: str) -> str:
        """The region's token from the last login. Raises AuthenticationError where there is none."""
        region = self.regions.get(cluster_id)
        if region is None:
            known = ", ".join(sorted(self.regions)) or "none"
            raise AuthenticationError(
                f"account {self.name} has no region with cluster_id {cluster_id}; it has: {known}",
                culprit=f"account {self.name}",
            )
        if region.token is None:
            raise AuthenticationError(
                f"account {self.name} is disabled in region {cluster_id}: its login gives no token there; "
                "settle its bill or have it enabled",
                culprit=f"account {self.name}",
            )
        return region.token


@dataclass(frozen=True, slots=True)
class Held:
    """A token in use."""

    value: str
    claims: Claims
    life: Lifetime


class AccountToken:
    """The token of one region of an account; a TokenProvider. `user` is its owner, empty for the region's own."""

    def __init__(
        self,
        account: Account,
        *,
        source: str,
        user: str,
        cluster_id: str,
        ac_url: str,
        login_upstream: Upstream,
        region_upstream: Upstream,
        observer: TokenObserver,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self._account = account
        self._source = source
        self._user = user
        self._cluster_id = cluster_id
        self._ac_url = ac_url
        self._login_upstream = login_upstream
        self._region_upstream = region_upstream
        self._observer = observer
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._held: Held | None = None
        self._seen_login = 0
        self._renewing = False
        self._no_token = Pause(clock)

    @property
    def origin(self) -> str:
        """Where the token comes from, for messages."""
        return f"account {self._account.name}"

    def claims(self) -> Claims:
        """What the token in use says; unknown before the first login."""
        return self._held.claims if self._held else Claims()

    def credential_changed(self) -> None:
        """Nothing that failed with the old credential says anything about the new one."""
        self._account.credential_changed()
        self._no_token.end()

    async def current(self) -> str:
        held = self._latest()
        now = self._clock.monotonic()
        if held is None or now >= held.life.ends_at:
            return await self._log_in()
        if now >= held.life.renew_at and not self._renewing:
            return await self._renew(held)
        return held.value

    async def replace(self, refused: str) -> str | None:
        held = self._latest()
        if held is not None and held.value != refused:
            return held.value
        fresh = await self._log_in()
        return fresh if fresh != refused else None

    def _latest(self) -> Held | None:
        """The token in use: that of the account's latest login, whichever region asked for it, or a renewed one."""
        if self._account.logins > self._seen_login:
            self._seen_login = self._account.logins
            self._held = None
            with contextlib.suppress(AuthenticationError):
                self._take(self._account.token_for(self._cluster_id))
        return self._held

    async def _log_in(self) -> str:
        """The token of a login that nobody of this region has seen yet."""
        self._no_token.check()
        await self._account.log_in(self._login_upstream, self._seen_login, self._failed)
        held = self._latest()
        if held is not None:
            self._no_token.end()
            return held.value
        try:
            return self._account.token_for(self._cluster_id)
        except AuthenticationError as error:
            self._no_token.failed(error)
            self._failed()
            raise

    def _failed(self) -> None:
        self._observer.token_refresh(self._source, False)

    async def _renew(self, held: Held) -> str:
        """Replace a token that will soon end. The others go on with the old one meanwhile, and all while it fails."""
        self._renewing = True
        try:
            return self._take(await self._next(held.value))
        except PollError as error:
            log.debug("renewing failed, logging in instead", source=self._source, error=str(error))
            return await self._log_in_early(held)
        finally:
            self._renewing = False

    async def _log_in_early(self, held: Held) -> str:
        try:
            return await self._log_in()
        except PollError:
            self._held = dataclasses.replace(held, life=held.life.renewal_failed(self._clock.monotonic()))
            return held.value

    async def _next(self, token: str) -> str:
        """Page 更新凭证: the answer is the token itself, in an object, or in an object in a list."""
        request = Request(
            TOKEN,
            f"{self._ac_url}/ac/openapi/v2/tokens/next",
            method="POST",
            headers={"token": token},
            secrets=(token,),
        )
        return await self._region_upstream.call(request, renewed_token)

    def _take(self, value: str) -> str:
        """Use `value` from now on."""
        claims = read_claims(value)
        seconds = math.inf if claims.expires is None else claims.expires + self._account.skew - self._clock.now()
        self._held = Held(value, claims, Lifetime.starting(self._clock.monotonic(), seconds, self._rng))
        self._observer.token_refresh(self._source, True)
        self._observer.token_expiry(self._source, self._user, claims.expires)
        return value


class WireRenewed(msgspec.Struct, gc=False):
    token: str


_renewed = msgspec.json.Decoder(str | WireRenewed | list[WireRenewed])


def renewed_token(response: Response) -> str:
    """The token in the answer to ``tokens/next``, in each of its three forms."""
    try:
        answer = _renewed.decode(open_envelope(response))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise DecodeError("the answer to tokens/next holds no token") from None
    match answer:
        case [WireRenewed(token=token), *_] | WireRenewed(token=token) | str(token) if token:
            return token
        case _:
            raise DecodeError("the answer to tokens/next holds no token")
