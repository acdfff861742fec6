"""Tokens of Huawei Cloud's IAM: one login with a password, renewed ahead of its end, replaced when refused.

Source: the IAM page 获取IAM用户Token(使用密码). A token is good for 24 hours, in one region.
"""

import asyncio
import json
import math
import random
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import msgspec

from exporter.clock import Clock
from exporter.config import Secret
from exporter.errors import AuthenticationError, DecodeError, PollError, RejectedError
from exporter.octopus.envelope import error_of, quoted, read_error
from exporter.upstream import Lifetime, Pause, Request, Response, TokenObserver, Upstream, clock_skew, epoch_seconds

TOKEN = "token"  # noqa: S105 - the endpoint's name in metrics
TOKEN_HEADER = "X-Subject-Token"  # noqa: S105 - a header's name


class WireToken(msgspec.Struct, gc=False):
    expires_at: Any = None


class WireBody(msgspec.Struct, gc=False):
    token: WireToken = msgspec.field(default_factory=WireToken)


_body = msgspec.json.Decoder(WireBody)


@dataclass(frozen=True, slots=True)
class IamLogin:
    """A user of a domain (the account), and the project to scope its tokens to: a region's name."""

    url: str
    domain: str
    user: str
    password: Secret
    project: str

    def request(self) -> Request:
        password = self.password.value()
        user = {"domain": {"name": self.domain}, "name": self.user, "password": password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": self.project}},
            }
        }
        return Request(
            TOKEN,
            f"{self.url}/v3/auth/tokens",
            method="POST",
            headers={"Content-Type": "application/json"},
            # An answer may repeat the request as it was sent.
            secrets=(password, json.dumps(password)[1:-1], json.dumps(password, ensure_ascii=False)[1:-1]),
            data=json.dumps(body).encode(),
        )


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """A fresh token. `expires` is Unix time by IAM's clock, `seconds` how long it is good for; None and inf: unknown."""

    token: str
    expires: float | None
    seconds: float


def read_login(response: Response) -> LoginAnswer:
    """The token in the answer's header. Raises PollError; AuthenticationError where the login is wrong."""
    if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of successes; 201 on the page
        raise refusal(response)
    # Nothing of a good answer is quoted: it is a secret.
    token = response.headers.get(TOKEN_HEADER, "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise DecodeError(f"IAM's answer holds no token in its header {TOKEN_HEADER}")
    expires = expiry(response.body)
    if expires is None:
        return LoginAnswer(token, None, math.inf)
    return LoginAnswer(token, expires, expires + (clock_skew(response) or 0.0) - response.received)


def refusal(response: Response) -> PollError:
    """What a refusal means at a login."""
    error, said = error_of(response), quoted(response.status, *read_error(response.body))
    if isinstance(error, AuthenticationError):
        return AuthenticationError(
            f"the user, the domain or the password is wrong, or the user is locked ({said})", api_code=error.api_code
        )
    if isinstance(error, RejectedError):
        return RejectedError(f"the login was refused; is there such a project? ({said})", api_code=error.api_code)
    return error


def expiry(body: bytes) -> float | None:
    """``token.expires_at`` as Unix time; None where it cannot be read, for the token is good all the same."""
    try:
        return epoch_seconds(_body.decode(body).token.expires_at, UTC)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class Held:
    """A token in use."""

    value: str
    life: Lifetime


class IamToken:
    """The token of one login; a TokenProvider. Whoever needs it first logs in, the others wait for the same login."""

    def __init__(
        self,
        login: IamLogin,
        *,
        source: str,
        upstream: Upstream,
        observer: TokenObserver,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        self._login = login
        self._source = source
        self._upstream = upstream
        self._observer = observer
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self._held: Held | None = None
        self._logging_in = asyncio.Lock()
        self._pause = Pause(clock)

    @property
    def origin(self) -> str:
        """Where the token comes from, for messages."""
        return f"IAM user {self._login.user} of domain {self._login.domain}"

    def credential_changed(self) -> None:
        """The pause after failures belongs to the old password."""
        self._pause.end()

    def token_values(self) -> tuple[str, ...]:
        """The token in use, in clear, for whoever must not show it."""
        return (self._held.value,) if self._held else ()

    async def current(self) -> str:
        held, now = self._held, self._clock.monotonic()
        if held is None or now >= held.life.ends_at:
            return await self._log_in(held)
        if now >= held.life.renew_at and not self._logging_in.locked():
            return await self._renew(held)
        return held.value

    async def replace(self, refused: str) -> str | None:
        held = self._held
        if held is not None and held.value != refused:
            return held.value
        fresh = await self._log_in(held)
        if fresh != refused:
            return fresh
        # The next login would hardly give another one.
        self._pause.failed(AuthenticationError(f"{self.origin} gets the refused token again", culprit=self.origin))
        return None

    async def _renew(self, held: Held) -> str:
        """Replace a token that will soon end. The others go on with the old one meanwhile, and all while it fails."""
        try:
            return await self._log_in(held)
        except PollError:
            self._held = replace(held, life=held.life.renewal_failed(self._clock.monotonic()))
            return held.value

    async def _log_in(self, seen: Held | None) -> str:
        """Log in, unless somebody did since the caller saw the token `seen`."""
        async with self._logging_in:
            if self._held is not None and self._held is not seen:
                return self._held.value
            self._pause.check()
            try:
                answer = await self._upstream.call(self._login.request(), read_login)
            except PollError as error:
                error.culprit = self.origin
                error.args = (f"the login of {self.origin} at {self._login.url} failed: {error}",)
                self._pause.failed(error)
                self._observer.token_refresh(self._source, False)
                raise
            self._pause.end()
            return self._take(answer)

    def _take(self, answer: LoginAnswer) -> str:
        life = Lifetime.starting(self._clock.monotonic(), answer.seconds, self._rng)
        self._held = Held(answer.token, life)
        self._observer.token_refresh(self._source, True)
        self._observer.token_expiry(self._source, "", answer.expires)
        return answer.token
