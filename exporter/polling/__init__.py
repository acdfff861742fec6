"""Targets, their schedule and their health: jittered start, no overlap, backoff, staleness, shards.

Knows nothing of vendors.
"""

from exporter.polling.health import Listener, SourceHealth, SourceStatus
from exporter.polling.scheduler import SLICE, Scheduler, batched
from exporter.polling.sharding import WHOLE, Shard
from exporter.polling.target import STATES, Outcome, Target, TargetKey, TargetStatus, poll_target

__all__ = [
    "SLICE",
    "STATES",
    "WHOLE",
    "Listener",
    "Outcome",
    "Scheduler",
    "Shard",
    "SourceHealth",
    "SourceStatus",
    "Target",
    "TargetKey",
    "TargetStatus",
    "batched",
    "poll_target",
]
