"""Targets and when they are polled: jittered start, no overlap, backoff, staleness. Knows nothing of vendors."""

from exporter.polling.poller import Listener, Poller
from exporter.polling.target import Target, TargetKey, TargetStatus

__all__ = ["Listener", "Poller", "Target", "TargetKey", "TargetStatus"]
