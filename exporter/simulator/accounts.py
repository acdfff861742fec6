"""Platform logins: with an access key and a signature, or with a password."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

TIMESTAMP_TOLERANCE = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Account:
    """A platform login. `users` maps a region's name to the scheduler user there, who has another name in general."""

    user: str
    access_key: str
    secret_key: str
    password: str
    org_id: str = "sugon"
    users: Mapping[str, str] = field(default_factory=dict)


def signature(secret_key: str, *, access_key: str, timestamp: str, user: str) -> str:
    """What the access-key login expects in the header `signature`."""
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
