"""The sums of a report: from the counters in a Prometheus, or from the job histories of the regions."""

import asyncio
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Any, Final

import msgspec

from exporter.app import assemble
from exporter.cli.http_client import Access, Server
from exporter.config import Cluster
from exporter.errors import DecodeError, ExporterError, PollError
from exporter.http import Response, one_line
from exporter.records import EndedJob, JobState
from exporter.sources.collector import Subject, subjects_of
from exporter.sources.scnet.job_history import HistoryPolling
from exporter.sources.scnet.region import Region
from exporter.sources.values import UNREADABLE
from exporter.tracking.model import OUTCOMES

# The names of a report's rows, and their labels.
HOURS: Final = {"cpu": "core_hours", "gpu": "gpu_hours", "dcu": "dcu_hours"}
BY: Final = {"cluster": "hpc_cluster", "group": "group", "user": "user", "queue": "queue"}
HOUR: Final = 3600.0
DAY: Final = 86_400.0
# Histories are read in parts of this many seconds: regions answer long lists slowly.
PART: Final = DAY
# Ends are read for this much longer than the period: hours of jobs that crossed its end.
BEYOND: Final = 7 * DAY
# Of counters: the labels that tell their series apart, whichever instance they come from.
_MEMBER: Final = ("hpc_cluster", "group", "user")
_QUEUE: Final = ("hpc_cluster", "group", "queue")
_STEP: Final = 300

# The values of a row's names.
Key = tuple[str, ...]
# Labels and values.
Vector = list[tuple[Mapping[str, str], float]]
Query = Callable[[str], Awaitable[Vector]]


@dataclass(frozen=True, slots=True)
class Period:
    """Unix seconds; `end` is not included. `zone` is that of months and dates."""

    begin: float
    end: float
    zone: tzinfo

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def part_of(self, begin: float, end: float) -> float:
        """Return the seconds of a span that lie in the period."""
        return max(0.0, min(end, self.end) - max(begin, self.begin))


@dataclass(slots=True)
class Sums:
    """The sums of a row; None is unknown."""

    outcomes: dict[str, int] | None = None
    core_hours: float | None = None
    gpu_hours: float | None = None
    dcu_hours: float | None = None
    median_wait_seconds: float | None = None
    mean_wait_seconds: float | None = None
    unaccounted_hours: float | None = None

    @property
    def jobs(self) -> int | None:
        return None if self.outcomes is None else sum(self.outcomes.values())


@dataclass(frozen=True, slots=True)
class Report:
    """Sums by the values of the report's names; `covered` is the share of the period with data, None where unknown."""

    source: Any
    sums: dict[Key, Sums]
    covered: float | None = None
    complete: bool = True
    remarks: tuple[str, ...] = ()


class WireSample(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]


class WireData(msgspec.Struct, rename="camel"):
    result: list[WireSample] = msgspec.field(default_factory=list)


class WireAnswer(msgspec.Struct):
    status: str
    data: WireData = msgspec.field(default_factory=WireData)
    error: str = ""
    # Data of a remote store, of Thanos or of a part of a cluster of VictoriaMetrics is missing.
    warnings: list[str] | None = None
    is_partial: bool = msgspec.field(default=False, name="isPartial")


def vector(response: Response, missing: dict[str, None]) -> Vector:
    """Return the samples in an answer, without those that are no number. Raises PollError.

    Reasons why it may lack some go into `missing`.
    """
    try:
        answer = msgspec.json.decode(response.body, type=WireAnswer)
        samples = [(each.metric, float(each.value[1])) for each in answer.data.result]
    except UNREADABLE:
        raise DecodeError(f"HTTP {response.status}: this is no answer of a Prometheus; is the address right?") from None
    if answer.status != "success":
        raise DecodeError(f"the query failed: {one_line(answer.error)}")
    missing.update(dict.fromkeys(map(one_line, answer.warnings or ())))
    missing.update({"a part of the storage did not answer": None} if answer.is_partial else {})
    return [sample for sample in samples if math.isfinite(sample[1])]


async def from_prometheus(url: str, access: Access, period: Period, by: Sequence[str]) -> Report:
    """Return increases of the exporter's counters. Raises ExporterError where they cannot be had."""
    prometheus = Server(url, access, timeout=120.0)
    missing: dict[str, None] = {}

    async def query(expression: str) -> Vector:
        """Return the values at the end of the period. Raises PollError."""
        fields = {"query": expression, "time": f"{period.end:.3f}"}
        return await prometheus.ask("/api/v1/query", lambda response: vector(response, missing), fields)

    try:
        covered = await _covered(query, period)
        counters = Counters(query, period, by)
        await counters.read()
    except PollError as error:
        raise ExporterError(f"{url}: {error}") from None
    finally:
        await prometheus.close()
    remark = f"from {url}, which has data of the exporter for {100 * covered:.3g} % of the period"
    warnings = (f"{url} warns that data may be missing: {warning}" for warning in missing)
    return Report("prometheus", dict(counters.sums), covered, not missing, (remark, *warnings))


async def _covered(query: Query, period: Period) -> float:
    """Return the share of the period in which an exporter was scraped."""
    steps = max(1, round(period.seconds / _STEP))
    expression = f"count_over_time((count(hpc_exporter_build_info))[{round(period.seconds)}s:{_STEP}s])"
    found = await query(expression)
    return min(1.0, found[0][1] / steps) if found else 0.0


class Counters:
    """Increases of the exporter's counters over a period, added up by the names of a report."""

    def __init__(self, query: Query, period: Period, by: Sequence[str]) -> None:
        self._query = query
        self._span = f"{round(period.seconds)}s"
        self._labels = [BY[name] for name in by]
        self.sums: defaultdict[Key, Sums] = defaultdict(Sums)

    async def read(self) -> None:
        """Read all that these names tell apart. Raises PollError."""
        if set(self._labels) <= {*_MEMBER}:
            await self._ends()
            for kind in ("cpu", "gpu", "dcu"):
                await self._hours(HOURS[kind], f"hpc_member_{kind}_seconds_total")
            await self._hours("unaccounted_hours", "hpc_member_unaccounted_seconds_total")
        if set(self._labels) <= {*_QUEUE}:
            await self._waits("hpc_job_observed_wait_seconds")

    async def _increase(
        self, family: str, own: Sequence[str], *more: str
    ) -> list[tuple[Key, Mapping[str, str], float]]:
        """Return the increases of a counter, added up by the report's names and `more` labels.

        Several exporters under one job share the targets; those of several jobs are copies of each other.
        """
        series, kept = ", ".join((*own, *more)), ", ".join((*self._labels, *more))
        of_job = f"sum by (job, {series}) (increase({family}[{self._span}]))"
        found = await self._query(f"sum by ({kept}) (max by ({series}) ({of_job}))")
        return [(tuple(metric.get(label, "") for label in self._labels), metric, value) for metric, value in found]

    async def _ends(self) -> None:
        outcomes: defaultdict[Key, dict[str, int]] = defaultdict(dict)
        for key, metric, value in await self._increase("hpc_jobs_finished_total", _MEMBER, "outcome"):
            outcomes[key][metric.get("outcome", "")] = round(value)
        for key, of_key in outcomes.items():
            self.sums[key].outcomes = of_key

    async def _hours(self, name: str, family: str) -> None:
        for key, _, value in await self._increase(family, _MEMBER):
            setattr(self.sums[key], name, value / HOUR)

    async def _waits(self, family: str) -> None:
        counts = {key: value for key, _, value in await self._increase(f"{family}_count", _QUEUE)}
        for key, _, value in await self._increase(f"{family}_sum", _QUEUE):
            if counts.get(key, 0) > 0:
                self.sums[key].mean_wait_seconds = value / counts[key]
        buckets: defaultdict[Key, dict[float, float]] = defaultdict(dict)
        for key, metric, value in await self._increase(f"{family}_bucket", _QUEUE, "le"):
            buckets[key][_bound(metric.get("le", ""))] = value
        for key, of_key in buckets.items():
            self.sums[key].median_wait_seconds = median_of(of_key)


def _bound(le: str) -> float:
    """Return the bound of a bucket; NaN where it is no number."""
    try:
        return float(le)
    except ValueError:
        return math.nan


def median_of(buckets: Mapping[float, float]) -> float | None:
    """Return the median by linear interpolation, as histogram_quantile does; None without observations."""
    total = buckets.get(math.inf, 0.0)
    if total <= 0 or any(map(math.isnan, buckets)):
        return None
    below, lower = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= total / 2:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (total / 2 - below) / (count - below)
        below, lower = count, bound
    return None


async def from_history(config_file: Path, period: Period, by: Sequence[str]) -> Report:
    """Return sums of the regions' ended jobs. Raises ExporterError where there is no region to read."""
    components = assemble(config_file)
    try:
        regions = [source for source in components.sources.values() if isinstance(source, Region)]
        if not regions:
            raise ExporterError(f"{config_file} names no region whose history could be read; give --prometheus=URL")
        found = await asyncio.gather(*(_ended(region, period) for region in regions))
    finally:
        await components.close()
    remarks = [remark for _, remark in found if remark]
    if all(ends is None for ends, _ in found):
        raise ExporterError("\n".join(remarks))
    rows: defaultdict[Key, list[EndedJob]] = defaultdict(list)
    for region, (ends, _) in zip(regions, found, strict=True):
        groups = groups_of(region.cluster)
        for end in ends or ():
            names = {
                "cluster": region.name,
                "group": groups.get(end.user, ""),
                "user": end.user,
                "queue": end.job.queue,
            }
            rows[tuple(names[name] for name in by)].append(end)
    sums = {key: summed(ends, period) for key, ends in rows.items()}
    days = f"{BEYOND / DAY:.0f} days"
    about = [
        f"from the job history of the regions, without jobs that still run or ended more than {days} after the period"
    ]
    if components.slurm:
        about.append(f"without {', '.join(components.slurm)}: of Slurm clusters only --prometheus tells")
    known = {key: each for key, each in sums.items() if each is not None}
    return Report("history", known, None, not remarks, (*about, *remarks))


async def _ended(region: Region, period: Period) -> tuple[list[EndedJob] | None, str]:
    """Return the ends in the period and for a while after it, None if the list cannot be read; and why some are missing."""
    polling = HistoryPolling(region, Subject(region.name, "", region.cluster.place))
    found: dict[tuple[str, str, float], EndedJob] = {}
    remark = ""
    until = min(region.context.clock.now(), period.end + BEYOND)
    for begin, end in parts(period.begin, until):
        try:
            ends = await polling.between(begin, end)
        except PollError as error:
            return None, f"{region.name}: the job history could not be read: {error}"
        found |= {(row.scheduler, row.job.id, row.ended): row for row in ends.rows}
        if ends.until < end:
            return None, f"{region.name}: the job history could not be read as a whole"
        if ends.rejected:
            remark = f"{region.name}: some rows of the job history could not be read: their jobs are missing"
    return list(found.values()), remark


def parts(begin: float, end: float) -> Iterator[tuple[float, float]]:
    """Yield spans of a day at most."""
    while begin < end:
        yield begin, min(begin + PART, end)
        begin += PART


def groups_of(cluster: Cluster) -> dict[str, str]:
    """Return the group of each configured member; of several the first."""
    subjects = [subject for _, subject in subjects_of("clusters", cluster, every=True) if subject.group]
    return {subject.user: subject.group for subject in reversed(subjects)}


def summed(ends: Iterable[EndedJob], period: Period) -> Sums | None:
    """Return the sums of ended jobs; None where none of them touches the period."""
    outcomes: Counter[str] = Counter()
    hours: dict[str, list[float | None]] = {"core_hours": [], "gpu_hours": [], "dcu_hours": []}
    waits: list[float] = []
    touched = False
    for end in ends:
        job, inside = end.job, period.begin <= end.ended < period.end
        # A job that was put back in the queue did not end: its row is that of a run.
        if inside and job.state is not JobState.REQUEUED:
            outcome = str(job.state)
            outcomes[outcome if outcome in OUTCOMES else "unknown"] += 1
        started = job.started
        seconds = 0.0 if started is None else period.part_of(started, end.ended)
        touched = touched or inside or seconds > 0
        for name, amount in zip(hours, (job.allocated_cpus, job.allocated_gpus, job.allocated_dcus), strict=True):
            if seconds > 0:
                hours[name].append(None if amount is None else amount * seconds / HOUR)
            elif inside and started is None and job.state is not JobState.DELETED:
                # One that was deleted may have waited until then.
                hours[name].append(None)
        if started is not None and job.submitted is not None and period.begin <= started < period.end:
            waits.append(max(0.0, started - job.submitted))
    if not touched:
        return None
    totals = {name: None if None in each else math.fsum(filter(None, each)) for name, each in hours.items()}
    return Sums(
        dict(outcomes),
        totals["core_hours"],
        totals["gpu_hours"],
        totals["dcu_hours"],
        statistics.median(waits) if waits else None,
        statistics.fmean(waits) if waits else None,
    )
