"""The partitions of a cluster: their nodes and cores, how many are free, and what a job may ask for.

Two requests: a partition's row says how large it is, and the rows of nodes say what of it is free.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, TypeVar

import msgspec

from exporter.metrics.family import Sample, Text
from exporter.sources.capacity import CPUS, ENABLED, FREE_CPUS, FREE_NODES, LIMIT, NODES
from exporter.sources.collector import Collector, Found, Rows, Subject, read_rows, register, rendered, undisputed
from exporter.sources.slurm.api import Number, number_of, open_answer
from exporter.sources.slurm.cluster import ADVICE, CLUSTER, SlurmCluster
from exporter.sources.slurm.rows import words_of
from exporter.sources.values import UNREADABLE, Name

R = TypeVar("R", bound=msgspec.Struct)

# "NODE STATE CODES" of sinfo(1): a node with any other word on it starts no job.
_USABLE: Final = frozenset(
    {"IDLE", "MIXED", "ALLOCATED", "PLANNED", "CLOUD", "DYNAMIC_NORM", "EXTERNAL", "POWERED_DOWN"}
)


class _Total(msgspec.Struct, gc=False):
    total: Number = None


class _State(msgspec.Struct, gc=False):
    state: str | list[str] | None = None


class _Maximums(msgspec.Struct, gc=False):
    nodes: Number = None
    cpus_per_node: Number = None
    time: Number = None


# -1 is none.
Limit = Annotated[int, msgspec.Meta(ge=-1, le=2**53)]


class Partition(msgspec.Struct, gc=False):
    """Up to v0.0.38 all on one level, in numbers of which -1 is "no limit"; later in objects. Times are in minutes."""

    name: Name
    state: str | list[str] | None = None
    total_nodes: Number = None
    total_cpus: Number = None
    maximum_nodes_per_job: Limit | None = None
    maximum_cpus_per_node: Limit | None = None
    max_time_limit: Limit | None = None
    nodes: _Total | str | None = None
    cpus: _Total | None = None
    partition: _State | None = None
    maximums: _Maximums | None = None


class Node(msgspec.Struct, gc=False):
    """`state_flags` are apart from `state` up to v0.0.38; `effective_cpus` leaves out cores kept for the system."""

    name: Name = Name("")
    state: str | list[str] | None = None
    state_flags: Any = None
    cpus: Number = None
    effective_cpus: Any = msgspec.UNSET
    alloc_cpus: Number = None
    partitions: list[str] | None = None


class Free(msgspec.Struct, gc=False):
    """Free nodes and cores of a partition, None where unknown for one of its nodes; `seen` counts these."""

    nodes: int | None = 0
    cpus: int | None = 0
    seen: int = 0


def distinct_nodes(nodes: Rows[Node]) -> Iterable[Node]:
    """Return each node once; one that is listed again and otherwise counts as a rejected row."""
    known: dict[str | int, Node] = {}
    for number, node in enumerate(nodes):
        if known.setdefault(node.name or number, node) != node:
            nodes.reject()
    return known.values()


def words_on(node: Node) -> set[str]:
    """Return the state of a node and its flags; nothing where one of these is unknown."""
    base, flags = words_of(node.state), node.state_flags or []
    if not base or not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
        return set()
    return {*base, *words_of(flags)}


def free_by_partition(nodes: Iterable[Node]) -> dict[str, Free]:
    """Return the free nodes and cores of each partition that has nodes."""
    found: defaultdict[str, Free] = defaultdict(Free)
    for node in nodes:
        words = words_on(node)
        in_use = number_of(node.alloc_cpus)
        total = cpus_of(node)
        if not words:
            free = Free(None, None)
        elif not words <= _USABLE:
            free = Free()
        else:
            free = Free(int("IDLE" in words), None if total is None or in_use is None else max(0, total - in_use))
        for name in set(node.partitions or ()):
            of_partition = found[name]
            of_partition.nodes = added(of_partition.nodes, free.nodes)
            of_partition.cpus = added(of_partition.cpus, free.cpus)
            of_partition.seen += 1
    return dict(found)


def cpus_of(node: Node) -> int | None:
    """Return the cores that jobs can have. Where it cannot be read how many these are, they are not all of the node's."""
    if node.effective_cpus is msgspec.UNSET:
        return number_of(node.cpus)
    try:
        return number_of(msgspec.convert(node.effective_cpus, Number, strict=False))
    except UNREADABLE:
        return None


def added(sum_: int | None, summand: int | None) -> int | None:
    return None if sum_ is None or summand is None else sum_ + summand


def samples(cluster: str, partitions: Rows[Partition], nodes: Rows[Node]) -> Iterator[Sample]:
    """Yield the samples of all partitions. Unless all of its nodes could be read it is unknown what is free in one."""
    free = free_by_partition(distinct_nodes(nodes))
    for row in partitions:
        if not row.name:
            partitions.reject()
            continue
        labels = (cluster, "", str(row.name))
        total = number_of(row.nodes.total) if isinstance(row.nodes, _Total) else number_of(row.total_nodes)
        yield NODES(*labels, value=total)
        yield CPUS(*labels, value=number_of(row.total_cpus if row.cpus is None else row.cpus.total))
        of_partition = free.get(row.name, Free())
        # Some may be hidden from the token's user.
        all_seen = not nodes.rejected and of_partition.seen == total
        yield FREE_NODES(*labels, value=of_partition.nodes if all_seen else None)
        yield FREE_CPUS(*labels, value=of_partition.cpus if all_seen else None)
        words = words_of(row.state if row.partition is None else row.partition.state)
        yield ENABLED(*labels, value="UP" in words if words else None)
        for resource, value in limits(row):
            yield LIMIT(*labels, resource, value=value)


def limits(row: Partition) -> Iterator[tuple[str, int | None]]:
    """Yield the most that a job may have of each resource, None for no limit."""
    most = row.maximums
    nodes = _limit(row.maximum_nodes_per_job) if most is None else number_of(most.nodes)
    cpus = _limit(row.maximum_cpus_per_node) if most is None else number_of(most.cpus_per_node)
    minutes = _limit(row.max_time_limit) if most is None else number_of(most.time)
    yield "nodes", nodes
    yield "cpus_per_node", cpus
    yield "walltime_seconds", None if minutes is None else 60 * minutes


def _limit(number: int | None) -> int | None:
    return number_of(number) if number is not None and number >= 0 else None


class PartitionPolling:
    """Polls the partitions of a cluster, and their nodes."""

    def __init__(self, cluster: SlurmCluster, subject: Subject) -> None:
        self._cluster = cluster
        self._key = PARTITIONS.key(subject)

    async def poll(self) -> Found:
        partitions = await self._rows("partitions", Partition)
        nodes = await self._rows("nodes", Node)
        known = undisputed([(samples(self._cluster.name, partitions, nodes), partitions)])
        return Found(known, partitions.unreadable + nodes.unreadable)

    async def _rows(self, name: str, row: type[R]) -> Rows[R]:
        return await self._cluster.get(
            PARTITIONS, f"/{name}/", lambda answer: read_rows(open_answer(answer, name), row)
        )

    async def publish(self, found: Found) -> None:
        self._cluster.show(self._key, found, rendered(found.samples))


PARTITIONS: Final = register(
    Collector(
        name="partitions",
        path="/partitions/",
        per=CLUSTER,
        title=Text("partitions", "分区"),
        gives=Text("nodes and cores of partitions, how many are free, limits", "分区的节点数和核数、空闲数和限制"),
        families=(NODES, FREE_NODES, CPUS, FREE_CPUS, ENABLED, LIMIT),
        start=PartitionPolling,
        default=True,
        advice=ADVICE,
    )
)
