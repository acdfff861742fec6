"""SCNet's OpenAPI v2: wire types, envelope rules, tokens and the client of one region, which yields records."""

from exporter.scnet.client import RegionClient
from exporter.scnet.tokens import Claims, StaticToken, read_claims

__all__ = ["Claims", "RegionClient", "StaticToken", "read_claims"]
