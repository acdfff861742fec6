"""Targets, who polls them and when: shards, jittered start, no overlap, backoff, staleness. Knows nothing of vendors."""

from exporter.polling.poller import SLICE, Listener, Poller, in_slices
from exporter.polling.shards import WHOLE, Shard
from exporter.polling.target import Target, TargetKey, TargetStatus

__all__ = ["SLICE", "WHOLE", "Listener", "Poller", "Shard", "Target", "TargetKey", "TargetStatus", "in_slices"]
