"""SCNet regions and Octopus projects on loopback, driven by a small batch system, with faults on request.

It knows nothing of the exporter.
"""

from exporter.simulator.batch import BatchSystem, SimJob, State
from exporter.simulator.faults import Fault
from exporter.simulator.octopus import (
    OctopusProject,
    OctopusQuirks,
    ProjectSpec,
    default_project,
    default_projects,
)
from exporter.simulator.platform import Platform
from exporter.simulator.quirks import Quirks
from exporter.simulator.scnet import Region
from exporter.simulator.server import Simulator
from exporter.simulator.spec import (
    Demand,
    RegionSpec,
    UserSpec,
    default_region,
    default_regions,
)
from exporter.simulator.tokens import Account

__all__ = [
    "Account",
    "BatchSystem",
    "Demand",
    "Fault",
    "OctopusProject",
    "OctopusQuirks",
    "Platform",
    "ProjectSpec",
    "Quirks",
    "Region",
    "RegionSpec",
    "SimJob",
    "Simulator",
    "State",
    "UserSpec",
    "default_project",
    "default_projects",
    "default_region",
    "default_regions",
]
