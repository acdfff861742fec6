"""CPU cores of each region, by what becomes of them. Source: the page 查询区域核数 as three public clients read it."""

from collections.abc import Iterator
from typing import Final

import msgspec

from exporter.metrics.family import Sample, Text, gauge
from exporter.sources.collector import Rows, Subject, collector
from exporter.sources.scnet.subjects import REGION
from exporter.sources.values import Count

CPUS: Final = gauge(
    "hpc_cluster_cpus",
    ("hpc_cluster", "state"),
    "CPU cores of the region, by state: used, unused or unavailable. Absent while there is no recent data.",
    zh="区域的 CPU 核数，按状态分：used 已使用，unused 未使用，unavailable 不可用。",
)

# The names that regions give the states: in Chinese, or as labels that a page would translate.
STATES: Final = {
    "已使用": "used",
    "jobview_used_label": "used",
    "未使用": "unused",
    "jobview_unused_label": "unused",
    "不可用": "unavailable",
    "jobview_unavailable_label": "unavailable",
}


class Row(msgspec.Struct):
    """``y`` is the number of cores in the state ``name``."""

    name: str
    y: Count | None = None


@collector(
    "region_cores",
    path="/hpc/openapi/v2/view/cpucore/state",
    per=REGION,
    title=Text("cores", "核数"),
    gives=Text("CPU cores of the region by state", "区域 CPU 核数，按状态分"),
    families=(CPUS,),
)
def region_cores(region: Subject, rows: Rows[Row]) -> Iterator[Sample]:
    for row in rows:
        state = STATES.get(row.name.strip())
        if state is None:
            rows.reject()
        else:
            yield CPUS(region.source, state, value=row.y)
