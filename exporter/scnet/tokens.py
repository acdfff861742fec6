"""SCNet's tokens: reading their claims, and the ones that a person pastes.

A token is a JWT signed by the server with a secret of its own: a client can decode it, never verify it.
Source: the sample tokens of the official pages.
"""

import base64
import binascii
from dataclasses import dataclass

import msgspec

from exporter.upstream import PastedToken

JWT_PARTS = 3


class WireClaims(msgspec.Struct, rename="camel", gc=False):
    """All claims are text; ``expireTime`` is in milliseconds since the epoch."""

    compute_user: str | None = None
    cluster_id: str | int | None = None
    expire_time: str | int | None = None
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
        seconds_from_milliseconds(wire.expire_time),
        wire.account_status or "",
    )


def seconds_from_milliseconds(value: str | int | None) -> float | None:
    text = "" if value is None else str(value).strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 15:  # noqa: PLR2004 - year 33658, in milliseconds
        return None
    return int(text) / 1000


class StaticToken(PastedToken):
    """A token that somebody pasted, and what it says of itself."""

    def claims(self) -> Claims:
        return read_claims(self._secret.value())
