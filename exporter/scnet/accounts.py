"""Tokens from an account's login: obtained once for all its regions, renewed ahead of their end, replaced when refused.

An `Account` holds the tokens, one for each region; they outlive the regions' settings. An `AccountToken` is the way of
one region, or of one user there, to its token. Whoever needs a token first gets it; the others wait for the same login.
"""

import asyncio
import dataclasses
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from exporter.clock import Clock
from exporter.errors import AuthenticationError, DecodeError, PollError
from exporter.scnet.login import TOKEN, Login, RegionToken, describe_skew, open_confidential, read_login
from exporter.scnet.tokens import Claims, read_claims
from exporter.upstream import (
    ALARMING_SKEW,
    Lifetime,
    Pause,
    Request,
    Response,
    TokenObserver,
    Upstream,
    clock_skew,
)

log = structlog.get_logger()

# A login that gave the refused token again is believed for so many seconds: the next one would give it, too.
SAME_TOKEN_PATIENCE = 600.0
# A token that is refused sooner than so many seconds after it was obtained was ended by something else than its age.
EARLY = 60.0
# So many in a row may be a coincidence.
EARLY_IN_A_ROW = 3
# What a Date header leaves open, with some time on the way, in seconds.
DATE_RESOLUTION = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """A token in use, obtained at that monotonic time.

    `serial` tells it from its predecessors, `again` says that a login gave the same one as before.
    """

    serial: int
    value: str
    claims: Claims
    life: Lifetime
    obtained: float
    again: bool = False


@dataclass(slots=True)
class Holding:
    """What an account has for one region. `pause` is that after logins which gave no token there."""

    pause: Pause
    held: Held | None = None
    renewing: bool = False
    # The serial of the last token that was refused, and when that was first.
    refusal: tuple[int, float] = (0, 0.0)

    def refused_early(self, now: float) -> bool:
        """Whether the token in use, which is refused now, was refused soon after it was obtained."""
        if self.held is None:
            return False
        if self.refusal[0] != self.held.serial:
            self.refusal = self.held.serial, now
        return self.refusal[1] - self.held.obtained < EARLY


class Account:
    """One login. `logins` counts the successful ones, so that a waiter knows whether somebody was faster."""

    def __init__(self, name: str, login: Login, clock: Clock, rng: random.Random | None = None) -> None:
        self.name = name
        self.logins = 0
        self._login = login
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._lock = asyncio.Lock()
        self._pause = Pause(clock)
        self._contention = Pause(clock)
        self._early = 0
        self._rows: Mapping[str, RegionToken] = {}
        self._holdings: dict[str, Holding] = {}
        self._logged_in_at = -math.inf
        self._serial = 0
        self._skew = 0.0
        self._skew_told = False

    def credential_changed(self) -> None:
        """Nothing that failed with the old credential says anything about the new one."""
        self._pause.end()
        self._early = 0
        for holding in self._holdings.values():
            holding.pause.end()

    def holding(self, cluster_id: str) -> Holding:
        """What there is for a region."""
        if cluster_id not in self._holdings:
            self._holdings[cluster_id] = Holding(Pause(self._clock))
            if self.logins:
                self._settle(cluster_id)
        return self._holdings[cluster_id]

    def token_values(self) -> tuple[str, ...]:
        """All tokens in use, in clear, for whoever must not show them."""
        return tuple(holding.held.value for holding in self._holdings.values() if holding.held)

    @property
    def logged_in_lately(self) -> bool:
        """Whether another login would hardly tell anything new."""
        return self._clock.monotonic() < self._logged_in_at + SAME_TOKEN_PATIENCE

    async def log_in(
        self, upstream: Upstream, seen: int, on_failure: Callable[[], None], *, refused_early: bool = False
    ) -> None:
        """Log in, unless somebody did since the caller saw the `seen`-th login.

        `refused_early` says that it is for a token that did not live long: where that goes on, logins become rare.
        Raises PollError: that of the login, after calling `on_failure`, or the last one again while a pause lasts.
        """
        async with self._lock:
            if self.logins > seen:
                return
            self._pause.check()
            self._give_way(refused_early)
            try:
                answer = await upstream.call(self._login.request(self._clock.now()), read_login)
            except PollError as error:
                error.culprit = f"account {self.name}"
                error.args = (f"the login of account {self.name} failed: {error}",)
                self._pause.failed(error)
                on_failure()
                raise
            self._pause.end()
            self._logged_in(answer.regions, answer.skew)

    def _give_way(self, refused_early: bool) -> None:
        """Log in less often the longer tokens are refused early. Raises AuthenticationError while a pause lasts.

        Whether a login ends the tokens of earlier ones is not documented. If it does, two exporters with one account
        end each other's tokens at every poll, and neither must answer with a login at every poll.
        """
        self._early = self._early + 1 if refused_early else 0
        if self._early <= EARLY_IN_A_ROW:
            self._contention.end()
            return
        self._contention.check()
        text = (
            f"tokens of account {self.name} are refused soon after its logins: perhaps another program logs in with the "
            "same account and that ends the tokens of this one; give each an account of its own"
        )
        self._contention.failed(AuthenticationError(text, culprit=f"account {self.name}"))

    def _logged_in(self, regions: Mapping[str, RegionToken], skew: float | None) -> None:
        self.logins += 1
        self._logged_in_at = self._clock.monotonic()
        self.note_skew(skew)
        self._rows = regions
        for cluster_id in self._holdings.keys() | regions.keys():
            self._settle(cluster_id)

    def _settle(self, cluster_id: str) -> None:
        """Take over what the last login gave for a region."""
        holding = self._holdings.setdefault(cluster_id, Holding(Pause(self._clock)))
        row = self._rows.get(cluster_id)
        if row is None or row.token is None:
            holding.held = None
            holding.pause.failed(self.problem(cluster_id))
            return
        again = holding.held is not None and holding.held.value == row.token
        holding.held = self.token(row.token, again=again)
        holding.pause.end()

    def problem(self, cluster_id: str) -> AuthenticationError:
        """Why the last login gave no token for a region."""
        if cluster_id in self._rows:
            text = (
                f"account {self.name} is disabled in region {cluster_id}: its login gives no token there; "
                "settle its bill or have it enabled"
            )
        else:
            known = ", ".join(sorted(self._rows)) or "none"
            text = f"account {self.name} has no region with cluster_id {cluster_id}; it has: {known}"
        return AuthenticationError(text, culprit=f"account {self.name}")

    def token(self, value: str, *, again: bool = False) -> Held:
        """A token that the server has just given."""
        claims = read_claims(value)
        seconds = math.inf if claims.expires is None else claims.expires + self._skew - self._clock.now()
        self._serial += 1
        now = self._clock.monotonic()
        return Held(self._serial, value, claims, Lifetime.starting(now, seconds, self._rng), now, again)

    def note_skew(self, skew: float | None) -> None:
        """Remember how far our clock is ahead of the server's, in seconds; say so once where it is far."""
        if skew is None:
            return
        # The header has whole seconds: what is less may be nothing, and tokens can be short-lived.
        self._skew = skew if abs(skew) >= DATE_RESOLUTION else 0.0
        alarming = abs(skew) >= ALARMING_SKEW
        if alarming and not self._skew_told:
            log.warning(describe_skew(skew), account=self.name)
        self._skew_told = alarming


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
        # What was counted and shown last.
        self._serial = 0
        self._logins = 0

    @property
    def origin(self) -> str:
        """Where the token comes from, for messages."""
        return f"account {self._account.name}"

    @property
    def _holding(self) -> Holding:
        return self._account.holding(self._cluster_id)

    def claims(self) -> Claims:
        """What the token in use says; unknown before the first login."""
        held = self._holding.held
        return held.claims if held else Claims()

    def show_expiry(self) -> None:
        """Show the end of a token that the account had before; that is no refresh."""
        held = self._holding.held
        self._serial, self._logins = held.serial if held else 0, self._account.logins
        self._observer.token_expiry(self._source, self._user, held.claims.expires if held else None)

    async def current(self) -> str:
        held = self._look()
        now = self._clock.monotonic()
        if held is None or now >= held.life.ends_at:
            return await self._log_in()
        if now >= held.life.renew_at and not self._holding.renewing:
            return await self._renew(held)
        return held.value

    async def replace(self, refused: str) -> str | None:
        held = self._look()
        if held is not None and held.value != refused:
            return held.value
        if held is not None and held.again and self._account.logged_in_lately:
            return None
        fresh = await self._log_in(refused_early=self._holding.refused_early(self._clock.monotonic()))
        return fresh if fresh != refused else None

    def _look(self) -> Held | None:
        """The token in use. Counts and shows what happened since the last look, whoever logged in or renewed it."""
        held = self._holding.held
        if held is not None and held.serial != self._serial:
            self._serial = held.serial
            self._observer.token_refresh(self._source, True)
            self._observer.token_expiry(self._source, self._user, held.claims.expires)
        elif held is None and self._account.logins > self._logins:
            self._observer.token_refresh(self._source, False)
            self._observer.token_expiry(self._source, self._user, None)
        self._logins = self._account.logins
        return held

    async def _log_in(self, *, refused_early: bool = False) -> str:
        """The token of a login that ends after this call."""
        self._holding.pause.check()
        await self._account.log_in(
            self._login_upstream,
            self._account.logins,
            lambda: self._observer.token_refresh(self._source, False),
            refused_early=refused_early,
        )
        held = self._look()
        if held is None:
            raise self._account.problem(self._cluster_id)
        return held.value

    async def _renew(self, held: Held) -> str:
        """Replace a token that will soon end. The others go on with the old one meanwhile, and all while it fails."""
        holding = self._holding
        holding.renewing = True
        try:
            return await self._next(held)
        except PollError as error:
            log.debug("renewing failed, logging in instead", source=self._source, error=str(error))
            return await self._log_in_early(held)
        finally:
            holding.renewing = False

    async def _next(self, held: Held) -> str:
        """Page 更新凭证: the answer is the token itself, in an object, or in an object in a list."""
        request = Request(
            TOKEN,
            f"{self._ac_url}/ac/openapi/v2/tokens/next",
            method="POST",
            headers={"token": held.value},
            secrets=(held.value,),
        )
        renewal = await self._region_upstream.call(request, read_renewal)
        self._account.note_skew(renewal.skew)
        # A login may have been faster.
        if self._holding.held is held:
            self._holding.held = self._account.token(renewal.token)
        self._look()
        return renewal.token

    async def _log_in_early(self, held: Held) -> str:
        holding = self._holding
        if holding.held is held:
            try:
                return await self._log_in()
            except PollError:
                if holding.held is None:
                    raise
                if holding.held is held:
                    life = held.life.renewal_failed(self._clock.monotonic())
                    holding.held = dataclasses.replace(held, life=life)
        latest = self._look()
        return latest.value if latest else held.value


class WireRenewed(msgspec.Struct, gc=False):
    token: str


@dataclass(frozen=True, slots=True)
class Renewal:
    """The token that follows another; `skew` as in `LoginAnswer`."""

    token: str
    skew: float | None


_renewed = msgspec.json.Decoder(str | WireRenewed | list[WireRenewed])


def read_renewal(response: Response) -> Renewal:
    """The token in the answer to ``tokens/next``, in each of its three forms."""
    data = open_confidential(response)
    try:
        answer = _renewed.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise DecodeError("the answer to tokens/next holds no token") from None
    match answer:
        case [WireRenewed(token=token), *_] | WireRenewed(token=token) | str(token) if token:
            return Renewal(token, clock_skew(response))
        case _:
            raise DecodeError("the answer to tokens/next holds no token")
