"""Waits, runs, transitions and resource seconds out of successive listings of an API without timestamps.

`Tracker` is the state machine for all members, without I/O.
"""

from exporter.tracking.histogram import HistogramView
from exporter.tracking.model import MemberKey
from exporter.tracking.tracker import GroupView, MemberView, Tracker, TrackerState

__all__ = ["GroupView", "HistogramView", "MemberKey", "MemberView", "Tracker", "TrackerState"]
