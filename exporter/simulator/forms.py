"""The answers' JSON: as on the official pages, or in one of the other forms that were met or are possible."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from exporter.simulator.batch import ENDED, LETTERS, SimJob, State
from exporter.simulator.spec import SchedulerSpec

NullForm = Literal["null", "data_null", "data_absent", "data_empty"]
RefusalStyle = Literal["401", "403", "10008", "10009", "911406"]
RenewalForm = Literal["text", "object", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How a region deviates from the pages' examples. Shares are from 0 to 1."""

    null_form: NullForm = "data_null"  # queue statistics of a user without jobs
    refusal_style: RefusalStyle = "911406"  # of a token
    renewal_form: RenewalForm = "text"
    foreign_queue: Literal["denied", "empty"] = "denied"  # queue statistics of somebody else
    numbers_as_text: float = 0.0
    counts_missing: float = 0.0  # left out or null, in member job lists
    amounts_odd: float = 0.0  # "N/A", "--", -1 or with a fraction of 0, in member job lists
    slurm_words: bool = False  # RUNNING instead of statR, in member job lists
    scheduler_single: bool = False  # an object instead of a list of one
    code_as_int: bool = False
    chinese_messages: bool = False
    spelled_letters: bool = False  # "R(运行)" as in the page's table
    list_ended: bool = True
    token_cluster_id: str | None = None  # the claim in tokens, where it is not the region's own number


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
_SPELLED: Final = dict(zip(LETTERS, ("R(运行)", "Q(排队)", "H(保留)", "S(挂起)", "O(其他)"), strict=True))

MESSAGES: Final = {
    "0": ("success", "成功"),
    "10001": ("internal error", "内部错误"),
    "10003": ("parameters missing", "参数不全"),
    "10004": ("invalid parameter", "参数无效"),
    "10007": ("user is frozen", "用户已被冻结"),
    "10008": ("permission denied", "权限不足"),
    "10009": ("no permission to call this interface", "没有权限访问接口"),
    "10012": ("connection broken", "连接中断"),
    "10013": ("operation timed out", "操作超时"),
    "911009": ("region user does not exist", "区域用户不存在"),
    "911404": ("auth server unreachable", "认证服务不可达"),
    "911406": ("token is not accepted", "令牌验证失败"),
}

# Marks an envelope without `data`; None is an envelope whose `data` is null.
ABSENT: Final = object()

# What Slurm itself calls them; of a job that waits it tells the reason elsewhere.
SLURM_WORDS: Final = dict.fromkeys((State.WAITING, State.HELD, State.QUEUED), "PENDING") | {
    State.RUNNING: "RUNNING",
    State.SUSPENDED: "SUSPENDED",
    State.EXITING: "COMPLETING",
    State.REQUEUED: "REQUEUED",
    State.COMPLETED: "COMPLETED",
    State.DELETED: "CANCELLED by 1000",
    State.FAILED: "FAILED",
    State.TIMEOUT: "TIMEOUT",
    State.NODE_FAILURE: "NODE_FAIL",
}


class Writer:
    """Writes a region's answers as its `quirks` say, which may be replaced at any moment."""

    def __init__(self, quirks: Quirks, rng: random.Random) -> None:
        self.quirks = quirks
        self._rng = rng

    def envelope(self, data: Any = None, code: str = "0") -> bytes:
        message = MESSAGES.get(code, ("error", "错误"))[self.quirks.chinese_messages]
        number = int(code) if self.quirks.code_as_int else code
        body = {"code": number, "msg": message}
        return dump(body if data is ABSENT else body | {"data": data})

    def queue_jobs(self, rows: Iterable[tuple[str, dict[str, int]]]) -> bytes:
        data = [{"name": queue, "values": self._values(counts)} for queue, counts in rows]
        return self.envelope(data) if data else self.no_jobs(self.quirks.null_form)

    def no_jobs(self, form: NullForm) -> bytes:
        """The page: "若队列均无作业,则返回null" - and leaves open what exactly is null."""
        if form == "null":
            return b"null"
        return self.envelope({"data_null": None, "data_absent": ABSENT, "data_empty": []}[form])

    def schedulers(self, schedulers: Iterable[SchedulerSpec]) -> bytes:
        data = [
            {
                "JobManagerAddr": scheduler.address,
                "JobManagerType": scheduler.type,
                "id": scheduler.id,
                "text": scheduler.name,
                "JobManagerPort": scheduler.port,
            }
            for scheduler in schedulers
        ]
        return self.envelope(data[0] if self.quirks.scheduler_single and len(data) == 1 else data)

    def cores(self, used: int, unused: int, unavailable: int) -> bytes:
        names = ("jobview_used_label", "jobview_unused_label", "jobview_unavailable_label")
        if self.quirks.chinese_messages:
            names = ("已使用", "未使用", "不可用")
        counts = zip(names, (used, unused, unavailable), strict=True)
        return self.envelope([{"name": name, "y": self._number(cores)} for name, cores in counts])

    def member_jobs(self, jobs: Iterable[SimJob]) -> bytes:
        return self.envelope([self._job(job) for job in jobs if self.quirks.list_ended or job.state not in ENDED])

    def _values(self, counts: dict[str, int]) -> list[dict[str, Any]]:
        names = _SPELLED if self.quirks.spelled_letters else dict(zip(LETTERS, LETTERS, strict=True))
        return [{"metricName": names[at], "metricValue": self._number(n)} for at, n in counts.items()]

    def _job(self, job: SimJob) -> dict[str, Any]:
        requested, allocated = job.requested, job.allocated
        counts = {
            "nodeNumReq": requested.nodes,
            "cpuCore": allocated.cores,
            "procNumReq": requested.cores,
            "gpuNumReq": requested.gpus,
            "gpuNum": allocated.gpus,
            "dcuNumReq": requested.dcus,
            "dcuNumUsed": allocated.dcus,
        }
        row: dict[str, Any] = {"id": str(job.id), "name": job.name, "status": self._status(job.state)}
        for name, count in counts.items():
            if not self._happens(self.quirks.counts_missing):
                row[name] = self._amount(count)
            elif self._happens(0.5):
                row[name] = None
        return row

    def _status(self, state: State) -> str:
        return SLURM_WORDS[state] if self.quirks.slurm_words else STATUS[state]

    def _amount(self, amount: int) -> int | float | str:
        if self._happens(self.quirks.amounts_odd):
            return self._rng.choice(("N/A", "--", -1, float(amount)))
        return self._number(amount)

    def _number(self, number: int) -> int | str:
        return str(number) if self._happens(self.quirks.numbers_as_text) else number

    def _happens(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
