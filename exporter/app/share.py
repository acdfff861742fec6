"""The part of a configuration that one of several instances polls."""

from typing import TypeVar

from exporter.config import Cluster, Config, Member, OctopusProject
from exporter.polling import Shard
from exporter.scnet.client import CLUSTER, MEMBER_JOBS, QUEUE_JOBS
from exporter.sources.keys import OWNER, collected, member_key, octopus_key, queues_key, schedulers_key

Polled = TypeVar("Polled", Cluster, OctopusProject)


def share_of(config: Config, shard: Shard) -> Config:
    """`config` with only the targets of `shard`, and without regions and projects of which none is left.

    Where the requests per second are limited, each shard gets as much of them as it has of the region's targets.
    """
    if shard.total == 1:
        return config
    clusters = (limited(part_of_cluster(cluster, shard), cluster) for cluster in config.clusters)
    projects = (limited(part_of_project(project, shard), project) for project in config.octopus)
    return config.model_copy(
        update={
            "clusters": tuple(cluster for cluster in clusters if cluster.collect),
            "octopus": tuple(project for project in projects if project.queues),
        }
    )


def part_of_cluster(cluster: Cluster, shard: Shard) -> Cluster:
    members = tuple(part for member in cluster.members if (part := part_of_member(cluster, member, shard)).users)
    if cluster.users is None:
        users = None
        # Whoever the token belongs to: the target must not move to another shard when that is found out.
        has_users = shard.owns(queues_key(cluster, OWNER))
    else:
        users = tuple(user for user in cluster.users if shard.owns(queues_key(cluster, user.name)))
        has_users = bool(users)
    mine = {
        CLUSTER: shard.owns(schedulers_key(cluster)),
        QUEUE_JOBS: has_users,
        MEMBER_JOBS: bool(members),
    }
    collect = tuple(endpoint for endpoint in cluster.collect if mine[endpoint])
    return cluster.model_copy(update={"users": users, "members": members, "collect": collect})


def part_of_member(cluster: Cluster, member: Member, shard: Shard) -> Member:
    users = tuple(user for user in member.users if shard.owns(member_key(cluster, member, user)))
    return member.model_copy(update={"users": users})


def part_of_project(project: OctopusProject, shard: Shard) -> OctopusProject:
    queues = tuple(queue for queue in project.queues if shard.owns(octopus_key(project, queue)))
    return project.model_copy(update={"queues": queues})


def limited(part: Polled, whole: Polled) -> Polled:
    """`part` of `whole` with its part of the requests per second, so that all shards together keep the limit."""
    mine = len(collected(part))
    if whole.requests_per_second is None or mine == 0:
        return part
    return part.model_copy(update={"requests_per_second": whole.requests_per_second * mine / len(collected(whole))})
