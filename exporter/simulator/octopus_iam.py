"""IAM as far as a client of Octopus meets it: a password becomes a token that is good for a while, in one region."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

Verdict = Literal["valid", "missing", "foreign", "expired", "elsewhere"]


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """`expires` is Unix seconds."""

    region: str
    expires: float


class IamOffice:
    """Issues and checks tokens. `now` gives Unix seconds, `lifetime` is in seconds and may be changed."""

    def __init__(self, seed: str, now: Callable[[], float], lifetime: float) -> None:
        self.lifetime = lifetime
        self._now = now
        self._rng = random.Random(f"iam/{seed}")
        self._issued: dict[str, IssuedToken] = {}

    def issue(self, region: str) -> tuple[str, IssuedToken]:
        token = "MII" + self._rng.randbytes(48).hex()
        self._issued[token] = IssuedToken(region, self._now() + self.lifetime)
        return token, self._issued[token]

    def check(self, token: str, region: str) -> Verdict:
        issued = self._issued.get(token)
        if not token or issued is None:
            return "foreign" if token else "missing"
        if issued.expires <= self._now():
            return "expired"
        return "valid" if issued.region == region else "elsewhere"

    def expire(self) -> None:
        """From now on every token issued so far is expired."""
        self._issued = {token: replace(issued, expires=self._now()) for token, issued in self._issued.items()}


def wanted_scope(body: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """User (name, password, domain) and project (name or id) of a login; None where it is not of the documented form."""
    try:
        auth = json.loads(body)["auth"]
        if auth["identity"]["methods"] != ["password"]:
            return None
        user, project = auth["identity"]["password"]["user"], auth["scope"]["project"]
        _ = user["name"], user["password"], user["domain"]["name"]
    except (ValueError, KeyError, TypeError):
        return None
    return user, project


def iso(moment: float) -> str:
    """As IAM writes it: UTC, with microseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
