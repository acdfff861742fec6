"""The two ways to log in to SCNet, and its tokens. Either way gives one token for each region of the account.

Sources: the pages 获取访问凭证(推荐), access key, and 获取访问凭证, password; the sample tokens of the official pages.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from exporter.config import Secret
from exporter.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    PollError,
    RecordError,
    RejectedError,
    ServerError,
    UnexpectedStatusError,
)
from exporter.http import (
    ALARMING_SKEW,
    Issued,
    Renewal,
    Request,
    Response,
    Upstream,
    clock_skew,
    describe_skew,
    sendable,
)
from exporter.sources.decoding import list_of, read_row
from exporter.sources.scnet.api import NO_ENVELOPE, open_envelope
from exporter.sources.values import UNREADABLE, Id, read_jwt
from exporter.text import Text

TOKEN = "token"  # noqa: S105 - the endpoint's name in metrics
# The platform's own token: HPC calls reject it. It is known by either; a region could have that name, but not that id.
PLATFORM_CLUSTER_ID, PLATFORM_NAME = "0", "ac"
# The scope of the platform's token, which is none of a region's.
PLATFORM = "platform"


def read_token(token: str) -> Issued:
    """Return the owner and the expiry of `token`: claims are text, ``expireTime`` in milliseconds, elsewhere in seconds."""
    return read_jwt(token, "expireTime", "computeUser")


class WireToken(msgspec.Struct, gc=False, rename="camel"):
    """``token`` null: the account is disabled in that region. Each field is met in other types than text."""

    cluster_id: Id = Id("")
    cluster_name: Id = Id("")
    token: Any = None


@dataclass(frozen=True, slots=True)
class RegionToken:
    """A region's row of a login's answer; `token` is None where the account is disabled, or the token `unsendable`."""

    cluster_id: str
    cluster_name: str
    token: str | None
    unsendable: bool = False


@dataclass(frozen=True, slots=True)
class LoginAnswer:
    """The regions of an account by their id, without the platform itself, and the platform's token if there is one."""

    regions: Mapping[str, RegionToken]
    platform: str | None = None


class ScnetLogin:
    """Base of both ways to log in: see `exporter.http.Login`."""

    __slots__ = ()
    account: str
    user: str

    @property
    def origin(self) -> str:
        """The account by its configured name, else by its user's."""
        return f"account {self.account or self.user}"

    def read(self, response: Response) -> dict[str, Issued | Text]:
        """Return the tokens of the regions by their ids, and that of the PLATFORM."""
        answer = read_login(response)
        tokens: dict[str, Issued | Text] = {each.cluster_id: self._issued(each) for each in answer.regions.values()}
        if answer.platform is not None:
            tokens[PLATFORM] = read_token(answer.platform)
        return tokens

    def _issued(self, region: RegionToken) -> Issued | Text:
        if region.token is not None:
            return read_token(region.token)
        if region.unsendable:
            return Text(
                f"the login of {self.origin} gives a token for region {region.cluster_id} that cannot be sent: it holds "
                "a line break or another character that no HTTP header may have; report it to the platform",
                f"{self.origin} 登录后得到的区域 {region.cluster_id} 的令牌无法发送：其中有换行等 HTTP 请求头不允许的字符；"
                "请向平台反馈",
            )
        return Text(
            f"{self.origin} is disabled in region {region.cluster_id}: its login gives no token there; "
            "settle its bill or have it enabled",
            f"{self.origin} 在区域 {region.cluster_id} 已停用，登录后没有该区域的令牌；请结清欠费或申请启用",
        )

    def missing(self, scope: str, known: Mapping[str, Issued | Text]) -> Text:
        """Return why there is no token for a region that the login does not name, or for the platform."""
        if scope == PLATFORM:
            return Text(
                f"the login of {self.origin} gives no token of the platform itself",
                f"{self.origin} 登录后没有得到平台本身的令牌",
            )
        regions = sorted(known.keys() - {PLATFORM})
        return Text(
            f"{self.origin} has no region with cluster_id {scope}; it has: {', '.join(regions) or 'none'}",
            f"{self.origin} 没有 cluster_id 为 {scope} 的区域；现有区域：{'、'.join(regions) or '无'}",
        )


@dataclass(frozen=True, slots=True)
class AccessKeyLogin(ScnetLogin):
    """Signs with the secret key, which itself does not travel."""

    user: str
    access_key: Secret
    secret_key: Secret
    url: str
    account: str = ""

    def request(self, now: float) -> Request:
        access_key, secret_key = self.access_key.value(), self.secret_key.value()
        timestamp = str(int(now))
        signed = signature(self.user, access_key, secret_key, timestamp)
        headers = {"user": self.user, "accessKey": access_key, "timestamp": timestamp, "signature": signed}
        return Request(TOKEN, self.url, method="POST", headers=headers, secrets=(access_key, secret_key, signed))


@dataclass(frozen=True, slots=True)
class PasswordLogin(ScnetLogin):
    """The older way; the password travels in a header."""

    user: str
    password: Secret
    org_id: str
    ac_url: str
    account: str = ""

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
    """Return the tokens in the answer to a login.

    A rejection names this machine's clock as the likely cause where it is off.

    The row of a region is found by its id: the order of the rows means nothing, and the token's own claim may differ.
    Of two rows of one region the first usable one counts.
    """
    try:
        data = open_confidential(response)
    except (AuthenticationError, RejectedError, ApiError) as error:
        # With any code, this credential gives no tokens.
        raise rejection(error, clock_skew(response)) from None
    try:
        rows = list_of(data)
    except DecodeError:
        raise DecodeError(Text("the answer to the login is not a list of tokens", "登录的响应不是令牌列表")) from None
    found: dict[str, RegionToken] = {}
    platform: dict[str, str | None] = {}
    for row in filter(None, map(to_region, rows)):
        mark = row.cluster_id if row.cluster_id == PLATFORM_CLUSTER_ID else row.cluster_name.lower()
        platform[mark] = platform.get(mark) or row.token
        if row.cluster_id and row.cluster_id != PLATFORM_CLUSTER_ID and better(row, found.get(row.cluster_id)):
            found[row.cluster_id] = row
    return LoginAnswer(found, platform.get(PLATFORM_CLUSTER_ID) or platform.get(PLATFORM_NAME))


def to_region(raw: msgspec.Raw) -> RegionToken | None:
    """Return a row of a login; None where it could not be read."""
    try:
        row = read_row(raw, WireToken)
    except RecordError:
        return None
    # An account is disabled where it has no token: anything but text is no token that could be sent.
    token = row.token.strip() if isinstance(row.token, str) else ""
    usable, given = sendable(token), token or not isinstance(row.token, str | None)
    return RegionToken(
        str(row.cluster_id),
        str(row.cluster_name),
        token if usable else None,
        bool(given) and not usable,
    )


def better(row: RegionToken, than: RegionToken | None) -> bool:
    return than is None or (than.token is None and (row.token is not None or (row.unsendable and not than.unsendable)))


def renewal(upstream: Upstream, ac_url: str) -> Renewal:
    """Return the way to the next token at a region's AC address (page 更新凭证)."""

    def request(token: str) -> Request:
        url = f"{ac_url}/ac/openapi/v2/tokens/next"
        return Request(TOKEN, url, method="POST", headers={"token": token}, secrets=(token,))

    return Renewal(upstream, request, read_renewal)


class WireRenewed(msgspec.Struct, gc=False):
    token: str


_renewed = msgspec.json.Decoder(str | WireRenewed | list[WireRenewed])


def read_renewal(response: Response) -> Issued:
    """Return the token in the answer to ``tokens/next``: text, an object that holds it, or a list of such objects."""
    data = open_confidential(response)
    try:
        answer = _renewed.decode(data)
    except UNREADABLE:
        raise DecodeError(Text("the answer to tokens/next holds no token", "tokens/next 的响应中没有令牌")) from None
    match answer:
        case [WireRenewed(token=token), *_] | WireRenewed(token=token) | str(token) if sendable(token.strip()):
            return read_token(token.strip())
        case _:
            raise DecodeError(
                Text("the answer to tokens/next holds no token that can be sent", "tokens/next 的响应中没有可用的令牌")
            )


def open_confidential(response: Response) -> msgspec.Raw:
    """Like `open_envelope`, for an answer that may hold tokens: no error quotes its body."""
    try:
        return open_envelope(response)
    except DecodeError:
        raise DecodeError(NO_ENVELOPE) from None
    except (ServerError, UnexpectedStatusError) as error:
        raise type(error)(Text(f"HTTP {response.status}", f"HTTP {response.status}")) from None


def rejection(error: PollError, skew: float | None) -> AuthenticationError:
    # The page names no bound for the timestamp's age; public services that sign alike allow a few minutes.
    en = error.text.en.replace("the token was rejected", "the credential was rejected")
    zh = error.text.zh.replace("令牌被拒绝", "登录凭据被拒绝")
    if skew is not None and abs(skew) >= ALARMING_SKEW:
        hint = describe_skew(skew)
        en, zh = f"{en}; {hint.en}", f"{zh}；{hint.zh}"
    return AuthenticationError(Text(en, zh), api_code=error.api_code)
