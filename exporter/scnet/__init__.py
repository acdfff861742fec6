"""SCNet's OpenAPI v2: wire types, envelope rules, tokens and the client of one region, which yields records."""

from exporter.scnet.accounts import Account, AccountToken
from exporter.scnet.client import RegionClient
from exporter.scnet.login import AccessKeyLogin, PasswordLogin
from exporter.scnet.tokens import Claims, StaticToken, read_claims

__all__ = [
    "AccessKeyLogin",
    "Account",
    "AccountToken",
    "Claims",
    "PasswordLogin",
    "RegionClient",
    "StaticToken",
    "read_claims",
]
