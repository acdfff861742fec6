"""Tokens as the real service makes them, JWTs with text claims, and the logins that give them.

A login has access keys and a password, and in each region a scheduler user.
"""

import base64
import binascii
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from aiohttp import web

# Which role an administrator's token carries is not documented: these two are the simulator's own choice.
ROLE_MEMBER = "1"
ROLE_ADMINISTRATOR = "2"
PLATFORM_CLUSTER_ID = "0"
RENEWABLE_FOR = 24 * 3600.0  # seconds after the expiry
TIMESTAMP_TOLERANCE: Final = 300.0  # seconds

Verdict = Literal["valid", "missing", "foreign", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a token. `expires` is Unix seconds."""

    compute_user: str
    user: str
    cluster_id: str
    role: str
    expires: float


def fingerprint(token: str) -> str:
    """Tells tokens apart in a log without giving them away."""
    return hashlib.sha256(token.encode()).hexdigest()[:12] if token else ""


class TokenOffice:
    """Issues and checks tokens for all regions of a simulator. `now` gives Unix seconds, `lifetime` is in seconds."""

    def __init__(self, seed: int, now: Callable[[], float], lifetime: float) -> None:
        self.lifetime = lifetime
        self._now = now
        self._rng = random.Random(f"tokens/{seed}")
        # From the seed, so that a configuration written earlier still works after a restart.
        self._key = random.Random(f"key/{seed}").randbytes(32)
        self._issued: set[str] = set()
        self._expired_at: dict[str, float] = {}
        self._revoked: set[str] = set()

    def issue(self, *, compute_user: str, user: str, cluster_id: str, role: str = ROLE_MEMBER) -> str:
        """Return a new token of that scheduler user (`compute_user`) and platform login (`user`)."""
        claims = {
            "computeUser": compute_user,
            "accountStatus": "Normal",
            "creator": "ac",
            "role": role,
            "expireTime": str(int((self._now() + self.lifetime) * 1000)),
            "clusterId": cluster_id,
            "invoker": self._rng.randbytes(16).hex(),
            "user": user,
            "userId": str(11_000_000_000 + binascii.crc32(user.encode())),
        }
        token = sign(claims, self._key)
        self._issued.add(token)
        return token

    def check(self, token: str, cluster_id: str) -> tuple[Verdict, Claims | None]:
        """Return the verdict of the region `cluster_id` on a token; claims are given for any token that we signed."""
        if not token:
            return "missing", None
        claims = self._read(token)
        if claims is None:
            return "foreign", None
        if token in self._revoked:
            return "revoked", claims
        if claims.expires <= self._now():
            return "expired", claims
        if claims.cluster_id != cluster_id:
            return "foreign", claims
        return "valid", claims

    def renew(self, token: str, cluster_id: str) -> str | None:
        """Return a token that follows `token`; None where that is not, or no longer, possible."""
        verdict, claims = self.check(token, cluster_id)
        if claims is None or verdict not in ("valid", "expired") or claims.cluster_id != cluster_id:
            return None
        if claims.expires + RENEWABLE_FOR < self._now():
            return None
        return self.issue(compute_user=claims.compute_user, user=claims.user, cluster_id=cluster_id, role=claims.role)

    def expire(self, cluster_id: str) -> None:
        """Treat every token issued for that region so far as expired."""
        for token in self._issued:
            claims = self._read(token)
            if claims is not None and claims.cluster_id == cluster_id:
                self._expired_at[token] = min(claims.expires, self._now())

    def revoke(self, token: str) -> None:
        """Reject the token from now on; it cannot be renewed."""
        self._revoked.add(token)

    def _read(self, token: str) -> Claims | None:
        claims = verify(token, self._key)
        if claims is None:
            return None
        return Claims(
            compute_user=claims["computeUser"],
            user=claims["user"],
            cluster_id=claims["clusterId"],
            role=claims["role"],
            expires=self._expired_at.get(token, int(claims["expireTime"]) / 1000),
        )


def sign(claims: dict[str, str], key: bytes) -> str:
    """Return a JWT with HS256 (RFC 7515)."""
    parts = [
        _encode(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signed = b".".join(parts)
    return (signed + b"." + _encode(hmac.digest(key, signed, "sha256"))).decode()


def verify(token: str, key: bytes) -> dict[str, str] | None:
    """Return the claims of a token signed with `key`; None for anything else."""
    signed, _, signature = token.rpartition(".")
    try:
        if not hmac.compare_digest(_encode(hmac.digest(key, signed.encode(), "sha256")), signature.encode()):
            return None
        claims: dict[str, str] = json.loads(_decode(signed.partition(".")[2]))
    except ValueError:
        return None
    return claims


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


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


def password_accepted(account: Account, headers: Mapping[str, str], _now: float) -> bool:
    return headers.get("password") == account.password and headers.get("orgId") == account.org_id
