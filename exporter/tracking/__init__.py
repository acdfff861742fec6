"""Waits, runs, transitions and resource seconds, derived from successive listings of jobs.

`Tracker` is the state machine for all members, without I/O; `Store` its file; `TrackingService`, which the application
uses, combines the two. `StateFileError`: the file cannot be used.
"""

from exporter.tracking.arrays import followed_id
from exporter.tracking.model import MemberKey, Phase, TrackedJob
from exporter.tracking.service import TrackingService
from exporter.tracking.store import StateFileError, Store
from exporter.tracking.totals import GroupTotals, Histogram, MemberTotals
from exporter.tracking.tracker import Tracker, TrackerState
from exporter.tracking.waits import WaitView

__all__ = [
    "GroupTotals",
    "Histogram",
    "MemberKey",
    "MemberTotals",
    "Phase",
    "StateFileError",
    "Store",
    "TrackedJob",
    "Tracker",
    "TrackerState",
    "TrackingService",
    "WaitView",
    "followed_id",
]
