"""SCNet's tokens: reading their claims, and the ones that a person pastes.

A token is a JWT signed by the server with a secret of its own: a client can decode it, never verify it.
Source: the sample tokens of the official pages.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from exporter.upstream import PastedToken, epoch_seconds

JWT_PARTS = 3


class WireClaims(msgspec.Struct, rename="camel", gc=False):
    """All claims are text; ``expireTime`` is in milliseconds since the epoch, elsewhere in seconds."""

    compute_user: str | None = None
    cluster_id: str | int | None = None
    expire_time: Any = None
    account_status: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says of itself. `expires` is unix time in seconds; None and "" are unknown."""

    compute_user: str = ""
    cluster_id: str = ""
    expires: float | None = None
    account_status: str = ""


UNKNOWN_CLAIMS = Claims()


def read_claims(token: str) -> Claims:
    """The claims of `token`; unknown ones where it does not decode, for it may still be accepted."""
    parts = token.split(".")
    if len(parts) != JWT_PARTS:
        return UNKNOWN_CLAIMS
    payload = parts[1]
    try:
        body = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        wire = msgspec.json.decode(body, type=WireClaims)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return UNKNOWN_CLAIMS
    return Claims(
        wire.compute_user or "",
        "" if wire.cluster_id is None else str(wire.cluster_id),
        epoch_seconds(wire.expire_time),
        wire.account_status or "",
    )


class StaticToken(PastedToken):
    """A token that somebody pasted, and what it says of itself."""

    def claims(self) -> Claims:
        return read_claims(self._secret.value())
