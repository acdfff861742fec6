"""Ended jobs of a region, with the scheduler's own times and outcomes. Source: the page 查询历史作业列表 (historyjobs).

Where a region does not have that list, the platform's is read (``POST /ac/openapi/v2/jobs/history/page-list``, as captured from
a public client), with the token of the region's account.

A row appears some 45 seconds after the end, and a job that was requeued has one for each of its runs. So each poll asks for the
last minutes once more; after a time without polls, for all of it, up to a day. The tracker counts each end once.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from exporter.errors import NotThereError, RecordError
from exporter.http import Response
from exporter.metrics.family import Sample, Text
from exporter.records import Answer, EndedJob, JobState
from exporter.sources.collector import Collector, Found, Subject, register
from exporter.sources.decoding import read_row
from exporter.sources.scnet.pages import PAGE_SIZE, REFUSALS, JobRow, Key, Page, Reading, Wanted, job_of, read_page
from exporter.sources.scnet.region import Region
from exporter.sources.scnet.states import state_and_word
from exporter.sources.scnet.subjects import REGION
from exporter.sources.values import Count, Id, Name, epoch_seconds

# Seconds for which ends are requested once more, because their rows may have come late.
OVERLAP: Final = 900.0
# Seconds by which the region's clock may be ahead.
AHEAD: Final = 60.0
# Seconds until a list that a region did not have is requested again.
NOT_THERE_FOR: Final = 3600.0
# Polls in a row that find fewer rows than were promised, until the region is taken at what it gives.
MOST_INCOMPLETE: Final = 10
DAY: Final = 86_400.0
PLATFORM_PATH: Final = "/ac/openapi/v2/jobs/history/page-list"


class Row(JobRow, gc=False, rename="camel"):
    """The numbers are those in use; other fields of the row, among them the owner's paths, are not read."""

    cluster_id: Id = Id("")
    # Of the platform's list; that of a region is requested for one scheduler at a time.
    jobmanager_id: Id = msgspec.field(name="jobmanagerId", default=Id(""))
    cluster_user_name: Name = Name("")
    job_end_time: Any = None
    gpu_num_used: Count | None = None
    dcu_num_used: Count | None = None


class Ends(Answer, frozen=True, kw_only=True):
    """The rows that ended `until` a time."""

    rows: tuple[EndedJob, ...]
    until: float
    # In the output of `once` there is nothing of them.
    samples: tuple[Sample, ...] = ()

    @property
    def unknown_words(self) -> tuple[str, ...]:
        """As those of any answer."""
        return tuple(sorted({row.job.raw_state for row in self.rows if row.job.state is JobState.UNKNOWN}))


def read_end(raw: msgspec.Raw, scheduler: str, zone: tzinfo) -> tuple[Key, EndedJob]:
    """One row, by its region, scheduler, id and end. Raises RecordError for one without a usable id or end, or a user.

    Rows of the list of one `scheduler` are of its region; other ones may not say of which they are.
    """
    row = read_row(raw, Row)
    ended = epoch_seconds(row.job_end_time, zone)
    if ended is None:
        raise RecordError("a job without a usable end")
    if not row.cluster_user_name.strip():
        raise RecordError("a job without a user")
    state, word = state_and_word(row.job_state)
    amounts = (None, None, None, None, row.proc_num_used, row.gpu_num_used, row.dcu_num_used)
    job = job_of(row, state, word, amounts, zone, ended=ended)
    end = EndedJob(str(row.cluster_user_name), scheduler or str(row.jobmanager_id), ended, job)
    return ("" if scheduler else str(row.cluster_id), end.scheduler, job.id, ended), end


class HistoryPolling:
    """Reads the jobs that ended since the last poll, and passes them to the tracker."""

    def __init__(self, region: Region, subject: Subject) -> None:
        self._region = region
        self._context = region.context
        self._key = JOB_HISTORY.key(subject)
        self._endpoint = region.endpoint(JOB_HISTORY, subject)
        # Until when the region's own list counts as not there.
        self._platform_until = -float("inf")
        self._incomplete = 0

    async def poll(self) -> Ends:
        service = self._context.tracked.service
        since, now = self._window()
        try:
            ends = await self.between(since, now)
        except NotThereError:
            if service is not None:
                service.history_is_missing(self._region.name)
            raise
        self._incomplete = 0 if ends.until == now else self._incomplete + 1
        if self._incomplete % MOST_INCOMPLETE == 0:
            return msgspec.structs.replace(ends, until=now)
        # Rows that were missed are requested once more the next time, from where all was read.
        read_until = service.tracker.mark(self._region.name) if service is not None else None
        return msgspec.structs.replace(ends, until=since if read_until is None else min(read_until, now))

    async def between(self, since: float, now: float) -> Ends:
        """Return the ends between two Unix times. Raises PollError; NotThereError where there is no list of them.

        A list that gives older ends as well has them counted no more than a day back: for longer they are not remembered.
        """
        here = self._region.cluster.cluster_id
        earliest = min(since, self._context.clock.now() - DAY)
        ends = Reading[EndedJob]()
        if not self._asks_platform():
            try:
                await self._read_region(ends, since, now)
            except NotThereError:
                if self._region.cluster.account is None:
                    raise
                self._platform_until = self._context.clock.monotonic() + NOT_THERE_FOR
        if self._asks_platform():
            await self._read_platform(ends, since, now)
        ends.check()
        rows = tuple(end for (region, *_), end in ends.rows.items() if end.ended >= earliest and region in ("", here))
        return Ends(
            rows=rows,
            until=since if ends.missing else now,
            rejected=len(ends.rejected),
            unknown_states=sum(row.job.state is JobState.UNKNOWN for row in rows),
        )

    def _asks_platform(self) -> bool:
        return self._context.clock.monotonic() < self._platform_until

    async def publish(self, ends: Ends) -> None:
        self._context.count_flaws(self._key, ends)
        self._region.show(self._key, Found(()), {})
        await self._context.tracked.take_ends(self._key, ends.rows, ends.until)

    def _window(self) -> tuple[float, float]:
        """Return since when ends are requested, and the time now."""
        service = self._context.tracked.service
        now = self._context.clock.now() if service is None else service.time()
        read_until = None if service is None else service.tracker.mark(self._region.name)
        if read_until is None or read_until > now:
            return now - OVERLAP, now
        return max(read_until - OVERLAP, now - self._context.history_window), now

    async def _read_region(self, ends: Reading[EndedJob], since: float, now: float) -> None:
        """Read the lists of all schedulers. Raises PollError."""
        for scheduler in await self._region.scheduler_ids.get():
            query = {
                "strClusterNameList": scheduler,
                "startTime": written(since, self._context.zone),
                "endTime": written(now + AHEAD, self._context.zone),
                "timeType": "CUSTOM",
                "isQueryByQueueTime": "false",
                "limit": str(PAGE_SIZE),
            }
            read = partial(read_end, scheduler=scheduler, zone=self._context.zone)
            await ends.add_list(partial(self._page, query), read)

    def _page(self, query: Mapping[str, str], wanted: Wanted) -> Awaitable[Page]:
        url = f"{self._endpoint.url}?{urlencode({**query, 'start': str(wanted.start)})}"
        return replace(self._endpoint, url=url).get(page_of)

    async def _read_platform(self, ends: Reading[EndedJob], since: float, now: float) -> None:
        """Read the platform's list of all members; where it does not give that, of the token's user."""
        try:
            await self._read_pages(ends, since, now, of_group=True)
        except REFUSALS as error:
            await self._read_pages(ends, since, now, of_group=False)
            self._region.remark(JOB_HISTORY.name, refusal(self._region, str(error)))

    async def _read_pages(self, ends: Reading[EndedJob], since: float, now: float, *, of_group: bool) -> None:
        filters = {
            **dict.fromkeys(("queue", "jobId", "jobState", "clusterUserName"), ""),
            "clusterId": self._region.cluster.cluster_id,
            "startTime": written(since, self._context.zone),
            "endTime": written(now + AHEAD, self._context.zone),
            "timeType": "CUSTOM",
            "isQueryByQueueTime": False,
            "showGroupJobs": of_group,
            "showAllData": False,
        }

        def ask(wanted: Wanted) -> Awaitable[Page]:
            body = {**filters, "page": wanted.number, "size": wanted.size}
            return self._region.tokens.platform_endpoint(JOB_HISTORY.name, PLATFORM_PATH, body).get(page_of)

        await ends.add_list(ask, partial(read_end, scheduler="", zone=self._context.zone))


def page_of(response: Response) -> Page:
    """One page of either list. Raises PollError."""
    return read_page(response, JOB_HISTORY)


def refusal(region: Region, refused: str) -> str:
    return (
        f"{region.cluster.place}: the platform does not list the ended jobs of the groups of account {region.cluster.account} "
        f"(showGroupJobs: {refused}); {JOB_HISTORY.name} has those of its own user only"
    )


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
        tells_ends=True,
    )
)
