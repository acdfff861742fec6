"""Room in a simulated region: queues, limits and storage, as its HPC interface tells them.

All of it follows from the jobs of the batch system: what they hold is not free, what they held is charged and has
written files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from exporter.simulator.api_base import Answer, Handler
from exporter.simulator.batch import BatchSystem, PartitionTotals
from exporter.simulator.spec import UserSpec
from exporter.simulator.tokens import Claims

NO_LIMIT: Final = "-1"
# GB that jobs leave behind in each core-hour.
GB_PER_CORE_HOUR: Final = 0.02
# Shares of their quota that users exceed it by before they delete files, and that they then keep.
FULL, TIDY = 1.02, 0.7


def storage_used(user: UserSpec, core_hours: float) -> float:
    """Return the GB that a user occupies after a number of core-hours: more and more, until files have to go."""
    used = user.stored + core_hours * GB_PER_CORE_HOUR
    over = used - FULL * user.quota
    return used if over <= 0 else TIDY * user.quota + over % ((FULL - TIDY) * user.quota)


@dataclass(frozen=True, slots=True)
class CapacityInterface:
    """The calls of the HPC interface about capacity. `caller` raises RefusedError, as `refused` makes one of a code."""

    batch: BatchSystem
    caller: Callable[[web.Request], Claims]
    answer: Callable[[Any], web.Response]
    refused: Callable[[str], Exception]

    def routes(self, handler: Callable[[str, Answer], Handler]) -> list[web.RouteDef]:
        base = "/hpc/openapi/v2"
        return [
            web.get(f"{base}/queuenames/users/{{user}}", handler("queue_capacity", self._queues)),
            web.get(f"{base}/userquotas/userlimit", handler("user_limits", self._limits)),
            web.get(f"{base}/parastor/quota/usernames/{{user}}", handler("storage_quota", self._storage)),
        ]

    def _user(self, request: web.Request) -> UserSpec:
        """Return the caller, who may ask about no other user. Raises RefusedError."""
        caller = self.caller(request)
        if request.match_info.get("user", caller.compute_user) != caller.compute_user:
            raise self.refused("10008")
        return next(user for user in self.batch.spec.users if user.name == caller.compute_user)

    def _scheduler(self, request: web.Request) -> int:
        """Return the scheduler that is asked about. Raises RefusedError."""
        wanted = request.query.get("strJobManagerID", "")
        if not wanted:
            raise self.refused("10003")
        known = {str(scheduler.id): scheduler.id for scheduler in self.batch.spec.schedulers}
        if wanted not in known:
            raise self.refused("10004")
        return known[wanted]

    async def _queues(self, request: web.Request) -> web.Response:
        user, scheduler = self._user(request), self._scheduler(request)
        rows = [
            queue_row(partition)
            for partition in self.batch.partitions()
            if partition.scheduler == scheduler and partition.queue.groups in ((), (user.group,))
        ]
        return self.answer(rows or None)

    async def _limits(self, request: web.Request) -> web.Response:
        user, _ = self._user(request), self._scheduler(request)
        kinds = ("Cpu", "Gpu", "Dcu", "Node", "SubmitJob", "RunJob")
        row: dict[str, Any] = {f"{whose}Max{kind}": NO_LIMIT for whose in ("user", "account") for kind in kinds}
        row["userMaxSubmitJob"] = sum(demand.max_pending for demand in user.demands) or NO_LIMIT
        row["userMaxRunJob"] = NO_LIMIT if user.max_running is None else user.max_running
        row["maxWallTime"] = NO_LIMIT
        if user.machine_hours is not None:
            left = user.machine_hours - self.batch.meters[user.name].at(self.batch.now).core_hours
            row["maxWallTime"] = str(max(0, round(3600 * left)))
        return self.answer(row)

    async def _storage(self, request: web.Request) -> web.Response:
        user = self._user(request)
        used = storage_used(user, self.batch.meters[user.name].at(self.batch.now).core_hours)
        path = f"/public/home/{user.name}"
        return self.answer([{"path": path, "username": user.name, "threshold": user.quota, "usage": round(used, 3)}])


def queue_row(partition: PartitionTotals) -> dict[str, Any]:
    """Return the row of a queue, in the form of the captured one."""
    queue = partition.queue
    return {
        "queueName": queue.name,
        "id": queue.name,
        "text": queue.name,
        "queueEnabled": partition.enabled,
        "queuePriority": 6000,
        "queNodes": str(queue.nodes),
        "queFreeNodes": str(partition.free_nodes),
        "queNcpus": str(queue.nodes * queue.cores),
        "queFreeNcpus": str(partition.free_cores),
        "queMaxNcpus": NO_LIMIT,
        "queMaxNgpus": NO_LIMIT,
        "queMaxNdcus": NO_LIMIT,
        "queMaxNodect": NO_LIMIT,
        "queMaxPPN": str(queue.cores),
        "queMaxGpuPN": str(queue.gpus),
        "queMaxDcuPN": str(queue.dcus),
        "queMaxWalltime": str(round(queue.time_limit)),
        "queChargeRate": str(queue.price),
        "aclHosts": ",".join(f"{queue.name}r{number}n00" for number in range(queue.nodes)),
    }
