"""For each of what the collectors of a project are asked: a queue."""

from collections.abc import Iterator

from exporter.config.model import OctopusProject
from exporter.metrics.family import Text
from exporter.sources.collector import Per, Subject


def _queues(project: OctopusProject, _owner: str) -> Iterator[Subject]:
    for queue in project.queues:
        yield Subject(project.name, queue.target, queue.place, section=queue)


QUEUE = Per("octopus", 0, "queues", Text("queue", "队列"), _queues)
