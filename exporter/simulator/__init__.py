"""A SCNet region on loopback, driven by a small batch system, with faults to order. It knows nothing of the exporter."""

from exporter.simulator.accounts import Account
from exporter.simulator.batch import BatchSystem, JobTruth, Resources, Run, SimJob, State
from exporter.simulator.faults import Fault
from exporter.simulator.forms import Quirks
from exporter.simulator.region import Region
from exporter.simulator.server import Simulator
from exporter.simulator.spec import (
    Demand,
    GroupSpec,
    Habits,
    QueueSpec,
    RegionSpec,
    SchedulerSpec,
    UserSpec,
    default_region,
    default_regions,
)
from exporter.simulator.static import StaticRegion

__all__ = [
    "Account",
    "BatchSystem",
    "Demand",
    "Fault",
    "GroupSpec",
    "Habits",
    "JobTruth",
    "QueueSpec",
    "Quirks",
    "Region",
    "RegionSpec",
    "Resources",
    "Run",
    "SchedulerSpec",
    "SimJob",
    "Simulator",
    "State",
    "StaticRegion",
    "UserSpec",
    "default_region",
    "default_regions",
]
