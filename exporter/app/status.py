"""The facts behind `/api/v1/status` and the status page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter import __version__

if TYPE_CHECKING:
    from exporter.app.application import Application
    from exporter.polling import TargetStatus


def status_of(app: Application) -> dict[str, Any]:
    """Everything a person or a script asks about the exporter; times are RFC 3339 in UTC, null where unknown."""
    return {
        "version": __version__,
        "ready": app.poller.ready,
        "config": {
            "file": str(app.options.config_file),
            "last_reload_successful": app.reload_successful,
            "last_successful_reload": timestamp(app.reloaded_at),
            "warnings": app.warnings,
        },
        "targets": [target_facts(status) for status in app.poller.statuses],
    }


def target_facts(status: TargetStatus) -> dict[str, Any]:
    error = status.last_error
    return {
        "source": status.key.source,
        "endpoint": status.key.endpoint,
        "target": status.key.target,
        "state": state_of(status),
        "interval_seconds": status.target.interval,
        "consecutive_failures": status.failures,
        "last_attempt": timestamp(status.last_attempt),
        "last_success": timestamp(status.last_success),
        "last_error": None
        if error is None
        else {"reason": error.reason, "message": str(error), "time": timestamp(status.last_error_at)},
        "next_poll": timestamp(status.next_poll),
    }


def state_of(status: TargetStatus) -> str:
    """One word: pending before the first try, then up, failing (its data still shown) or stale (no data shown)."""
    if status.up is None:
        return "pending"
    if status.stale:
        return "stale"
    return "up" if status.up else "failing"


def timestamp(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
