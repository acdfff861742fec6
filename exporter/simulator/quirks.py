"""The forms of SCNet answers, and how a region or the platform may deviate from the pages' examples."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiohttp import web

from exporter.simulator.batch import LETTERS, SimJob, State
from exporter.simulator.faults import NullForm, dump, json_response
from exporter.simulator.spec import SchedulerSpec

RefusalStyle = Literal["401", "403", "10008", "10009", "911406"]
RenewalForm = Literal["text", "object", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Deviations of a region from the pages' examples."""

    refusal_style: RefusalStyle = "911406"  # of a token
    renewal_form: RenewalForm = "text"
    foreign_queue: Literal["denied", "empty"] = "denied"  # queue statistics of another user
    token_cluster_id: str | None = None  # the claim in tokens, where it is not the region's own number
    strict_platform: bool = False  # platform calls are answered at the platform's address only, for its token only
    members_of_groups: Literal["nested", "flat"] = "nested"  # below their group, or a row for each
    members_named_by: Literal["region", "platform"] = "region"  # whether a member's row names the region's user
    # Of the lists of single jobs.
    rows_under: str | None = None  # the rows' name in a page; left out: that of the list's own page
    largest_page: int = 100
    show_group_jobs: Literal["granted", "refused", "ignored"] = "granted"
    expected_starts: Literal["expected", "null", "empty"] = "expected"  # the start of a job that waits
    waiting_amounts: Literal["requested", "zero"] = "requested"  # what a job that waits is said to use
    history_lag: float = 45.0  # seconds from the end of a job to its row


# The member list's spelling of the states; DE, D, T, N and RQ were met but are on no page.
STATUS: Final = {
    State.RUNNING: "statR",
    State.QUEUED: "statQ",
    State.HELD: "statH",
    State.SUSPENDED: "statS",
    State.WAITING: "statW",
    State.EXITING: "statE",
    State.COMPLETED: "statC",
    State.DELETED: "statDE",
    State.FAILED: "statD",
    State.TIMEOUT: "statT",
    State.NODE_FAILURE: "statN",
    State.REQUEUED: "statRQ",
}

MESSAGES: Final = {
    "0": "success",
    "10001": "internal error",
    "10003": "parameters missing",
    "10004": "invalid parameter",
    "10007": "user is frozen",
    "10008": "permission denied",
    "10009": "no permission to call this interface",
    "10012": "connection broken",
    "10013": "operation timed out",
    "911009": "region user does not exist",
    "911404": "auth server unreachable",
    "911406": "token is not accepted",
}

# Marks an envelope without `data`; None is an envelope whose `data` is null.
ABSENT: Final = object()


class Writer:
    """Writes a region's answers as its `quirks` say, which may be replaced at any moment."""

    def __init__(self, quirks: Quirks) -> None:
        self.quirks = quirks

    def envelope(self, data: Any = None, code: str = "0") -> bytes:
        body = {"code": code, "msg": MESSAGES.get(code, "error")}
        return dump(body if data is ABSENT else body | {"data": data})

    def queue_jobs(self, rows: Iterable[tuple[str, dict[str, int]]]) -> bytes:
        data = [
            {"name": queue, "values": [{"metricName": letter, "metricValue": n} for letter, n in counts.items()]}
            for queue, counts in rows
        ]
        return self.envelope(data) if data else self.no_jobs("data_null")

    def no_jobs(self, form: NullForm) -> bytes:
        """Return the page: "若队列均无作业,则返回null" - and leaves open what exactly is null."""
        if form == "null":
            return b"null"
        return self.envelope({"data_null": None, "data_absent": ABSENT, "data_empty": []}[form])

    def job_counts(self, queues: Iterable[dict[str, int]]) -> bytes:
        """Write sums over queues, named by the keys of the page's texts."""
        totals = Counter[str]()
        for counts in queues:
            totals.update(counts)
        labels = zip(("run", "queue", "reserve", "hung", "other"), LETTERS, strict=True)
        return self.envelope([{"name": f"jobview_status_{name}", "y": totals[letter]} for name, letter in labels])

    def schedulers(self, schedulers: Iterable[SchedulerSpec]) -> bytes:
        return self.envelope(
            [
                {
                    "JobManagerAddr": scheduler.address,
                    "JobManagerType": scheduler.type,
                    "id": scheduler.id,
                    "text": scheduler.name,
                    "JobManagerPort": scheduler.port,
                }
                for scheduler in schedulers
            ]
        )

    def cores(self, used: int, unused: int, unavailable: int) -> bytes:
        counts = {"used": used, "unused": unused, "unavailable": unavailable}
        return self.envelope([{"name": f"jobview_{name}_label", "y": cores} for name, cores in counts.items()])

    def member_jobs(self, jobs: Iterable[SimJob]) -> bytes:
        return self.envelope([self._job(job) for job in jobs])

    def _job(self, job: SimJob) -> dict[str, Any]:
        requested, allocated = job.requested, job.allocated
        return {
            "id": str(job.id),
            "name": job.name,
            "status": STATUS[job.state],
            "nodeNumReq": requested.nodes,
            "cpuCore": allocated.cores,
            "procNumReq": requested.cores,
            "gpuNumReq": requested.gpus,
            "gpuNum": allocated.gpus,
            "dcuNumReq": requested.dcus,
            "dcuNumUsed": allocated.dcus,
        }


def refusal(writer: Writer) -> web.Response:
    """Return the response to a token that is not accepted, in the style of the writer's quirks."""
    style = writer.quirks.refusal_style
    if style in ("401", "403"):
        return json_response(writer.envelope(None, "911406"), status=int(style))
    return json_response(writer.envelope(None, style))
