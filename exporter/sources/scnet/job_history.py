"""Ended jobs of a region, with the scheduler's own times and outcomes. Source: the page 查询历史作业列表 (historyjobs).

A row appears some 45 seconds after the end, and a job that was requeued has one for each of its runs. So each poll asks for the
last minutes once more; after a time without polls, for all of it, up to a day. The tracker counts each end once.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from exporter.errors import DecodeError, NotThereError, RecordError
from exporter.http import Response
from exporter.metrics.family import Sample, Text
from exporter.records import Answer, EndedJob, Job, JobState
from exporter.sources.collector import Collector, Found, Subject, fields_of, opened, raw_rows, read_row, register
from exporter.sources.scnet.api import open_envelope
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.schedulers import ask_schedulers
from exporter.sources.scnet.states import state_and_word
from exporter.sources.scnet.subjects import REGION
from exporter.sources.values import NULL, Count, Id, Name, count_of, epoch_seconds

# Rows that are requested at a time; a region may give fewer.
PAGE_SIZE: Final = 100
MAX_PAGES: Final = 1000
# Seconds for which ends are requested once more, because their rows may have come late.
OVERLAP: Final = 900.0
# The most seconds that are made up for after a time without polls.
LONGEST: Final = 86400.0
# Seconds by which the region's clock may be ahead.
AHEAD: Final = 60.0
# Seconds until the schedulers of a region are requested again.
SCHEDULERS_KNOWN_FOR: Final = 3600.0


class Row(msgspec.Struct, gc=False, rename="camel"):
    """The numbers are those in use; other fields of the row, among them the owner's paths, are not read."""

    job_id: Id
    job_name: Name = Name("")
    cluster_user_name: Name = Name("")
    queue: Name = Name("")
    job_state: msgspec.Raw = NULL
    job_queue_time: Any = None
    job_start_time: Any = None
    job_end_time: Any = None
    proc_num_used: Count | None = None
    gpu_num_used: Count | None = None
    dcu_num_used: Count | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """The rows that ended `until` a time; `rejected` ones could not be read."""

    rows: tuple[EndedJob, ...]
    until: float
    rejected: int = 0
    # In the output of `once` there is nothing of them.
    samples: tuple[Sample, ...] = ()


def read_end(raw: msgspec.Raw, scheduler: str, zone: tzinfo) -> EndedJob:
    """One row. Raises RecordError for one without a usable id or end."""
    row = read_row(raw, Row)
    ended = epoch_seconds(row.job_end_time, zone)
    if ended is None:
        raise RecordError("a job without a usable end")
    state, word = state_and_word(row.job_state)
    job = Job(
        str(row.job_id),
        str(row.job_name),
        state,
        allocated_cpus=row.proc_num_used,
        allocated_gpus=row.gpu_num_used,
        allocated_dcus=row.dcu_num_used,
        raw_state=word,
        queue=str(row.queue),
        submitted=epoch_seconds(row.job_queue_time, zone),
        started=epoch_seconds(row.job_start_time, zone),
        ended=ended,
    )
    return EndedJob(str(row.cluster_user_name), scheduler, ended, job)


class HistoryPolling:
    """Reads what ended since the last poll, and hands it to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._context = region.context
        self._key = JOB_HISTORY.key(subject)
        self._endpoint = region.endpoint(JOB_HISTORY, subject)
        self._schedulers: list[str] = []
        self._known_until = 0.0

    async def poll(self) -> Ends:
        try:
            return await self._ends()
        except NotThereError:
            if self._context.tracked.service is not None:
                self._context.tracked.service.history_is_missing(self._region.name)
            raise

    async def _ends(self) -> Ends:
        since, now = self._window()
        found: dict[tuple[str, str, float], EndedJob] = {}
        rejected, complete = 0, True
        for scheduler in await self._schedulers_now():
            missing, unread = await self._read(scheduler, since, now, found)
            rejected += unread
            complete = complete and not missing
        if rejected and not found:
            raise DecodeError(
                Text(f"none of the answer's {rejected} rows can be read", f"响应中的 {rejected} 行全部无法解析")
            )
        # Rows that were missed are requested once more the next time.
        return Ends(tuple(found.values()), now if complete else since, rejected)

    async def publish(self, ends: Ends) -> None:
        words = {row.job.raw_state for row in ends.rows if row.job.state is JobState.UNKNOWN}
        flaws = Answer(
            rejected=ends.rejected, unknown_states=sum(row.job.state is JobState.UNKNOWN for row in ends.rows)
        )
        self._region.count_flaws(JOB_HISTORY.name, flaws, sorted(words))
        self._region.show(self._key, Found(()), {})
        await self._context.tracked.take_ends(self._key, ends.rows, ends.until)

    def _window(self) -> tuple[float, float]:
        """Return since when ends are requested, and the time now."""
        service = self._context.tracked.service
        now = self._context.clock.now() if service is None else service.time()
        read_until = None if service is None else service.history_read_until(self._region.name)
        if read_until is None or read_until > now:
            return now - OVERLAP, now
        return max(read_until - OVERLAP, now - LONGEST), now

    async def _read(
        self, scheduler: str, since: float, now: float, found: dict[tuple[str, str, float], EndedJob]
    ) -> tuple[int, int]:
        """Add the rows of all pages to `found`; return how many are missing, and how many cannot be read.

        Rows move while pages are read: one may come twice, and then another one is missing.
        """
        position = unread = distinct = 0
        total: int | None = None
        for _ in range(MAX_PAGES):
            rows, total = await self._page(scheduler, since, now, position)
            position += len(rows)
            for raw in rows:
                try:
                    row = read_end(raw, scheduler, self._context.zone)
                except RecordError:
                    unread += 1
                    continue
                distinct += (scheduler, row.job.id, row.ended) not in found
                found[scheduler, row.job.id, row.ended] = row
            if not rows or (position >= total if total is not None else len(rows) < PAGE_SIZE):
                break
        return max(0, (total or 0) - distinct - unread), unread

    async def _page(
        self, scheduler: str, since: float, now: float, position: int
    ) -> tuple[list[msgspec.Raw], int | None]:
        zone = self._context.zone
        query = {
            "strClusterNameList": scheduler,
            "startTime": written(since, zone),
            "endTime": written(now + AHEAD, zone),
            "timeType": "CUSTOM",
            "isQueryByQueueTime": "false",
            "start": str(position),
            "limit": str(PAGE_SIZE),
        }
        endpoint = replace(self._endpoint, url=f"{self._endpoint.url}?{urlencode(query)}")
        return await endpoint.get(read_page)

    async def _schedulers_now(self) -> list[str]:
        """Return the schedulers' ids, requested now and then. Raises PollError."""
        clock = self._context.clock
        if not self._schedulers or clock.monotonic() >= self._known_until:
            region = self._region
            rows = await ask_schedulers(region.upstream, self._endpoint.tokens, region.cluster.hpc_url)
            self._schedulers = sorted({str(row.id) for row in rows})
            self._known_until = clock.monotonic() + SCHEDULERS_KNOWN_FOR
        return self._schedulers


def read_page(response: Response) -> tuple[list[msgspec.Raw], int | None]:
    """Return the rows of a page, and of how many it is a part, None where it does not say so. Raises PollError."""
    data = opened(open_envelope, JOB_HISTORY, response)
    if not bytes(data).lstrip().startswith(b"{"):
        return raw_rows(data), None
    fields = fields_of(data)
    total, _ = count_of(fields.pop("total", NULL))
    if total == 0:
        return [], 0
    return raw_rows(data), total


def written(seconds: float, zone: tzinfo) -> str:
    """Return a moment as the page writes it."""
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


JOB_HISTORY: Final = register(
    Collector(
        name="job_history",
        path="/hpc/openapi/v2/historyjobs",
        per=REGION,
        title=Text("job history", "历史作业"),
        gives=Text(
            "ends of jobs with the scheduler's own times and outcomes, also of jobs that no poll saw; needs a collector that "
            "lists jobs",
            "作业的结束，含调度系统自己的时间和结局，也包括轮询没有看到的作业；需要一个列出作业的采集项",
        ),
        families=(),
        start=HistoryPolling,
        default=False,
        optional=True,
        tells_ends=True,
    )
)
