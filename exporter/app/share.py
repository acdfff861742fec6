"""The part of a configuration that one of several instances polls."""

from typing import TypeVar

from exporter.config import Cluster, Config, OctopusProject
from exporter.polling import Shard, TargetKey
from exporter.sources.collector import subjects_of

Polled = TypeVar("Polled", Cluster, OctopusProject)


def targets_of(source: Cluster | OctopusProject) -> list[TargetKey]:
    """All that is polled there; where no users are listed, the token's own user stands for them."""
    section = "clusters" if isinstance(source, Cluster) else "octopus"
    return [collector.configured_key(subject) for collector, subject in subjects_of(section, source)]


def share_of(config: Config, shard: Shard) -> Config:
    """`config` without the regions and projects of which `shard` has no target.

    Where the requests per second are limited, each shard gets as much of them as it has of the targets.
    """
    if shard.total == 1:
        return config
    return config.model_copy(
        update={
            "clusters": tuple(part for cluster in config.clusters for part in part_of(cluster, shard)),
            "octopus": tuple(part for project in config.octopus for part in part_of(project, shard)),
        }
    )


def part_of(whole: Polled, shard: Shard) -> list[Polled]:
    """The region or project with its part of the requests per second; nothing where no target is the shard's."""
    keys = targets_of(whole)
    mine = sum(map(shard.owns, keys))
    if not mine:
        return []
    if whole.requests_per_second is None:
        return [whole]
    return [whole.model_copy(update={"requests_per_second": whole.requests_per_second * mine / len(keys)})]
