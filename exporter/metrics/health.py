"""Health of targets, regions and projects: rendered like domain series, for there can be tens of thousands."""

from collections.abc import Sequence
from typing import Final

from exporter.metrics.family import Text, gauge
from exporter.metrics.format import Chunks, one_each

HPC_UP: Final = gauge(
    "hpc_up",
    ("hpc_cluster",),
    "Whether the region or cluster answers: 1 if the last poll of at least one target of a collector that is on by default "
    "succeeded, 0 if none did. Absent until one was tried.",
    zh="区域或集群是否有响应：默认启用的采集项中至少有一个目标最近一次轮询成功为 1，全部失败为 0。",
    absent=Text("", "尚未尝试任何目标。"),
)

_TARGET: Final = ("source", "collector", "target")

TARGET_UP: Final = gauge(
    "hpc_exporter_target_up",
    _TARGET,
    "Whether the last poll of the target succeeded (1) or failed (0). Absent until it was tried. The target is "
    "a user, GROUP/USER, or a queue's type: QUEUE_TYPE/CLUSTER_TYPE/CLUSTER_ID where several queues of a "
    "project share a type.",
    zh="目标最近一次轮询是成功（1）还是失败（0）。目标是一个用户、GROUP/USER，或队列的类型；"
    "项目中多个队列类型相同时为 QUEUE_TYPE/CLUSTER_TYPE/CLUSTER_ID。",
    absent=Text("", "该目标尚未尝试过。"),
)

TARGET_STALE: Final = gauge(
    "hpc_exporter_target_stale",
    _TARGET,
    "Whether the target's data is no longer exposed because its last success is older than stale_after (1) or not (0).",
    zh="目标的数据是否因最近一次成功早于 stale_after 而不再提供：1 为是，0 为否。",
    absent=Text("until the target was tried.", "该目标尚未尝试过。"),
)

TARGET_LAST_SUCCESS: Final = gauge(
    "hpc_exporter_target_last_success_timestamp_seconds",
    _TARGET,
    "Unix time of the target's last successful poll, in seconds. Absent until one succeeded.",
    zh="目标最近一次成功轮询的 Unix 时间（秒）。",
    absent=Text("", "该目标尚未成功过。"),
)

TARGETS: Final = gauge(
    "hpc_exporter_targets",
    ("source",),
    "Polled targets of a region or project, without those whose optional endpoint does not exist there.",
    zh="区域或项目中正在轮询的目标数，不含可选接口不存在的目标。",
    absent=Text("while nothing of it is polled.", "没有轮询它的任何目标。"),
)

TARGETS_UP: Final = gauge(
    "hpc_exporter_targets_up",
    ("source",),
    "Targets of a region or project whose last poll succeeded. Absent until one was tried.",
    zh="区域或项目中最近一次轮询成功的目标数。",
    absent=Text("", "尚未尝试任何目标。"),
)

JOBS_DROPPED: Final = gauge(
    "hpc_exporter_jobs_dropped",
    ("source",),
    "Listed jobs of a region without per-job series because max_jobs was reached. Only with per_job.",
    zh="区域中因达到 max_jobs 而没有单独序列的作业数。需要 per_job。",
    absent=Text("without per_job.", "没有开启 per_job。"),
)

FAMILIES: Final = (TARGET_UP, TARGET_STALE, TARGET_LAST_SUCCESS, TARGETS, TARGETS_UP, JOBS_DROPPED)


def target_health(key: Sequence[str], *, up: bool | None, stale: bool, last_success: float | None) -> Chunks:
    """Render a target's health.

    `up` is None before the first poll, `last_success` (Unix seconds) before the first good one.
    """
    return one_each({TARGET_STALE: stale, TARGET_UP: up, TARGET_LAST_SUCCESS: last_success}, key)
