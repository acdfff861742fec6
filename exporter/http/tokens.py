"""Tokens of all vendors: obtained once for everything that needs them, renewed early, replaced when rejected.

A vendor brings a `Login` (the request, the tokens in its answer) and, where there is a cheaper way to the next token, a
`Renewal`. A `TokenCache` holds what one login gives, by scope: a region, or "" where it gives a single token. A
`TokenSource` hands out the token of one scope, a `StaticToken` one that cannot be renewed; either is a `TokenProvider`.
"""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, TypeVar

import structlog

from exporter.clock import Clock
from exporter.errors import AuthenticationError, PollError, TransientError
from exporter.http.client import NEGATIVE_CACHE_TTL, ClosedUpstreamError, Upstream
from exporter.http.message import ALARMING_SKEW, DATE_RESOLUTION, Request, Response, clock_skew, describe_skew
from exporter.redaction import remember
from exporter.text import Text

log = structlog.get_logger()

T = TypeVar("T")

# Share of a token's lifetime after which it is renewed.
RENEW_EARLIEST, RENEW_LATEST = 0.6, 0.8
FIRST_BACKOFF, LONGEST_BACKOFF = 5.0, 600.0
# A login that fails for a transient reason is tried again sooner than one that is rejected.
LONGEST_TRANSIENT_BACKOFF = 60.0
# A token that is rejected within this many seconds of being obtained did not expire: something invalidated it.
EARLY = 60.0
# As many early rejections in a row may be a coincidence.
EARLY_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Issued:
    """A token and what it says of itself.

    `expires` is Unix time in seconds by the server's clock; None and "" are unknown.
    """

    value: str = field(repr=False)
    expires: float | None = None
    owner: str = ""


class Login(Protocol):
    """The login of a vendor. Tokens are by scope; a Text in the place of a token says why there is none."""

    @property
    def origin(self) -> str:
        """The owner of the login, for messages."""
        ...

    def request(self, now: float) -> Request:
        """Return the request to send at the Unix time `now`."""
        ...

    def read(self, response: Response) -> Mapping[str, Issued | Text]:
        """Return the tokens in the answer. Raises PollError."""
        ...

    def missing(self, scope: str, known: Mapping[str, Issued | Text]) -> Text:
        """Return the message for a scope that is missing in an answer with the `known` ones."""
        ...


@dataclass(frozen=True, slots=True)
class Renewal:
    """A request that exchanges a token for the next one, without a login."""

    upstream: Upstream
    request: Callable[[str], Request]
    read: Callable[[Response], Issued]


class TokenObserver(Protocol):
    """Counts and shows what happens to tokens."""

    def token_refresh(self, source: str, ok: bool) -> None: ...
    def token_expiry(self, source: str, user: str, seconds: float | None) -> None: ...


class Backoff:
    """Grows with every failure, so that a dead account is not hammered; reset by a success or a new credential."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._until = 0.0
        self._error: PollError | None = None

    def record_failure(self, error: PollError) -> None:
        longest = LONGEST_TRANSIENT_BACKOFF if isinstance(error, TransientError) else LONGEST_BACKOFF
        pause = min(FIRST_BACKOFF * 2.0 ** min(self._failures, 10), longest)
        if isinstance(error, TransientError) and error.retry_after is not None:
            pause = min(max(pause, error.retry_after), LONGEST_BACKOFF)
        self._failures += 1
        self._error = error
        self._until = self._clock.monotonic() + pause

    def reset(self) -> None:
        self._failures, self._until, self._error = 0, 0.0, None

    def raise_if_active(self) -> None:
        """Raise the last failure again until the pause is over."""
        if self._error is not None and self._clock.monotonic() < self._until:
            raise self._error.again()


@dataclass(frozen=True, slots=True)
class Held:
    """A token in use, with monotonic times: `renew_at` and `expires_at` are infinite where its expiry is unknown.

    `serial` tells it from its predecessors; `again`: the login gave the same token as before.
    """

    serial: int
    issued: Issued
    obtained: float
    renew_at: float
    expires_at: float
    again: bool = False

    @property
    def value(self) -> str:
        return self.issued.value

    def renewal_failed(self, now: float) -> Self:
        """Return it with the next attempt after a quarter of the remaining lifetime, not at every poll."""
        return replace(self, renew_at=now + (self.expires_at - now) / 4)


class Slot:
    """The token of one scope. `backoff` follows logins that gave no token for it."""

    def __init__(self, clock: Clock) -> None:
        self.backoff = Backoff(clock)
        self.held: Held | None = None
        self.renewing = False
        # The serial of the last token that was rejected, and when that was first.
        self._rejection: tuple[int, float] = (0, 0.0)

    def rejected_early(self, now: float) -> bool:
        """Whether the token in use, which is rejected now, was rejected soon after it was obtained."""
        if self.held is None:
            return False
        if self._rejection[0] != self.held.serial:
            self._rejection = self.held.serial, now
        return self._rejection[1] - self.held.obtained < EARLY


class TokenCache:
    """The tokens of one login. `logins` counts the successful ones."""

    def __init__(self, login: Login, clock: Clock, rng: random.Random | None = None) -> None:
        self.login = login
        self.clock = clock
        self.logins = 0
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._under_way: asyncio.Task[None] | None = None
        self._waiting = 0
        self._credentials = 0
        self._backoff = Backoff(clock)
        self._contention = Backoff(clock)
        self._early = 0
        self._answer: Mapping[str, Issued | Text] = {}
        self._slots: dict[str, Slot] = {}
        self._logged_in_at = -math.inf
        self._serial = 0
        self._skew = 0.0
        self._skew_logged = False

    @property
    def origin(self) -> str:
        """The owner of the login, for messages."""
        return self.login.origin

    def credential_changed(self) -> None:
        """Reset all backoffs and abandon a login under way: failures of the old credential say nothing about the new one."""
        self._credentials += 1
        self._under_way = None
        self._backoff.reset()
        self._contention.reset()
        self._early = 0
        for slot in self._slots.values():
            slot.backoff.reset()

    def register(self, scope: str) -> Slot:
        """Return the slot of a scope, filled by the last login if there was one."""
        if scope not in self._slots:
            self._slots[scope] = Slot(self.clock)
            if self.logins:
                self._fill(scope)
        return self._slots[scope]

    @property
    def logged_in_lately(self) -> bool:
        """Whether the last login is so recent that another one would hardly give another result."""
        return self.clock.monotonic() < self._logged_in_at + NEGATIVE_CACHE_TTL

    async def log_in(self, upstream: Upstream, on_failure: Callable[[], None], *, rejected_early: bool = False) -> None:
        """Log in, or wait for the login under way, which is cancelled when no caller waits any more.

        `rejected_early`: the token to replace was rejected soon after it was obtained; if that continues, logins become
        rare. Raises PollError: that of the login, after calling `on_failure`, or the last one again during a backoff.
        """
        credential, seen, mine = self._credentials, self.logins, self._under_way is None
        if self._under_way is None:
            self._backoff.raise_if_active()
            self._throttle_logins(rejected_early)
            self._under_way = asyncio.create_task(self._log_in(upstream, on_failure), name="login")
            self._under_way.add_done_callback(self._log_in_done)
            self._waiting = 0
        task = self._under_way
        self._waiting += 1
        try:
            await asyncio.wait((task,))
        finally:
            if self._under_way is task:
                self._waiting -= 1
                if self._waiting == 0 and not task.done():
                    task.cancel()
                    # The next caller needs a login of its own, even before this one has ended.
                    self._under_way = None
        if credential == self._credentials:
            try:
                task.result()
            except ClosedUpstreamError:
                # The login used the connection of a source that a reload removed; the caller's may be open.
                if mine:
                    raise
            else:
                return
        if seen == self.logins:
            await self.log_in(upstream, on_failure)

    def _log_in_done(self, task: asyncio.Task[None]) -> None:
        if self._under_way is task:
            self._under_way = None
        if not task.cancelled():
            # If every caller is gone, nothing else retrieves the exception.
            task.exception()

    async def _log_in(self, upstream: Upstream, on_failure: Callable[[], None]) -> None:
        credential = self._credentials
        try:
            answer, skew = await upstream.call(self.login.request(self.clock.now()), with_skew(self.login.read))
        except ClosedUpstreamError:
            raise
        except PollError as error:
            # A host that cannot be reached may be needed by other logins, too.
            error.culprit = error.culprit if error.unreached else self.origin
            origin, reason = self.origin, error.text
            error.text = Text(f"the login of {origin} failed: {reason.en}", f"{origin} 登录失败：{reason.zh}")
            if credential == self._credentials:
                self._backoff.record_failure(error)
                on_failure()
            raise
        if credential != self._credentials:
            return
        self._backoff.reset()
        self.logins += 1
        self._logged_in_at = self.clock.monotonic()
        self.note_skew(skew)
        self._answer = answer
        for scope in self._slots.keys() | answer.keys():
            self._fill(scope)

    def _throttle_logins(self, rejected_early: bool) -> None:
        """Back off from logins while tokens keep being rejected early. Raises AuthenticationError during that backoff.

        Whether a login invalidates the tokens of earlier ones is not documented. If it does, two exporters with one
        account invalidate each other's tokens, and must not log in at every poll.
        """
        self._early = self._early + 1 if rejected_early else 0
        if self._early <= EARLY_IN_A_ROW:
            self._contention.reset()
            return
        self._contention.raise_if_active()
        text = Text(
            f"tokens of {self.origin} are rejected soon after its logins: perhaps another program logs in with the "
            "same account and that ends the tokens of this one; give each an account of its own",
            f"{self.origin} 登录后不久令牌就被拒绝：可能有其他程序使用同一账号登录，使本程序的令牌失效；请分别使用各自的账号",
        )
        self._contention.record_failure(AuthenticationError(text, culprit=self.origin))

    def _fill(self, scope: str) -> None:
        """Store the token that the last login gave for a scope, or back off if it gave none."""
        slot = self._slots.setdefault(scope, Slot(self.clock))
        issued = self._answer.get(scope)
        if not isinstance(issued, Issued):
            slot.held = None
            slot.backoff.record_failure(self.problem(scope))
            return
        again = slot.held is not None and slot.held.value == issued.value
        slot.held = self.held(issued, again=again)
        slot.backoff.reset()

    def problem(self, scope: str) -> AuthenticationError:
        """Return the error that says why the last login gave no token for a scope."""
        reason = self._answer.get(scope)
        text = reason if isinstance(reason, Text) else self.login.missing(scope, self._answer)
        return AuthenticationError(text, culprit=self.origin)

    def held(self, issued: Issued, *, again: bool = False) -> Held:
        """Return a token that was just obtained. One that seems to have expired already is taken as not expiring."""
        remember((issued.value,))
        seconds = math.inf if issued.expires is None else issued.expires + self._skew - self.clock.now()
        life = seconds if seconds > 0 else math.inf
        self._serial += 1
        now = self.clock.monotonic()
        renew_at = now + life * self._rng.uniform(RENEW_EARLIEST, RENEW_LATEST)
        return Held(self._serial, issued, now, renew_at, now + life, again)

    def note_skew(self, skew: float | None) -> None:
        """Remember how far our clock is ahead of the server's, in seconds; warn once if it is far."""
        if skew is None:
            return
        # Less is within the resolution of the header, and tokens can be short-lived.
        self._skew = skew if abs(skew) >= DATE_RESOLUTION else 0.0
        alarming = abs(skew) >= ALARMING_SKEW
        if alarming and not self._skew_logged:
            log.warning(describe_skew(skew).en, login=self.origin)
        self._skew_logged = alarming


class TokenSource:
    """The token of one scope of a login; a TokenProvider.

    `source` and `user` label the metrics of its refreshes and its expiry; `user` None: the expiry is not shown. Logins
    are sent by `upstream`, renewals by the renewal's own.
    """

    def __init__(
        self,
        cache: TokenCache,
        scope: str = "",
        *,
        source: str,
        user: str | None = "",
        upstream: Upstream,
        observer: TokenObserver,
        renewal: Renewal | None = None,
    ) -> None:
        self._cache = cache
        self._slot = cache.register(scope)
        self._scope = scope
        self._source = source
        self._user = user
        self._upstream = upstream
        self._observer = observer
        self._renewal = renewal
        # The token whose expiry was shown last, and the logins counted then.
        self._serial = 0
        self._logins = 0

    @property
    def origin(self) -> str:
        return self._cache.origin

    @property
    def issued(self) -> Issued:
        """The token in use and what it says of itself; an empty one before the first login."""
        held = self._slot.held
        return held.issued if held else Issued("")

    def show_expiry(self) -> None:
        """Show the expiry of a token that an earlier login gave, without counting a refresh."""
        held = self._slot.held
        self._serial, self._logins = held.serial if held else 0, self._cache.logins
        self._show(held)

    async def current(self) -> str:
        held = self._look()
        now = self._cache.clock.monotonic()
        if held is None or now >= held.expires_at:
            return await self._log_in()
        if now >= held.renew_at and not self._slot.renewing:
            return await self._renew(held)
        return held.value

    async def replace(self, rejected: str) -> str | None:
        held = self._look()
        if held is not None and held.value != rejected:
            return held.value
        if held is not None and held.again and self._cache.logged_in_lately:
            return None
        fresh = await self._log_in(rejected_early=self._slot.rejected_early(self._cache.clock.monotonic()))
        return fresh if fresh != rejected else None

    def _look(self) -> Held | None:
        """Return the token in use. Counts refreshes since the last call, whichever source caused them, and shows the expiry."""
        held = self._slot.held
        if held is not None and held.serial != self._serial:
            self._serial = held.serial
            self._observer.token_refresh(self._source, True)
            self._show(held)
        elif held is None and self._cache.logins > self._logins:
            self._observer.token_refresh(self._source, False)
            self._show(None)
        self._logins = self._cache.logins
        return held

    def _show(self, held: Held | None) -> None:
        if self._user is not None:
            self._observer.token_expiry(self._source, self._user, held.issued.expires if held else None)

    async def _log_in(self, *, rejected_early: bool = False) -> str:
        """Return the token of a new login, or of the one under way."""
        self._slot.backoff.raise_if_active()
        await self._cache.log_in(
            self._upstream,
            lambda: self._observer.token_refresh(self._source, False),
            rejected_early=rejected_early,
        )
        held = self._look()
        if held is None:
            raise self._cache.problem(self._scope)
        return held.value

    async def _renew(self, held: Held) -> str:
        """Replace a token that will soon expire. Other callers use the old one meanwhile; all do if that fails."""
        slot = self._slot
        slot.renewing = True
        try:
            if not await self._next(held) and slot.held is held:
                await self._log_in()
        except PollError:
            if slot.held is None:
                raise
            if slot.held is held:
                slot.held = held.renewal_failed(self._cache.clock.monotonic())
        finally:
            slot.renewing = False
        return (self._look() or held).value

    async def _next(self, held: Held) -> bool:
        """Exchange `held` for the next token, without a login; False if that is not possible or fails."""
        renewal = self._renewal
        if renewal is None:
            return False
        try:
            issued, skew = await renewal.upstream.call(renewal.request(held.value), with_skew(renewal.read))
        except PollError as error:
            log.debug("renewing failed, logging in instead", source=self._source, error=str(error))
            return False
        self._cache.note_skew(skew)
        # A login may have been faster.
        if self._slot.held is held:
            self._slot.held = self._cache.held(issued)
        return True


def with_skew(read: Callable[[Response], T]) -> Callable[[Response], tuple[T, float | None]]:
    """Return a reader that also returns how far our clock is ahead of the server's, in seconds."""
    return lambda response: (read(response), clock_skew(response))


def sendable(token: str) -> bool:
    """Whether a token can be sent in a header: printable ASCII only."""
    return bool(token) and token.isascii() and token.isprintable()
