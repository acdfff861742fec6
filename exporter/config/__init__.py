"""The configuration: what people write, checked with line and column, as frozen values for the other packages."""

from exporter.config.loading import effective_yaml, load
from exporter.config.model import (
    Account,
    Cluster,
    Config,
    Iam,
    Member,
    OctopusProject,
    OctopusQueue,
    PerJob,
    Polled,
    PollSettings,
    Slurm,
    Tls,
    Tracking,
    User,
)
from exporter.config.secrets import FileSecret, InlineSecret, Secret, UnusableSecretError
from exporter.config.units import format_duration, parse_duration
from exporter.config.watch import FileWatch

__all__ = [
    "Account",
    "Cluster",
    "Config",
    "FileSecret",
    "FileWatch",
    "Iam",
    "InlineSecret",
    "Member",
    "OctopusProject",
    "OctopusQueue",
    "PerJob",
    "PollSettings",
    "Polled",
    "Secret",
    "Slurm",
    "Tls",
    "Tracking",
    "UnusableSecretError",
    "User",
    "effective_yaml",
    "format_duration",
    "load",
    "parse_duration",
]
