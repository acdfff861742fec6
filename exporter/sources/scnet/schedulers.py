"""The batch systems of each region (page 查询集群信息)."""

from collections.abc import Coroutine, Iterator
from typing import Any, Final

import msgspec

from exporter.http import Endpoint, TokenProvider, Upstream
from exporter.metrics.family import Sample, Text, gauge
from exporter.sources.collector import Found, Rows, Subject, collector, read_rows
from exporter.sources.once import Once, Shape
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.subjects import REGION
from exporter.sources.values import Id, Name

NAME: Final = "schedulers"
PATH: Final = "/hpc/openapi/v2/cluster"

INFO: Final = gauge(
    "hpc_scheduler_info",
    ("hpc_cluster", "scheduler_id", "scheduler_name", "scheduler_type"),
    "A batch system of the region; always 1. Absent when the region no longer lists it or nothing recent is known.",
    zh="区域的一个批处理系统，恒为 1。",
    absent=Text("", "区域不再列出它，或没有近期数据。"),
)


class Scheduler(msgspec.Struct, frozen=True, gc=False):
    """A batch system inside a region. A region with one of them may send it without a list around it."""

    id: Id
    name: Name = msgspec.field(name="text", default=Name(""))
    type: Name = msgspec.field(name="JobManagerType", default=Name(""))


class SchedulerRow(Shape, frozen=True, kw_only=True):
    """A batch system of a region."""

    cluster: str
    id: str
    name: str
    type: str


def _rows(_region: Subject, found: Found) -> Iterator[SchedulerRow]:
    for sample in found.samples:
        cluster, scheduler_id, name, kind = sample.values
        yield SchedulerRow(cluster=cluster, id=scheduler_id, name=name, type=kind)


@collector(
    NAME,
    path=PATH,
    per=REGION,
    title=Text("schedulers", "调度系统"),
    gives=Text("the schedulers", "调度系统"),
    families=(INFO,),
    default=True,
    once=Once("schedulers", SchedulerRow, _rows),
)
def schedulers(region: Subject, rows: Rows[Scheduler]) -> Iterator[Sample]:
    """Each id once: of those listed twice, the first."""
    for row in {row.id: row for row in reversed(list(rows))}.values():
        yield INFO(region.source, row.id, row.name, row.type, value=1)


def ask_schedulers(upstream: Upstream, tokens: TokenProvider, hpc_url: str) -> Coroutine[Any, Any, Rows[Scheduler]]:
    """Request the schedulers of the region at `hpc_url`, for use outside of polls. Raises PollError."""
    endpoint = Endpoint(upstream, tokens, NAME, hpc_url + PATH)
    return endpoint.get(lambda response: read_rows(open_envelope(response), Scheduler))
