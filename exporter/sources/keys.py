"""The targets that a configuration has: one of each kind, and all of a region or project."""

from exporter.config import Cluster, Member, OctopusProject, OctopusQueue
from exporter.octopus.client import QUEUING_JOBS
from exporter.polling import TargetKey
from exporter.scnet.client import CLUSTER, MEMBER_JOBS, QUEUE_JOBS

# The target of the token's own user, until a login has told the name.
OWNER = ""


def schedulers_key(cluster: Cluster) -> TargetKey:
    return TargetKey(cluster.name, CLUSTER, "")


def queues_key(cluster: Cluster, user: str) -> TargetKey:
    return TargetKey(cluster.name, QUEUE_JOBS, user)


def member_key(cluster: Cluster, member: Member, user: str) -> TargetKey:
    # "a/b" of user c and "a" of user b/c are two: the first slash that stands there as such ends the group.
    group = member.group.replace("%", "%25").replace("/", "%2F")
    return TargetKey(cluster.name, MEMBER_JOBS, f"{group}/{user}")


def octopus_key(project: OctopusProject, queue: OctopusQueue) -> TargetKey:
    return TargetKey(project.name, QUEUING_JOBS, queue.target)


def collected(source: Cluster | OctopusProject) -> list[TargetKey]:
    """All that is polled there; where no users are listed, the token's own user is OWNER."""
    if isinstance(source, OctopusProject):
        return [octopus_key(source, queue) for queue in source.queues]
    users = [OWNER] if source.users is None else [user.name for user in source.users]
    keys = [
        schedulers_key(source),
        *(queues_key(source, user) for user in users),
        *(member_key(source, member, user) for member in source.members for user in member.users),
    ]
    return [key for key in keys if key.endpoint in source.collect]
