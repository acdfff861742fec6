"""The batch systems of each region (page 查询集群信息)."""

from collections.abc import Iterator
from typing import Final

from exporter.metrics import catalogue, families
from exporter.metrics.family import Text
from exporter.records import Schedulers
from exporter.sources.collector import Collector, Subject, register
from exporter.sources.once import Once, Shape
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.subjects import REGION


class SchedulersPolling:
    """Polls the list of schedulers of a region."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._key = SCHEDULERS.key(subject)

    async def poll(self) -> Schedulers:
        return await self._region.client.schedulers(self._region.tokens.own)

    async def publish(self, records: Schedulers) -> None:
        services = self._region.services
        services.own.rejected(self._region.name, SCHEDULERS.name, records.rejected)
        services.display.show(self._key, families.schedulers(self._region.name, records))


class SchedulerRow(Shape, frozen=True, kw_only=True):
    """A batch system of a region."""

    cluster: str
    id: str
    name: str
    type: str


def _rows(region: Subject, found: Schedulers) -> Iterator[SchedulerRow]:
    for each in found.schedulers:
        yield SchedulerRow(cluster=region.source, id=each.id, name=each.name, type=each.type)


SCHEDULERS: Final = register(
    Collector(
        name="cluster",
        path="/hpc/openapi/v2/cluster",
        per=REGION,
        title=Text("schedulers", "调度器"),
        gives=Text("the schedulers", "调度系统"),
        families=(catalogue.SCNET_SCHEDULER_INFO,),
        start=SchedulersPolling,
        default=True,
        optional=False,
        once=Once("schedulers", SchedulerRow, _rows),
    )
)
