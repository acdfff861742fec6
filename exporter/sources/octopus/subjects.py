"""For each of what the collectors of a project are asked: a queue."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from exporter.config.model import OctopusProject, OctopusQueue
from exporter.metrics.family import Text, gauge
from exporter.sources.collector import Per, Subject

UP: Final = gauge(
    "octopus_up",
    ("project",),
    "Whether the project answers: 1 if the last poll of at least one target of a collector that is on by default worked, 0 if "
    "none did. Absent until one was tried.",
    zh="项目是否有应答：默认启用的采集项中至少有一个目标最近一次轮询成功为 1，全部失败为 0。",
    absent=Text("", "尚未尝试任何目标。"),
)


def _queues(project: OctopusProject, _owner: str) -> Iterator[Subject]:
    types = Counter(queue.queue_type for queue in project.queues)
    for queue in project.queues:
        target = _target_of(queue, alone=types[queue.queue_type] == 1)
        yield Subject(project.name, target, queue.place, section=queue)


def _target_of(queue: OctopusQueue, *, alone: bool) -> str:
    """Return the type of a queue, with the type and the id of the cluster where other queues are of the same type."""
    parts = (queue.queue_type, queue.cluster_type or "", queue.cluster_id or "")
    return "/".join(map(_escaped, parts[:1] if alone else parts)).rstrip("/")


def _escaped(part: str) -> str:
    """Without slashes, so that no two queues get one name."""
    return part.replace("%", "%25").replace("/", "%2F")


QUEUE = Per("octopus", UP, 0, "queues", Text("queue", "队列"), _queues)
