"""Log lines on standard error, as logfmt or JSON, with the keys that Prometheus' own programs use."""

import logging
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

from exporter.redaction import redact
from exporter.streams import LineWriter, on_lost_lines
from exporter.text import escaped

LogFormat = Literal["logfmt", "json"]
LEVELS = ("debug", "info", "warning", "error")
log = structlog.get_logger()

KEY_ORDER = ["ts", "level", "msg"]


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
    ]
    structlog.configure(
        processors=[*shared, plain_keys, line_of(renderer)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, plain_keys, line_of(renderer)],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    on_lost_lines(lambda lines: log.error("log lines were lost: standard error did not take them", lines=lines))


def plain_keys(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Drop private keys; logfmt cannot hold a key with blanks."""
    return {key: value for key, value in event.items() if not key.startswith("_")}


def line_of(renderer: Processor) -> Processor:
    """Render a line without secrets, whatever kind of value they are in, and with escapes for what moves a cursor.

    In JSON, such characters are in strings, where the escapes stand for them.
    """
    # A LineWriter redacts all lines itself, in its own thread.
    without_secrets = str if isinstance(sys.stderr, LineWriter) else redact

    def render(logger: Any, method: str, event: EventDict) -> str:
        return escaped(without_secrets(str(renderer(logger, method, event))))

    return render
