"""Queues that the token's user may use: their nodes, cores, limits and price.

Source: the page 查询用户可访问队列 (queuenames), and a captured answer. Its numbers are text, and "-1" is "no limit".
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from exporter.metrics.family import Sample, Text
from exporter.sources.capacity import CHARGE_RATE, CPUS, ENABLED, FREE_CPUS, FREE_NODES, LIMIT, NODES
from exporter.sources.collector import Rows, Subject, collector
from exporter.sources.scnet.owner import OfUser
from exporter.sources.scnet.subjects import SCHEDULER
from exporter.sources.values import Amount, Name, not_negative


class Row(msgspec.Struct, rename="camel"):
    """A queue. Its largest wall time is left out: no page has the unit. The names of its nodes are not read."""

    queue_name: Name = Name("")
    id: Name = Name("")
    text: Name = Name("")
    queue_enabled: Name | None = None
    que_nodes: Amount | None = None
    que_free_nodes: Amount | None = None
    que_ncpus: Amount | None = None
    que_free_ncpus: Amount | None = None
    que_max_ncpus: Amount | None = None
    que_max_ngpus: Amount | None = None
    que_max_ndcus: Amount | None = None
    que_max_nodect: Amount | None = None
    que_max_ppn: Amount | None = msgspec.field(name="queMaxPPN", default=None)
    que_max_gpu_pn: Amount | None = msgspec.field(name="queMaxGpuPN", default=None)
    que_max_dcu_pn: Amount | None = msgspec.field(name="queMaxDcuPN", default=None)
    que_charge_rate: Amount | None = None

    @property
    def name(self) -> str:
        return next(filter(None, (each.strip() for each in (self.queue_name, self.id, self.text))), "")

    @property
    def limits(self) -> dict[str, Amount | None]:
        return {
            "cpus": self.que_max_ncpus,
            "gpus": self.que_max_ngpus,
            "dcus": self.que_max_ndcus,
            "nodes": self.que_max_nodect,
            "cpus_per_node": self.que_max_ppn,
            "gpus_per_node": self.que_max_gpu_pn,
            "dcus_per_node": self.que_max_dcu_pn,
        }


OPEN: Final = {"true": 1, "1": 1, "false": 0, "0": 0}


@collector(
    "queue_capacity",
    path="/hpc/openapi/v2/queuenames/users/{user}?strJobManagerID={scheduler_id}",
    per=SCHEDULER,
    title=Text("queue capacity", "队列容量"),
    gives=Text("nodes, cores, limits and price of queues", "队列的节点、核数、限制和价格"),
    families=(NODES, FREE_NODES, CPUS, FREE_CPUS, ENABLED, LIMIT, CHARGE_RATE),
    polling=OfUser,
)
def queue_capacity(region: Subject, rows: Rows[Row]) -> Iterator[Sample]:
    for row in rows:
        if not row.name:
            rows.reject()
            continue
        labels = (region.source, region.params["scheduler_id"], row.name)
        for family, free_family, total, free in (
            (NODES, FREE_NODES, not_negative(row.que_nodes), not_negative(row.que_free_nodes)),
            (CPUS, FREE_CPUS, not_negative(row.que_ncpus), not_negative(row.que_free_ncpus)),
        ):
            if total is not None and free is not None and free > total:
                # More free than there is: nothing says which of the two is wrong.
                rows.reject()
                continue
            yield family(*labels, value=total)
            yield free_family(*labels, value=free)
        enabled = None if row.queue_enabled is None else OPEN.get(row.queue_enabled.strip().lower())
        yield ENABLED(*labels, value=enabled)
        for resource, limit in row.limits.items():
            yield LIMIT(*labels, resource, value=not_negative(limit))
        yield CHARGE_RATE(*labels, value=not_negative(row.que_charge_rate))
