"""The one choke point for HTTP: every request to an upstream passes here, and no aiohttp exception leaves.

Knows nothing of vendors: what a body means is decided by the `decode` function that each call brings.
"""

from exporter.upstream.http import Request, RequestObserver, Response, Settings, Upstream
from exporter.upstream.outage import Outage
from exporter.upstream.retry_after import parse_retry_after
from exporter.upstream.tokens import TokenProvider, call_with_token

__all__ = [
    "Outage",
    "Request",
    "RequestObserver",
    "Response",
    "Settings",
    "TokenProvider",
    "Upstream",
    "call_with_token",
    "parse_retry_after",
]
