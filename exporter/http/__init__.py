"""The HTTP client: every request to an upstream is sent here, and no aiohttp exception leaves this package.

Knows no vendor: each call brings a `decode` function for the body.
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
