"""The job lists of a simulated region and of its platform: rows with times, filters and pages.

Sources: the pages 查询实时作业列表 and 查询历史作业列表, and what public clients were answered by the platform's page-lists.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, Protocol

from exporter.simulator.batch import ON_NODES, PENDING, BatchSystem, Ending, SimJob, State
from exporter.simulator.quirks import STATUS, Quirks
from exporter.simulator.spec import RegionSpec

CHINA: Final = timezone(timedelta(hours=8))
DAY: Final = 86_400.0
# Without a start of its window, the list of live jobs goes back so far.
DEFAULT_DAYS: Final = 7

# Where they differ in the platform's lists. A job that failed is listed as one that ended, and the reason tells.
LIVE_STATUS: Final = STATUS | {State.FAILED: "statC"}
HISTORY_STATUS: Final = STATUS | {State.TIMEOUT: "TIMEOUT"}


class Listed(Protocol):
    """A region whose jobs are listed."""

    name: str
    spec: RegionSpec
    batch: BatchSystem

    @property
    def quirks(self) -> Quirks: ...


DatedRow = tuple[float, dict[str, Any]]
RowsOf = Callable[[Listed, Collection[str], Mapping[str, Any]], list[DatedRow]]


def china_time(moment: float | None) -> str | None:
    """Return a moment as the lists write it: without its zone."""
    return None if moment is None else datetime.fromtimestamp(moment, CHINA).strftime("%Y-%m-%d %H:%M:%S")


def moment_of(text: object) -> float | None:
    """Return the moment of such a text; None for anything else."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%d %H:%M:%S").replace(tzinfo=CHINA).timestamp()
    except ValueError:
        return None


def whole_number(value: object, default: int) -> int:
    """Return a parameter of a request as a number; `default` for anything but digits."""
    text = str(value)
    return int(text) if text.isdecimal() else default


def clock_time(seconds: float) -> str:
    """Return a duration as Slurm writes it."""
    return str(timedelta(seconds=int(seconds)))


def start_time(job: SimJob, region: Listed) -> str | None:
    """Return ``jobStartTime``: of a job that waits, one that is expected or nothing."""
    if job.started is not None:
        return china_time(job.started)
    return {"expected": china_time(region.batch.now + 3600), "null": None, "empty": ""}[region.quirks.expected_starts]


def own_row(job: SimJob, region: Listed) -> dict[str, Any]:
    """Return a row of the region's list of a token's own jobs."""
    return {
        "jobId": str(job.id),
        "jobName": job.name,
        "jobStatus": STATUS[job.state],
        "queue": job.queue,
        "nodeUsed": "a04r1n00" if job.state in ON_NODES else "",
        "procNumUsed": job.allocated.cores,
        "jobStartTime": start_time(job, region),
        "jobRunTime": clock_time(0 if job.started is None else region.batch.now - job.started),
        "reason": job.reason,
        "workDir": f"/public/home/{job.user}/secret-project",
    }


def live_row(job: SimJob, region: Listed, *, everything: bool) -> dict[str, Any]:
    """Return a row of the platform's list of live jobs, with `everything` as ``showAllData`` asks for."""
    requested, allocated, now = job.requested, job.allocated, region.batch.now
    used = requested if region.quirks.waiting_amounts == "requested" and job.state in PENDING else allocated
    row = {
        "clusterId": region.spec.cluster_id,
        "clusterName": region.spec.title or region.name,
        "jobId": str(job.id),
        "jobName": job.name,
        "jobManagerId": str(job.scheduler),
        "jobManagerName": "Cluster",
        "jobManagerType": "SLURM",
        "clusterUserName": job.user,
        "queue": job.queue,
        "jobQueueTime": china_time(job.queued),
        "jobStartTime": start_time(job, region),
        "jobState": LIVE_STATUS[job.state],
        "priority": "1256",
        "jobRunTime": clock_time(0 if job.started is None else now - job.started),
        "nodeUsed": "b08r1n14" if job.state in ON_NODES else "",
        "reason": job.reason,
        "requeue": "0",
        "wallTimeReq": clock_time(job.plan.limit),
        "nodeNumUsed": used.nodes,
        "procNumUsed": used.cores,
        "dcuNumUsed": used.dcus,
        "gpuNumUsed": used.gpus,
        "jobQueueTimeUsed": int((job.started or now) - job.queued),
    }
    if everything:
        row |= {
            "id": str(job.id),
            "name": job.name,
            "status": LIVE_STATUS[job.state],
            "nodeNumReq": requested.nodes,
            "procNumReq": requested.cores,
            "cpuCore": allocated.cores,
            "gpuNumReq": requested.gpus,
            "gpuNum": allocated.gpus,
            "dcuNumReq": requested.dcus,
            "dcuNumUsed": allocated.dcus,
            "workDir": f"/public/home/{job.user}/secret-project",
            "outputPath": f"/public/home/{job.user}/secret-project/out",
            "vncSessionInfo": '{"password": "vnc-secret"}',
        }
    return row


def ended_row(ending: Ending, region: Listed) -> dict[str, Any]:
    """Return a row of the lists of ended jobs, region's and platform's."""
    job = ending.job
    seconds = 0.0 if ending.started is None else ending.ended - ending.started
    share = job.share
    return {
        "jobId": str(job.id),
        "clusterId": region.spec.cluster_id,
        "jobmanagerId": job.scheduler,
        "clusterUserName": job.user,
        "jobName": job.name,
        "queue": job.queue,
        "jobState": HISTORY_STATUS[ending.state],
        "jobExitStatus": 0,
        "jobQueueTime": china_time(ending.queued),
        "jobStartTime": china_time(ending.started),
        "jobEndTime": china_time(ending.ended),
        "acctTime": datetime.fromtimestamp(ending.ended + 40, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "jobWaitTime": int((ending.ended if ending.started is None else ending.started) - ending.queued),
        "jobWalltimeUsed": int(seconds),
        "walltime": int(job.plan.limit),
        "jobCpuTime": int(seconds * share.cores),
        "procNumUsed": share.cores,
        "nodeNumUsed": share.nodes,
        "gpuNumUsed": share.gpus,
        "dcuNumUsed": share.dcus,
        "jobReqCpu": float(job.requested.cores),
        "jobReqGpu": float(job.requested.gpus),
        "jobReqDcu": float(job.requested.dcus),
        "jobReqNodes": float(job.requested.nodes),
        "jobMemUsed": 1024,
        "cpuNuclearSec": str(int(seconds * share.cores)),
        "gpuCardSec": str(int(seconds * share.gpus)),
        "dcuCardSec": str(int(seconds * share.dcus)),
        "cpuUnitPrice": "0.10",
        "efficiencyCpu": "100.00%",
    }


def live_rows(region: Listed, users: Collection[str], wanted: Mapping[str, Any]) -> list[DatedRow]:
    """Return the rows of users' jobs that a request's filters let pass, with the times of their submission."""
    since, until = moment_of(wanted.get("startTime")), moment_of(wanted.get("endTime"))
    since = region.batch.now - DEFAULT_DAYS * DAY if since is None else since

    def passes(job: SimJob) -> bool:
        values = {
            "queue": job.queue,
            "jobId": str(job.id),
            "jobState": LIVE_STATUS[job.state],
            "clusterUserName": job.user,
        }
        in_window = since <= job.queued and (until is None or job.queued < until)
        return in_window and all(wanted.get(name) in (None, "", value) for name, value in values.items())

    jobs = (job for user in users for job in region.batch.jobs(user) if passes(job))
    return [(job.queued, live_row(job, region, everything=bool(wanted.get("showAllData")))) for job in jobs]


def ended_rows(region: Listed, users: Collection[str], wanted: Mapping[str, Any]) -> list[DatedRow]:
    """Return the rows of users' ended jobs that a request's filters let pass, with the moments of the ends."""
    return [(ending.ended, ended_row(ending, region)) for ending in ended_jobs(region, users, wanted)]


def ended_jobs(region: Listed, users: Collection[str], wanted: Mapping[str, Any]) -> list[Ending]:
    """Return the ends that already have a row, the latest first.

    The window is of ends or, on request, of submissions.
    """
    since, until = moment_of(wanted.get("startTime")), moment_of(wanted.get("endTime"))
    by_queue_time = str(wanted.get("isQueryByQueueTime", "")).lower() == "true"

    def passes(ending: Ending) -> bool:
        at, job = int(ending.queued if by_queue_time else ending.ended), ending.job
        values = {"queue": job.queue, "jobId": str(job.id), "jobState": HISTORY_STATUS[ending.state]}
        in_window = (since is None or since <= at) and (until is None or at <= until)
        return in_window and job.user in users and all(wanted.get(name) in (None, "", values[name]) for name in values)

    return list(filter(passes, region.batch.endings(since or 0.0, region.batch.now - region.quirks.history_lag)))


def window(rows: Sequence[Any], query: Mapping[str, str], quirks: Quirks) -> dict[str, Any]:
    """Return the rows from `start` on, as many as `limit` says and a page may hold."""
    start, limit = whole_number(query.get("start"), 0), min(whole_number(query.get("limit"), 25), quirks.largest_page)
    return {"total": len(rows), quirks.rows_under or "list": rows[start : start + limit]}


def page(rows: list[DatedRow], wanted: Mapping[str, Any], quirks: Quirks) -> dict[str, Any]:
    """Return the page of the wanted number and size, the latest rows first."""
    size = max(1, min(whole_number(wanted.get("size"), 10), quirks.largest_page))
    start = (max(1, whole_number(wanted.get("page"), 1)) - 1) * size
    in_order = [row for _, row in sorted(rows, key=lambda row: -row[0])]
    under = quirks.rows_under or "records"
    return {"total": len(rows), "pages": -(-len(rows) // size), under: in_order[start : start + size]}
