"""Log lines on standard error, as logfmt or JSON, with the keys that Prometheus' own programs use."""

import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

LogFormat = Literal["logfmt", "json"]
LEVELS = ("debug", "info", "warning", "error")
KEY_ORDER = ["ts", "level", "msg"]

# No service gives out shorter ones, and whoever asks takes the real ones out of its errors by itself.
SHORTEST_SECRET = 6

_secrets: Callable[[], Iterable[str]] = tuple


def redact_with(secrets: Callable[[], Iterable[str]]) -> None:
    """Take what `secrets` gives out of every line from now on: the last guard, should a value get into a text."""
    global _secrets  # noqa: PLW0603 - logging is process-wide, and so is what it must not say
    _secrets = secrets


def setup(level: str = "info", fmt: LogFormat = "logfmt") -> None:
    """Send structlog's lines, and the warnings of the libraries below, to standard error."""
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if fmt == "json"
        else structlog.processors.LogfmtRenderer(key_order=KEY_ORDER, drop_missing=True, bool_as_flag=False)
    )
    shared: list[Processor] = [
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.add_log_level,
        structlog.processors.EventRenamer("msg"),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, plain_keys, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, plain_keys, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    return {key: redacted(value) if isinstance(value, str) else value for key, value in event.items()}


def redacted(text: str) -> str:
    """`text` without any secret that is long enough to be one: taking out a letter would only garble it."""
    for secret in _secrets():
        if len(secret) >= SHORTEST_SECRET:
            text = text.replace(secret, "<secret>")
    return text


def plain_keys(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Drop private keys; logfmt cannot hold a key with blanks, and nothing of ours has one."""
    return {key: value for key, value in event.items() if not key.startswith("_")}
