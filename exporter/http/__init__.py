"""The one choke point for HTTP: every request to an upstream passes here, and no aiohttp exception leaves.

Knows nothing of vendors: what a body means is decided by the `decode` function that each call brings.
"""

from exporter.http.auth import EitherToken, Endpoint, StaticToken, TokenProvider
from exporter.http.client import UNOBSERVED, CircuitBreaker, Settings, Upstream, on_response
from exporter.http.message import (
    ALARMING_SKEW,
    Request,
    Response,
    clock_skew,
    describe_skew,
    excerpt,
    one_line,
    parse_retry_after,
    retry_after_of,
)
from exporter.http.tokens import (
    Backoff,
    Issued,
    Login,
    Renewal,
    TokenCache,
    TokenSource,
    sendable,
)

__all__ = [
    "ALARMING_SKEW",
    "UNOBSERVED",
    "Backoff",
    "CircuitBreaker",
    "EitherToken",
    "Endpoint",
    "Issued",
    "Login",
    "Renewal",
    "Request",
    "Response",
    "Settings",
    "StaticToken",
    "TokenCache",
    "TokenProvider",
    "TokenSource",
    "Upstream",
    "clock_skew",
    "describe_skew",
    "excerpt",
    "on_response",
    "one_line",
    "parse_retry_after",
    "retry_after_of",
    "sendable",
]
