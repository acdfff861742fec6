"""The one choke point for HTTP: every request to an upstream passes here, and no aiohttp exception leaves.

Knows nothing of vendors: what a body means is decided by the `decode` function that each call brings.
"""

from exporter.upstream.circuit_breaker import CircuitBreaker
from exporter.upstream.http import Request, RequestObserver, Response, Settings, Upstream, on_response
from exporter.upstream.renewal import Lifetime, Pause, TokenObserver
from exporter.upstream.retry_after import parse_retry_after, retry_after_of
from exporter.upstream.skew import ALARMING_SKEW, clock_skew
from exporter.upstream.text import excerpt, one_line
from exporter.upstream.tokens import PastedToken, TokenProvider, call_with_token, epoch_seconds

__all__ = [
    "ALARMING_SKEW",
    "CircuitBreaker",
    "Lifetime",
    "PastedToken",
    "Pause",
    "Request",
    "RequestObserver",
    "Response",
    "Settings",
    "TokenObserver",
    "TokenProvider",
    "Upstream",
    "call_with_token",
    "clock_skew",
    "epoch_seconds",
    "excerpt",
    "on_response",
    "one_line",
    "parse_retry_after",
    "retry_after_of",
]
