"""For each of what the collectors of a region are asked: the region, a user, a member of a group."""

from collections.abc import Iterator

from exporter.config.model import Cluster
from exporter.metrics.family import Text
from exporter.metrics.health import HPC_UP
from exporter.sources.collector import Per, Subject

# Stands for the token's own user until a login tells the name.
OWNER = ""


def _region(cluster: Cluster, _owner: str) -> Iterator[Subject]:
    yield Subject(cluster.name, "", cluster.place)


def _users(cluster: Cluster, owner: str) -> Iterator[Subject]:
    if cluster.users is None:
        yield Subject(cluster.name, owner, cluster.place, user=owner, params={"user": owner}, configured=OWNER)
        return
    for user in cluster.users:
        yield Subject(cluster.name, user.name, user.place, user=user.name, params={"user": user.name})


def _members(cluster: Cluster, _owner: str) -> Iterator[Subject]:
    for member in cluster.members:
        # "a/b" of user c and "a" of user b/c are two: the first slash that stands there as such ends the group.
        group = member.group.replace("%", "%25").replace("/", "%2F")
        for user in member.users:
            yield Subject(
                cluster.name,
                f"{group}/{user}",
                member.place,
                user=user,
                group=member.group,
                group_id=member.group_id,
                params={"cluster_id": cluster.cluster_id, "group_id": member.group_id, "user": user},
            )


REGION = Per("clusters", HPC_UP, 0, "", Text("region", "区域"), _region)
USER = Per("clusters", HPC_UP, 1, "users", Text("user", "用户"), _users)
MEMBER = Per("clusters", HPC_UP, 2, "members", Text("member", "用户组成员"), _members)
