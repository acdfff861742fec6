"""The configuration: what people write, checked with line and column, as frozen values for the other packages."""

from exporter.config.loading import effective_yaml, load
from exporter.config.model import (
    Account,
    Cluster,
    Config,
    Member,
    OctopusProject,
    OctopusQueue,
    Polled,
    PollSettings,
    Slurm,
    Tls,
    Tracking,
)
from exporter.config.secrets import FileSecret, InlineSecret, Secret, UnusableSecretError
from exporter.config.watch import FileWatch

__all__ = [
    "Account",
    "Cluster",
    "Config",
    "FileSecret",
    "FileWatch",
    "InlineSecret",
    "Member",
    "OctopusProject",
    "OctopusQueue",
    "PollSettings",
    "Polled",
    "Secret",
    "Slurm",
    "Tls",
    "Tracking",
    "UnusableSecretError",
    "effective_yaml",
    "load",
]
