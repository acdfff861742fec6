"""The batch systems of each region (page 查询集群信息)."""

import asyncio
import math
from collections.abc import Coroutine, Iterator
from typing import Any, Final

import msgspec

from exporter.clock import Clock
from exporter.errors import PollError, UpstreamBusyError
from exporter.http import Backoff, Endpoint, TokenProvider, Upstream
from exporter.metrics.family import Sample, Text, gauge
from exporter.sources.collector import Found, Rows, Subject, collector, read_rows
from exporter.sources.once import Once, Shape
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.subjects import REGION
from exporter.sources.values import Id, Name

NAME: Final = "schedulers"
PATH: Final = "/hpc/openapi/v2/cluster"
# Seconds: a scheduler that is added to a region is rare.
IDS_TTL: Final = 3600.0
NONE_LISTED: Final = Text(
    "the region lists no scheduler whose data could be requested", "区域没有列出可以查询数据的调度系统"
)

INFO: Final = gauge(
    "hpc_scheduler_info",
    ("hpc_cluster", "scheduler_id", "scheduler_name", "scheduler_type"),
    "A batch system of the region; always 1. Absent when the region no longer lists it or there is no recent data.",
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


class SchedulerIds:
    """The ids of a region's schedulers, for requests that name one: read once an hour, for all that need them."""

    def __init__(self, upstream: Upstream, tokens: TokenProvider, hpc_url: str, clock: Clock) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._hpc_url = hpc_url
        self._clock = clock
        self._lock = asyncio.Lock()
        self._backoff = Backoff(clock)
        self._ids: tuple[str, ...] = ()
        self._until = -math.inf

    async def get(self) -> tuple[str, ...]:
        """Return the ids in the region's order; without one nothing can be requested.

        Raises PollError; the last one again for a short while.
        """
        async with self._lock:
            if not self._ids or self._clock.monotonic() >= self._until:
                self._backoff.raise_if_active()
                try:
                    rows = await ask_schedulers(self._upstream, self._tokens, self._hpc_url)
                    if not (ids := tuple(dict.fromkeys(str(row.id) for row in rows))):
                        raise UpstreamBusyError(NONE_LISTED)
                except PollError as error:
                    self._backoff.record_failure(error)
                    raise
                self._backoff.reset()
                self._ids = ids
                self._until = self._clock.monotonic() + IDS_TTL
            return self._ids

    def credential_changed(self) -> None:
        """End the pause after a failure."""
        self._backoff.reset()
