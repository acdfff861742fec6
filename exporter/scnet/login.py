"""The two ways to log in to SCNet. Either answers with one token for each region of the account.

Sources: the pages 获取访问凭证(推荐), access key, and 获取访问凭证, password.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from exporter.config import Secret
from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PollError,
    RejectedError,
    ServerError,
    UnexpectedStatusError,
)
from exporter.scnet import wire
from exporter.scnet.envelope import open_envelope
from exporter.upstream import ALARMING_SKEW, Request, Response, clock_skew

TOKEN = "token"  # noqa: S105 - the endpoint's name in metrics
# The platform's own token: HPC calls refuse it.
PLATFORM_CLUSTER_ID = "0"


class WireToken(msgspec.Struct, gc=False, rename="camel"):
    """``token`` null: the account is disabled in that region."""

    cluster_id: str | int
    cluster_name: str | None = None
    token: str | None = None


_token = msgspec.json.Decoder(WireToken)


@dataclass(frozen=True, slots=True)
class RegionToken:
    """What a login gives for one region; `token` is None where the account is disabled."""

    cluster_id: str
    cluster_name: str
    token: str | None


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """The regions of an account by their id, without the platform itself.

    `skew` is how far our clock is ahead of the server's, in seconds; None where the answer does not tell.
    """

    regions: Mapping[str, RegionToken]
    skew: float | None


class Login(Protocol):
    """A way to log in: a request made for the unix time `now`."""

    def request(self, now: float) -> Request: ...


@dataclass(frozen=True, slots=True)
class AccessKeyLogin:
    """Signs with the secret key, which itself does not travel."""

    user: str
    access_key: Secret
    secret_key: Secret
    url: str

    def request(self, now: float) -> Request:
        access_key, secret_key = self.access_key.value(), self.secret_key.value()
        timestamp = str(int(now))
        signed = signature(self.user, access_key, secret_key, timestamp)
        headers = {"user": self.user, "accessKey": access_key, "timestamp": timestamp, "signature": signed}
        return Request(TOKEN, self.url, method="POST", headers=headers, secrets=(access_key, secret_key, signed))


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """The older way; the password travels in a header."""

    user: str
    password: Secret
    org_id: str
    ac_url: str

    def request(self, now: float) -> Request:
        del now
        password = self.password.value()
        headers = {"user": self.user, "password": password, "orgId": self.org_id}
        url = f"{self.ac_url}/ac/openapi/v2/tokens"
        return Request(TOKEN, url, method="POST", headers=headers, secrets=(password,))


def signature(user: str, access_key: str, secret_key: str, timestamp: str) -> str:
    """Lowercase hex HMAC-SHA256 of the compact JSON of the three fields, in the page's order."""
    message = json.dumps(
        {"accessKey": access_key, "timestamp": timestamp, "user": user}, separators=(",", ":"), ensure_ascii=False
    )
    return hmac.new(secret_key.encode(), message.encode(), hashlib.sha256).hexdigest()


def read_login(response: Response) -> LoginAnswer:
    """The tokens in the answer to a login. A refusal names this machine's clock as the likely cause where it is off.

    The row of a region is found by its id: the order of the rows means nothing, and the token's own claim may differ.
    """
    skew = clock_skew(response)
    try:
        data = open_confidential(response)
    except (AuthenticationError, RejectedError, ApiError) as error:
        # Whatever the code: this credential gives no tokens.
        raise refusal(error, skew) from None
    try:
        rows = wire.rows_of(data)
    except DecodeError:
        raise DecodeError("the answer to the login is not a list of tokens") from None
    tokens = [row for row in wire.read_each(rows, read_token) if row is not None]
    regions = [RegionToken(str(row.cluster_id), row.cluster_name or "", row.token or None) for row in tokens]
    return LoginAnswer({each.cluster_id: each for each in regions if each.cluster_id != PLATFORM_CLUSTER_ID}, skew)


def as_text(value: object) -> str:
    """A name or an id that is met as text and as a number, 11112.0 among them; empty for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def read_token(raw: msgspec.Raw) -> WireToken:
    return wire.read_one(_token.decode, raw)


def open_confidential(response: Response) -> msgspec.Raw:
    """Like `open_envelope`, for an answer that may hold tokens: no error quotes its body."""
    try:
        return open_envelope(response)
    except DecodeError:
        raise DecodeError("the answer is not the JSON envelope that the API describes") from None
    except (ServerError, UnexpectedStatusError) as error:
        raise type(error)(f"HTTP {response.status}") from None


def refusal(error: PollError, skew: float | None) -> AuthenticationError:
    # The page names no bound for the timestamp's age; public services that sign alike allow a few minutes.
    hint = "" if skew is None or abs(skew) < ALARMING_SKEW else f"; {describe_skew(skew)}"
    text = str(error).replace("the token was refused", "the credential was refused")
    return AuthenticationError(f"{text}{hint}", api_code=error.api_code)


def describe_skew(skew: float) -> str:
    """The words for a clock that is off."""
    direction = "ahead of" if skew > 0 else "behind"
    return f"this machine's clock is {abs(skew):.0f} s {direction} the server's, and signatures need the right time: set it"
