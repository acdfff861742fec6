"""Reading the claims of SCNet's tokens.

A token is a JWT signed by the server with a secret of its own: a client can decode it, never verify it.
Source: the sample tokens of the official pages.
"""

import base64
import binascii
from typing import Any

import msgspec

from exporter.http import Issued, epoch_seconds

JWT_PARTS = 3


class WireClaims(msgspec.Struct, rename="camel", gc=False):
    """All claims are text; ``expireTime`` is in milliseconds since the epoch, elsewhere in seconds."""

    compute_user: Any = None
    expire_time: Any = None


_claims = msgspec.json.Decoder(WireClaims)


def read_token(token: str) -> Issued:
    """The owner and the expiry of `token`; unknown where it does not decode, for it may still be accepted."""
    parts = token.split(".")
    if len(parts) != JWT_PARTS:
        return Issued(token)
    payload = parts[1]
    try:
        body = base64.b64decode(payload + "=" * (-len(payload) % 4), altchars=b"-_", validate=True)
        claims = _claims.decode(body)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        return Issued(token)
    return Issued(token, epoch_seconds(claims.expire_time), as_text(claims.compute_user))


def as_text(value: object) -> str:
    """A name or an id that is met as text and as a number, 11112.0 among them; empty for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
