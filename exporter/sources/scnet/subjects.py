"""Units of SCNet's collectors: a region, a user, a member of a group, an account of the platform."""

from collections.abc import Iterator
from typing import Final

from exporter.config.model import Cluster
from exporter.metrics.family import Text, gauge
from exporter.metrics.health import HPC_UP
from exporter.sources.collector import Per, Subject, itself, label_part

ACCOUNT_UP: Final = gauge(
    "hpc_account_up",
    ("account",),
    "Whether the platform answers the account: 1 if the last poll of at least one of its targets worked, 0 if none did. Absent "
    "until one was tried.",
    zh="平台对该账号是否有响应：至少有一个目标最近一次轮询成功为 1，全部失败为 0。",
    absent=Text("", "尚未尝试任何目标。"),
)

# Stands for the token's own user until a login tells the name.
OWNER = ""


def _users(cluster: Cluster, owner: str) -> Iterator[Subject]:
    if cluster.users is None:
        yield Subject(cluster.name, owner, cluster.place, user=owner, params={"user": owner}, configured=OWNER)
        return
    for user in cluster.users:
        yield Subject(cluster.name, user.name, user.place, user=user.name, params={"user": user.name})


def _token_users(cluster: Cluster, owner: str) -> Iterator[Subject]:
    """Yield the users with a token, and the one that the region's token is left for; configurations name no more."""
    left = [user.name for user in cluster.users or () if not (user.token or user.account)]
    for subject in _users(cluster, owner):
        if cluster.users is None or subject.user not in left[1:]:
            yield subject


def _members(cluster: Cluster, _owner: str) -> Iterator[Subject]:
    for member in cluster.members:
        group = label_part(member.group)
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


REGION = Per("clusters", HPC_UP, 0, "", Text("region", "区域"), itself)
# As the region, with a request for each of its schedulers.
SCHEDULER = Per("clusters", HPC_UP, 0, "", Text("scheduler", "调度系统"), itself)
USER = Per("clusters", HPC_UP, 1, "users", Text("user", "用户"), _users)
TOKEN_USER = Per(
    "clusters", HPC_UP, 1, "users", Text("user with a token", "有令牌的用户"), _token_users, own_tokens=True
)
MEMBER = Per("clusters", HPC_UP, 2, "members", Text("member", "用户组成员"), _members)
# Requested of the platform for all regions of an account, each of which shows its own part.
OF_ACCOUNT = Per("clusters", HPC_UP, 0, "members", Text("account", "账号"), itself, needs_account=True)
ACCOUNT = Per("accounts", ACCOUNT_UP, 0, "", Text("account", "账号"), itself)
