"""SCNet's OpenAPI v2: wire types, envelope rules, tokens and the client of one region, which yields records."""

from exporter.scnet.client import RegionClient
from exporter.scnet.login import PLATFORM, AccessKeyLogin, PasswordLogin, renewal
from exporter.scnet.tokens import read_token

__all__ = [
    "PLATFORM",
    "AccessKeyLogin",
    "PasswordLogin",
    "RegionClient",
    "read_token",
    "renewal",
]
