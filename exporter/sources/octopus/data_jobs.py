"""Data jobs of an Octopus project: those that are open, and how long others waited and ran, with the API's own times.

Sources: the pages of the Octopus API for the lists ``data/jobs`` (jobs of processors) and ``data/system-jobs`` (jobs of
the service itself).

An ended job is found in the list of those created since a moment: the creation of the oldest job that is still open, or
an hour ago. So each is found in some poll after its end, whenever that was, and its id tells that it was counted.
"""

import math
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from exporter.errors import NotThereError
from exporter.http import Response
from exporter.metrics.family import Sample, Text, counter, gauge, histogram
from exporter.metrics.format import Chunks, histogram_lines
from exporter.sources.collector import NOT_THERE, Collector, Found, Subject, register, rendered
from exporter.sources.display import SampleFigures
from exporter.sources.octopus.pages import Page, read_page
from exporter.sources.octopus.project import ADVICE, PROJECT, Project
from exporter.sources.source import Notice
from exporter.sources.values import NULL, Id, Name, epoch_seconds, value_of
from exporter.tracking.totals import Histogram

_KIND: Final = ("project", "kind")
_SINCE: Final = (
    " of data jobs that ended since the first poll, by the times that the API reports; kind is data for jobs of processors, "
    "system for those of the service. Absent until they were listed, and while there is no recent data."
)
_SINCE_ZH: Final = (
    "只计首次轮询之后结束的数据作业，依据接口返回的时间；kind 为 data（处理器的作业）或 system（服务自身的作业）。"
)
_LISTED: Final = Text("", "尚未读到列表，或没有近期数据。")

JOBS: Final = gauge(
    "octopus_jobs",
    (*_KIND, "status"),
    "Open data jobs by status: queued or running; kind is data for jobs of processors, system for those of the service. "
    "Absent where the API does not report it, or there is no recent data.",
    zh="未结束的数据作业数，按状态分：queued 排队，running 运行；kind 为 data（处理器的作业）或 system（服务自身的作业）。",
    absent=Text("", "接口没有返回，或没有近期数据。"),
)
ENDED: Final = counter(
    "octopus_jobs_ended_total",
    (*_KIND, "outcome"),
    "Data jobs that ended since the first poll, by outcome: completed, failed, deleted (stopped), or unknown for an unknown "
    "status; kind is data for jobs of processors, system for those of the service. Absent until they were listed, and while "
    "there is no recent data.",
    zh="首次轮询之后结束的数据作业数，按结果分：completed 完成，failed 失败，deleted 被停止，unknown 状态未知；"
    "kind 为 data（处理器的作业）或 system（服务自身的作业）。",
    absent=_LISTED,
)
WAIT: Final = histogram(
    "octopus_job_wait_seconds",
    _KIND,
    "Time from creation to start in seconds," + _SINCE,
    zh=f"从创建到启动的时间（秒）。{_SINCE_ZH}",
    absent=_LISTED,
)
RUN: Final = histogram(
    "octopus_job_run_seconds",
    _KIND,
    "Time from start to end in seconds," + _SINCE,
    zh=f"从启动到结束的时间（秒）。{_SINCE_ZH}",
    absent=_LISTED,
)


class Kind(NamedTuple):
    """A list of the API: its kind as a label, the last part of its path, and the parameter for a status."""

    label: str
    path: str
    status: str


KINDS: Final = (Kind("data", "jobs", "status"), Kind("system", "system-jobs", "statuses"))
OPEN: Final = {"QUEUING": "queued", "LAUNCHING": "running", "RUNNING": "running", "UPLOADING": "running"}
OUTCOMES: Final = {
    "FINISHED": "completed",
    "STOPPED": "deleted",
    "SUBMIT_FAILED": "failed",
    "RUN_FAILED": "failed",
    "UPLOAD_FAILED": "failed",
}
OUTCOME_LABELS: Final = ("completed", "deleted", "failed", "unknown")

# A list of more pages is not read: it would take longer than the interval.
LONGEST_LIST: Final = 50
# Seconds before the present that every list begins at least, and before the first poll; and the most after a long pause.
OVERLAP, FIRST_LOOK, LONGEST_LOOK = 3600.0, 86_400.0, 7 * 86_400.0
# Seconds that the end of a job may lie in the future of its server's clock.
TOLERANCE: Final = 60.0


class WireJob(msgspec.Struct, gc=False):
    """Times are in milliseconds; absent before what they tell."""

    id: Id
    status: Name = Name("")
    create_at: msgspec.Raw = NULL
    start_at: msgspec.Raw = NULL
    end_at: msgspec.Raw = NULL

    @property
    def state(self) -> str:
        """The status as the API's pages spell it."""
        return self.status.strip().upper()


@dataclass(frozen=True, slots=True)
class Job:
    """A row; times are Unix seconds by the server's clock, None where unknown. `outcome` is empty while it is open."""

    id: str
    outcome: str
    created: float | None
    started: float | None
    ended: float | None


@dataclass(slots=True)
class KindListing:
    """The jobs of one kind: the number of open ones by status, and those created since `since`.

    `complete`: all of these were listed. `rejected` rows or times and `unknown` statuses make no sense.
    """

    totals: dict[str, int | None]
    since: float
    now: float
    jobs: dict[str, Job] = field(default_factory=dict)
    complete: bool = False
    rejected: int = 0
    unknown: int = 0

    def add(self, page: Page[WireJob]) -> None:
        self.rejected += page.rejected + page.odd
        for row in page.rows:
            job, odd = job_of(row)
            self.rejected += odd
            self.unknown += row.state not in OPEN and row.state not in OUTCOMES
            # Where the parameter is ignored, older ones come as well; all that were open before are younger.
            if job.created is None or job.created >= self.since:
                self.jobs[job.id] = job


@dataclass(frozen=True, slots=True)
class DataJobs(Found):
    """The listings of a poll by kind; `samples` are those of the open jobs."""

    listings: dict[str, KindListing] = field(default_factory=dict)
    unknown: int = 0


@dataclass(slots=True)
class Ends:
    """Ended jobs of one kind since the first complete listing.

    `since` is where the next list begins, None before the first. `counted` holds the ids of jobs that ended, with the
    moment of their creation or, where that is unknown, of their listing.
    """

    since: float | None = None
    whole: bool = False
    outcomes: Counter[str] = field(default_factory=Counter)
    waits: Histogram = field(default_factory=Histogram)
    runs: Histogram = field(default_factory=Histogram)
    counted: dict[str, float] = field(default_factory=dict)

    def take(self, listing: KindListing) -> int:
        """Count the jobs that ended since the last listing; return the number of times that make no sense."""
        self.whole = listing.complete
        first = self.since is None
        if first and not listing.complete:
            return 0
        odd = 0
        for job in listing.jobs.values():
            if job.outcome and job.id not in self.counted:
                self.counted[job.id] = listing.now if job.created is None else job.created
                if not first:
                    odd += self._count(job, listing.now)
        if listing.complete:
            self._go_on(listing)
        return odd

    def _count(self, job: Job, now: float) -> int:
        self.outcomes[job.outcome] += 1
        odd = 0
        ended = None if job.ended is None or job.ended > now + TOLERANCE else job.ended
        odd += ended is not job.ended
        for histogram_, begin, end in ((self.waits, job.created, job.started), (self.runs, job.started, ended)):
            if begin is None or end is None:
                continue
            if end - begin >= 0 and end <= now + TOLERANCE:
                histogram_.observe(end - begin)
            else:
                odd += 1
        return odd

    def _go_on(self, listing: KindListing) -> None:
        """Begin the next list where the oldest open job was created, or an overlap ago."""
        open_ones = (job.created for job in listing.jobs.values() if not job.outcome and job.created is not None)
        since = min(listing.now - OVERLAP, *open_ones, listing.now)
        self.since = max(since, listing.now - LONGEST_LOOK)
        oldest = self.since - OVERLAP
        self.counted = {ident: at for ident, at in self.counted.items() if at >= oldest or ident in listing.jobs}

    @property
    def known(self) -> bool:
        """Whether the counts hold all that ended."""
        return self.since is not None and self.whole

    def samples(self, project: str, kind: str) -> Iterator[Sample]:
        for outcome in OUTCOME_LABELS:
            yield ENDED(project, kind, outcome, value=self.outcomes[outcome])


class DataJobsPolling:
    """Polls both lists of a project: a request for each open status, then the pages of the jobs created lately."""

    def __init__(self, project: Project, subject: Subject) -> None:
        self._project = project
        self._key = DATA_JOBS.key(subject)
        self._long = Notice(
            "a list of data jobs is too long to be read: ends are not counted",
            "the lists of data jobs are read as a whole again",
            **self._key._asdict(),
        )

    @property
    def _ends(self) -> dict[str, Ends]:
        """The counts of each list so far; a reload goes on with them."""
        found: dict[str, Ends] = self._project.context.display.remembered.setdefault(
            self._key, {kind.label: Ends() for kind in KINDS}
        )
        return found

    async def poll(self) -> DataJobs:
        """Poll both lists. Raises PollError; NotThereError where there is neither."""
        listings: dict[str, KindListing] = {}
        for kind in KINDS:
            try:
                listings[kind.label] = await self._listing(kind)
            except NotThereError:
                if kind is KINDS[-1] and not listings:
                    raise
        rejected = sum(listing.rejected for listing in listings.values())
        samples = tuple(each for label, listing in listings.items() for each in self._open(label, listing))
        unknown = sum(listing.unknown for listing in listings.values())
        return DataJobs(samples, rejected, None, listings, unknown)

    async def publish(self, found: DataJobs) -> None:
        project, context = self._project, self._project.context
        all_ends = self._ends
        odd = sum(all_ends[label].take(listing) for label, listing in found.listings.items())
        context.own.rejected(project.name, DATA_JOBS.name, found.rejected + odd)
        context.own.unknown_states(project.name, DATA_JOBS.name, found.unknown)
        long = [label for label, listing in found.listings.items() if not listing.complete]
        self._long.update(bool(long), kinds=long)
        ends = {label: all_ends[label] for label in found.listings if all_ends[label].known}
        ended = (each for label, of_kind in ends.items() for each in of_kind.samples(project.name, label))
        samples = (*found.samples, *ended)
        context.display.show(self._key, rendered(samples) | histograms(project.name, ends), SampleFigures(samples))

    def _open(self, kind: str, listing: KindListing) -> Iterator[Sample]:
        for status in dict.fromkeys(OPEN.values()):
            totals = [listing.totals[theirs] for theirs, ours in OPEN.items() if ours == status]
            known = [total for total in totals if total is not None]
            if len(known) == len(totals):
                yield JOBS(self._project.name, kind, status, value=sum(known))

    async def _listing(self, kind: Kind) -> KindListing:
        totals, now, ignored = dict[str, int | None](), None, False
        for status in OPEN:
            page = await self._page(kind, 1, 0, **{kind.status: status})
            ignored = ignored or not {row.state for row in page.rows} <= {status}
            totals[status] = page.total
            now = page.at if now is None else now
        if ignored:
            # A deployment that ignores the parameter gives the number of all jobs, also where the first is in that status.
            totals = {status: None if total else total for status, total in totals.items()}
        now = self._project.context.clock.now() if now is None else now
        since = self._ends[kind.label].since
        since = now - FIRST_LOOK if since is None else max(since, now - LONGEST_LOOK)
        listing = KindListing(totals, since, now)
        await self._add_jobs(kind, listing)
        return listing

    async def _add_jobs(self, kind: Kind, listing: KindListing) -> None:
        """Add the jobs created since the moment at which the list begins."""
        start_time = math.floor(listing.since * 1000)
        size, page = await self._project.pages.first(partial(self._page, kind, start_time=start_time))
        first, pages, offset = page, 0, 0
        while True:
            listing.add(page)
            pages += 1
            offset += page.positions
            if not page.positions or (page.total is not None and offset >= page.total):
                # Beside no rows, an odd value is the total.
                listing.complete = not page.odd if page.total is None else offset >= page.total
                return
            if pages == LONGEST_LIST:
                return
            page = await self._page(kind, size, offset, start_time=start_time)
            if page.positions and {row.id for row in page.rows} == {row.id for row in first.rows}:
                # The service ignores the offset: no page says which jobs are missing.
                return

    def _page(self, kind: Kind, limit: int, offset: int, **wanted: int | str) -> Coroutine[Any, Any, Page[WireJob]]:
        return self._project.pages.page(DATA_JOBS, read, limit, offset, name=kind.path, **wanted)


def histograms(project: str, ends: Mapping[str, Ends]) -> Chunks:
    """Return the lines of waits and runs of each kind."""
    views = {
        WAIT: [(kind, each.waits) for kind, each in ends.items()],
        RUN: [(kind, each.runs) for kind, each in ends.items()],
    }
    return {
        family: b"".join(histogram_lines(family, (project, kind), counts) for kind, counts in of_family)
        for family, of_family in views.items()
        if of_family
    }


def read(response: Response) -> Page[WireJob]:
    """Return a page. Raises PollError; NotThereError for 404 and 405, which say that the project has no such list."""
    if response.status in NOT_THERE:
        raise NotThereError(
            Text(
                f"HTTP {response.status}: this project does not have lists of data jobs",
                f"HTTP {response.status}：该项目没有数据作业列表",
            )
        )
    return read_page(response, WireJob)


def job_of(wire: WireJob) -> tuple[Job, int]:
    """Return a job, and how many of its times make no sense."""
    times = [instant(raw) for raw in (wire.create_at, wire.start_at, wire.end_at)]
    (created, _), (started, _), (ended, _) = times
    # A status of tomorrow is an end where the job has one.
    outcome = OUTCOMES.get(wire.state, "" if wire.state in OPEN or ended is None else "unknown")
    return Job(str(wire.id), outcome, created, started, ended), sum(odd for _, odd in times)


def instant(raw: msgspec.Raw) -> tuple[float | None, bool]:
    """Return a moment in Unix seconds, None where it is unknown; and whether what was sent for it makes no sense."""
    value = value_of(raw)
    if value is None or str(value).strip() in ("", "0", "-1", "--"):
        return None, False
    moment = epoch_seconds(value, UTC)
    return moment, moment is None


DATA_JOBS: Final = register(
    Collector(
        name="data_jobs",
        path="/v1.0/{project_id}/data/{list}",
        per=PROJECT,
        title=Text("data jobs", "数据作业"),
        gives=Text(
            "open and ended data jobs, with true waits and runs", "未结束和已结束的数据作业，及其真实的等待和运行时间"
        ),
        families=(JOBS, ENDED, WAIT, RUN),
        start=DataJobsPolling,
        default=False,
        advice=ADVICE,
    )
)
