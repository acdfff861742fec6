"""Families of collectors that tell how large queues are. `scheduler_id` is empty where a cluster has one scheduler."""

from typing import Final

from exporter.metrics.family import Text, gauge

LABELS: Final = ("hpc_cluster", "scheduler_id", "queue")
NODES: Final = gauge(
    "hpc_queue_nodes",
    LABELS,
    "Nodes of a queue that the token's user may use. Absent while nothing recent is known.",
    zh="令牌所属用户可用的队列的节点数。",
)
FREE_NODES: Final = gauge(
    "hpc_queue_free_nodes",
    LABELS,
    "Free nodes of the queue. Absent while nothing recent is known.",
    zh="队列的空闲节点数。",
)
CPUS: Final = gauge(
    "hpc_queue_cpus", LABELS, "CPU cores of the queue. Absent while nothing recent is known.", zh="队列的 CPU 核数。"
)
FREE_CPUS: Final = gauge(
    "hpc_queue_free_cpus",
    LABELS,
    "Free CPU cores of the queue. Absent while nothing recent is known.",
    zh="队列的空闲 CPU 核数。",
)
ENABLED: Final = gauge(
    "hpc_queue_enabled",
    LABELS,
    "Whether the queue is open: 1 if it is, 0 if it is disabled. Absent while nothing recent is known.",
    zh="队列是否启用：启用为 1，停用为 0。",
)
LIMIT: Final = gauge(
    "hpc_queue_limit",
    (*LABELS, "resource"),
    "The most that a job, or a node of the queue, may have of a resource: cpus, gpus, dcus and nodes for each job, "
    "cpus_per_node, gpus_per_node and dcus_per_node, and walltime_seconds. Absent without a limit, and while nothing "
    "recent is known.",
    zh="队列对资源的上限：每个作业的 cpus、gpus、dcus、nodes，每个节点的 cpus_per_node、gpus_per_node、dcus_per_node，以及 walltime_seconds。",
    absent=Text("", "没有限制，或没有近期数据。"),
)
CHARGE_RATE: Final = gauge(
    "hpc_queue_charge_rate",
    LABELS,
    "Price of the queue, as the region says it: the API has no unit for it. Absent while nothing recent is known.",
    zh="队列的价格，按区域给出的数值；接口没有说明单位。",
)
