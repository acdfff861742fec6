"""Targets, their schedule and their health: jittered start, no overlap, backoff, staleness, shards.

Knows nothing of vendors.
"""

from exporter.polling.health import STATES, SourceHealth, SourceStatus, Target, TargetKey, TargetStatus
from exporter.polling.scheduler import SLICE, Outcome, Scheduler, batched, poll_target
from exporter.polling.sharding import WHOLE, Shard

__all__ = [
    "SLICE",
    "STATES",
    "WHOLE",
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
