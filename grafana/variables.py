"""The variables that dashboards share, and the matchers that use them."""

from typing import Any, Final

from exporter.metrics.family import Text
from grafana.parts import DATASOURCE, Json


def variable(name: str, label: Text, query: str, **more: Any) -> Json:
    """Return a variable filled from Prometheus, of which several or all values can be chosen."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "variable"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        **more,
    }


REGION: Final = variable("region", Text("Region", "区域"), "label_values(hpc_up, hpc_cluster)")
GROUP: Final = variable(
    "group", Text("Group", "用户组"), 'label_values(hpc_member_jobs{hpc_cluster=~"$region"}, group)'
)
MEMBER: Final = variable(
    "user", Text("User", "用户"), 'label_values(hpc_member_jobs{hpc_cluster=~"$region", group=~"$group"}, user)'
)
QUEUE_USER: Final = variable("user", Text("User", "用户"), 'label_values(hpc_queue_jobs{hpc_cluster=~"$region"}, user)')
QUEUE: Final = variable("queue", Text("Queue", "队列"), 'label_values(hpc_queue_jobs{hpc_cluster=~"$region"}, queue)')
PROJECT: Final = variable("project", Text("Project", "项目"), "label_values(octopus_up, project)")
QUEUE_TYPE: Final = variable(
    "queue_type", Text("Queue", "队列"), 'label_values(octopus_queue_length{project=~"$project"}, queue_type)'
)
SOURCE: Final = variable(
    "source", Text("Region or project", "区域或项目"), "label_values(hpc_exporter_target_up, source)"
)

ACCOUNT: Final = variable("account", Text("Account", "账号"), "label_values(hpc_account_up, account)")

CAPACITY_QUEUE: Final = variable(
    "queue", Text("Queue", "队列"), 'label_values(hpc_queue_cpus{hpc_cluster=~"$region"}, queue)'
)

IN_REGION: Final = 'hpc_cluster=~"$region"'
IN_GROUP: Final = f'{IN_REGION}, group=~"$group"'
OF_MEMBER: Final = f'{IN_GROUP}, user=~"$user"'
IN_QUEUE: Final = f'{IN_REGION}, user=~"$user", queue=~"$queue"'
IN_PROJECT: Final = 'project=~"$project", queue_type=~"$queue_type"'
IN_CAPACITY: Final = f'{IN_REGION}, queue=~"$queue"'
IN_ACCOUNT: Final = 'account=~"$account"'
OF_SOURCE: Final = 'source=~"$source"'
