"""Platform logins: access keys, passwords, and the scheduler users that they are in each region."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from exporter.simulator.tokens import PLATFORM_CLUSTER_ID, TokenOffice

TIMESTAMP_TOLERANCE: Final = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Account:
    """A platform login. `users` maps a region's name to the scheduler user there, who has another name in general.

    `balance` is in yuan, before the cost of jobs.
    """

    user: str
    access_key: str
    secret_key: str
    password: str
    org_id: str = "sugon"
    users: Mapping[str, str] = field(default_factory=dict)
    full_name: str = "王小明"
    balance: float = 100_000.0


@dataclass(frozen=True, slots=True)
class Directory:
    """Tokens and logins, which all addresses of one platform share."""

    office: TokenOffice
    accounts: list[Account]

    def account(self, user: str) -> Account | None:
        return next((account for account in self.accounts if account.user == user), None)

    def login_of(self, region: str, user: str) -> str:
        """Return the platform login of a scheduler user; the user's own name where no account has it."""
        return next((account.user for account in self.accounts if account.users.get(region) == user), user)

    def caller(self, request: web.Request) -> str:
        """Return the user that faults of a request may name: the one that it is about, or else who sends it."""
        if named := request.match_info.get("user") or request.query.get("userName") or request.headers.get("user"):
            return named
        _, claims = self.office.check(token_of(request), PLATFORM_CLUSTER_ID)
        return (claims.compute_user or claims.user) if claims else ""


def token_of(request: web.Request) -> str:
    return request.headers.get("token", "")


def signature(secret_key: str, *, access_key: str, timestamp: str, user: str) -> str:
    """Return the value of the header `signature` for the access-key login."""
    # Written out rather than dumped: the page fixes every character, also where a value would need an escape.
    text = f'{{"accessKey":"{access_key}","timestamp":"{timestamp}","user":"{user}"}}'
    return hmac.digest(secret_key.encode(), text.encode(), "sha256").hex()


def access_key_accepted(account: Account, headers: Mapping[str, str], now: float) -> bool:
    """Whether the headers accessKey, timestamp (Unix seconds) and signature are this account's, and fresh."""
    timestamp = headers.get("timestamp", "")
    if not timestamp.isdecimal() or abs(int(timestamp) - now) > TIMESTAMP_TOLERANCE:
        return False
    if headers.get("accessKey") != account.access_key:
        return False
    expected = signature(account.secret_key, access_key=account.access_key, timestamp=timestamp, user=account.user)
    return hmac.compare_digest(expected.encode(), headers.get("signature", "").encode())


def password_accepted(account: Account, headers: Mapping[str, str]) -> bool:
    return headers.get("password") == account.password and headers.get("orgId") == account.org_id
