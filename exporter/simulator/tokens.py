"""Tokens as the real service makes them: JWTs with text claims, checked at every request."""

import base64
import binascii
import hashlib
import hmac
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

# Which role an administrator's token carries is not documented: these two are the simulator's own choice.
ROLE_MEMBER = "1"
ROLE_ADMINISTRATOR = "2"
PLATFORM_CLUSTER_ID = "0"
RENEWABLE_FOR = 24 * 3600.0  # seconds after the expiry

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
