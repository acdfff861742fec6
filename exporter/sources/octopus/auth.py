"""The login to Huawei Cloud's IAM, with a password.

Source: the IAM page 获取IAM用户Token(使用密码). A token is good for 24 hours, in one region.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import msgspec

from exporter.config import Secret
from exporter.errors import AuthenticationError, DecodeError, PollError, RejectedError
from exporter.http import Issued, Request, Response, sendable
from exporter.sources.octopus.api import error_of, quoted, read_error
from exporter.sources.values import UNREADABLE, epoch_seconds
from exporter.text import Text

TOKEN = "token"  # noqa: S105 - the endpoint's name in metrics
TOKEN_HEADER = "X-Subject-Token"  # noqa: S105 - a header's name


class WireToken(msgspec.Struct, gc=False):
    expires_at: Any = None


class WireBody(msgspec.Struct, gc=False):
    token: WireToken = msgspec.field(default_factory=WireToken)


_body = msgspec.json.Decoder(WireBody)


@dataclass(frozen=True, slots=True)
class IamLogin:
    """A user of a domain (the account), and the project to scope its token to: a region's name. See `exporter.http.Login`."""

    url: str
    domain: str
    user: str
    password: Secret
    project: str

    @property
    def origin(self) -> str:
        return f"IAM user {self.user} of domain {self.domain} at {self.url}"

    def read(self, response: Response) -> Mapping[str, Issued | Text]:
        return {"": read_login(response)}

    def missing(self, scope: str, known: Mapping[str, Issued | Text]) -> Text:
        del known
        return Text(f"{self.origin} has no token {scope!r}", f"{self.origin} 没有令牌 {scope!r}")

    def request(self, now: float) -> Request:
        del now
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
            secrets=(password,),
            data=json.dumps(body).encode(),
        )


def read_login(response: Response) -> Issued:
    """Return the token in the answer's header. Raises PollError; AuthenticationError where the login is wrong."""
    if not 200 <= response.status < 300:  # noqa: PLR2004 - the class of successes; 201 on the page
        raise rejection(response)
    # Nothing of a good answer is quoted: it is a secret.
    token = response.headers.get(TOKEN_HEADER, "").strip()
    if not sendable(token):
        raise DecodeError(
            Text(f"IAM's answer holds no token in its header {TOKEN_HEADER}", f"IAM 的响应头 {TOKEN_HEADER} 中没有令牌")
        )
    return Issued(token, expiry(response.body))


def rejection(response: Response) -> PollError:
    """Return the error for a rejected login."""
    error, said = error_of(response), quoted(response.status, *read_error(response.body))
    if isinstance(error, AuthenticationError):
        text = Text(
            f"the user, the domain or the password is wrong, or the user is locked ({said.en})",
            f"用户名、账号名（domain）或密码错误，或用户已被锁定（{said.zh}）",
        )
        return AuthenticationError(text, api_code=error.api_code)
    if isinstance(error, RejectedError):
        text = Text(
            f"the login was rejected; is there such a project? ({said.en})",
            f"登录被拒绝，请检查项目是否存在（{said.zh}）",
        )
        return RejectedError(text, api_code=error.api_code)
    return error


def expiry(body: bytes) -> float | None:
    """``token.expires_at`` as Unix time; None where it cannot be read, for the token is good all the same."""
    try:
        return epoch_seconds(_body.decode(body).token.expires_at, UTC)
    except UNREADABLE:
        return None
