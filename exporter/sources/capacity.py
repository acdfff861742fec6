"""Families for the capacity of queues. `scheduler_id` is empty where a cluster has one scheduler."""

from typing import Final

from exporter.metrics.family import Text, gauge

LABELS: Final = ("hpc_cluster", "scheduler_id", "queue")
NODES: Final = gauge(
    "hpc_queue_nodes",
    LABELS,
    "Nodes of the queue. Only queues that the token's user may use are listed. Absent while there is no recent data.",
    zh="队列的节点数。只列出令牌所属用户可用的队列。",
)
FREE_NODES: Final = gauge(
    "hpc_queue_free_nodes",
    LABELS,
    "Free nodes of the queue. Absent while there is no recent data.",
    zh="队列的空闲节点数。",
)
CPUS: Final = gauge(
    "hpc_queue_cpus", LABELS, "CPU cores of the queue. Absent while there is no recent data.", zh="队列的 CPU 核数。"
)
FREE_CPUS: Final = gauge(
    "hpc_queue_free_cpus",
    LABELS,
    "Free CPU cores of the queue. Absent while there is no recent data.",
    zh="队列的空闲 CPU 核数。",
)
ENABLED: Final = gauge(
    "hpc_queue_enabled",
    LABELS,
    "Whether the queue is open: 1 if it is, 0 if it is disabled. Absent while there is no recent data.",
    zh="队列是否启用：启用为 1，停用为 0。",
)
LIMIT: Final = gauge(
    "hpc_queue_limit",
    (*LABELS, "resource"),
    "Resource limits of the queue: cpus, gpus, dcus, nodes and walltime_seconds per job; cpus_per_node, gpus_per_node and "
    "dcus_per_node. Absent without a limit, and while there is no recent data.",
    zh="队列的资源上限：每个作业的 cpus、gpus、dcus、nodes 和 walltime_seconds，每个节点的 cpus_per_node、gpus_per_node 和 dcus_per_node。",
    absent=Text("", "没有限制，或没有近期数据。"),
)
CHARGE_RATE: Final = gauge(
    "hpc_queue_charge_rate",
    LABELS,
    "Charge rate of the queue as reported by the region; the API does not document its unit. Absent while there is no recent data.",
    zh="队列的计费费率，按区域给出的数值；接口没有说明单位。",
)
