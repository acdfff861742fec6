"""Huawei Cloud Octopus: the queued data jobs of a project, its tokens, and what comes and goes between two polls."""

from exporter.octopus.client import ProjectClient, Queue
from exporter.octopus.flow import QueueTotals
from exporter.octopus.iam import IamLogin

__all__ = ["IamLogin", "ProjectClient", "Queue", "QueueTotals"]
