"""A simulated SCNet region behind its HTTP interfaces, HPC and AC. Paths and forms are those of the official pages."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs

from aiohttp import web

from exporter.simulator import joblists
from exporter.simulator.api_base import RefusedError, SimulatedApi, World
from exporter.simulator.batch import Partition
from exporter.simulator.faults import json_response
from exporter.simulator.quirks import Quirks, Writer, refusal
from exporter.simulator.spec import RegionSpec, UserSpec
from exporter.simulator.tokens import ROLE_ADMINISTRATOR, ROLE_MEMBER, Account, Claims, Directory, token_of

_DELETE: Final = "5"  # the only jobMethod that is documented
NO_LIMIT: Final = "-1"
# GB that jobs leave behind in each core-hour.
GB_PER_CORE_HOUR: Final = 0.02
# Shares of their quota that users exceed it by before they delete files, and that they then keep.
FULL, TIDY = 1.02, 0.7


class Region(SimulatedApi):
    """A region with its HPC and AC interfaces, one of those in the platform's `directory`."""

    token_header = "token"  # noqa: S105 - a header's name
    writer: Writer

    def __init__(
        self,
        spec: RegionSpec,
        directory: Directory,
        world: World,
        *,
        quirks: Quirks | None = None,
    ) -> None:
        super().__init__(spec.name, spec, world)
        self.spec = spec
        self.hpc_url = ""
        self.ac_url = ""
        self.writer = Writer(quirks or Quirks())
        self.disabled: set[str] = set()
        # Those of the AC interface, which the platform gives to each of its regions.
        self.ac_routes: list[web.RouteDef] = []
        self._directory = directory
        self._office = directory.office
        self._users = {user.name: user for user in spec.users}
        # Hours before the simulation began are paid for.
        self._paid = {name: meter.at(self.batch.now).yuan for name, meter in self.batch.meters.items()}

    @property
    def cluster_id(self) -> int:
        return self.spec.cluster_id

    @property
    def quirks(self) -> Quirks:
        return self.writer.quirks

    def set_quirks(self, **changes: Any) -> None:
        """Change some of the `quirks`."""
        self.writer.quirks = replace(self.quirks, **changes)

    # Tokens

    def token(self, user: str) -> str:
        """Return a new token of a scheduler user; KeyError where there is none of that name."""
        spec = self._users[user]
        return self._issue(spec, spec.name)

    def expire_tokens(self) -> None:
        """Every token issued for this region so far is expired from now on."""
        self._office.expire(self.claimed_id)

    def revoke(self, token: str) -> None:
        """Reject this token from now on; it cannot be renewed."""
        self._office.revoke(token)

    def disable(self, user: str) -> None:
        """Freeze a scheduler user here: logins give a null token, requests are answered with 10007."""
        self.disabled.add(user)

    @property
    def claimed_id(self) -> str:
        """The region's id in its tokens."""
        return self.quirks.token_cluster_id or str(self.cluster_id)

    def _issue(self, user: UserSpec, login: str) -> str:
        role = ROLE_ADMINISTRATOR if user.administrator else ROLE_MEMBER
        return self._office.issue(compute_user=user.name, user=login, cluster_id=self.claimed_id, role=role)

    def login_row(self, account: Account) -> dict[str, str | None] | None:
        """Return the row of this region in a login's answer; None where the login has no user here."""
        user = account.users.get(self.name)
        if user is None:
            return None
        token = None if user in self.disabled else self._issue(self._users[user], account.user)
        return {"clusterName": self.spec.title or self.name, "clusterId": str(self.cluster_id), "token": token}

    # Routes

    def servers(self) -> list[list[web.RouteDef]]:
        """One for both interfaces, or one for each."""
        hpc, ac = self._hpc_routes(), self.ac_routes
        return [hpc, ac] if self.spec.separate_ac_port else [hpc + ac]

    def listens_at(self, *urls: str) -> None:
        self.hpc_url, self.ac_url = urls[0], urls[-1]

    def _hpc_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/hpc/openapi/v2/view/queue/jobs", self.handler("queue_jobs", self._queue_jobs)),
            web.get("/hpc/openapi/v2/cluster", self.handler("schedulers", self._cluster)),
            web.get("/hpc/openapi/v2/view/cpucore/state", self.handler("region_cores", self._cores)),
            web.get("/hpc/openapi/v2/jobs", self.handler("own_jobs", self._own_jobs)),
            web.get("/hpc/openapi/v2/historyjobs", self.handler("job_history", self._job_history)),
            web.get("/hpc/openapi/v2/view/jobs/state", self.handler("job_counts", self._job_counts)),
            web.get("/hpc/openapi/v2/view/walltime/users/{user}", self.handler("machine_time", self._machine_time)),
            web.delete("/hpc/openapi/v2/jobs", self.handler("delete", self._delete)),
            web.get("/hpc/openapi/v2/queuenames/users/{user}", self.handler("queue_capacity", self._queues)),
            web.get("/hpc/openapi/v2/userquotas/userlimit", self.handler("user_limits", self._limits)),
            web.get("/hpc/openapi/v2/parastor/quota/usernames/{user}", self.handler("storage_quota", self._storage)),
        ]

    def concerned(self, request: web.Request) -> tuple[str, None]:
        return self._directory.caller(request), None

    # Permissions

    def refuse_token(self) -> web.Response:
        """Return the response to a token that is not accepted."""
        return refusal(self.writer)

    def caller(self, request: web.Request) -> Claims:
        """Return the claims of a request with this region's token. Raises RefusedError."""
        verdict, claims = self._office.check(token_of(request), self.claimed_id)
        if verdict != "valid" or claims is None:
            raise RefusedError(self.refuse_token())
        if claims.compute_user in self.disabled:
            raise self.error("10007")
        return claims

    # HPC

    async def _queue_jobs(self, request: web.Request) -> web.Response:
        user = self._own_user(request, request.query.get("userName"))
        return json_response(self.writer.queue_jobs(self.batch.queue_rows(user) if user else ()))

    async def _job_counts(self, request: web.Request) -> web.Response:
        user = self._own_user(request, request.query.get("userName"))
        return json_response(self.writer.job_counts([counts for _, counts in self.batch.queue_rows(user)]))

    async def _machine_time(self, request: web.Request) -> web.Response:
        user = self._own_user(request, request.match_info["user"])
        return self.answer(round(self.batch.core_seconds(user)))

    def _own_user(self, request: web.Request, user: str | None) -> str:
        """Return the user that a request names, the token's own; empty for another where the quirks say so.

        Raises RefusedError.
        """
        caller = self.caller(request)
        if not user:
            raise self.error("10003")
        if user not in self._users:
            raise self.error("911009")
        if user == caller.compute_user:
            return user
        if self.quirks.foreign_queue == "denied":
            raise self.error("10008")
        return ""

    async def _cluster(self, request: web.Request) -> web.Response:
        self.caller(request)
        return json_response(self.writer.schedulers(self.spec.schedulers))

    async def _cores(self, request: web.Request) -> web.Response:
        self.caller(request)
        return json_response(self.writer.cores(*self.batch.cores()))

    async def _own_jobs(self, request: web.Request) -> web.Response:
        caller, query = self.caller(request), request.query
        if query.get("strJobOwner", caller.compute_user) != caller.compute_user:
            raise self.error("10008")
        wanted = query.get("strClusterIDList", "").split(",")
        jobs = [job for job in self.batch.jobs(caller.compute_user) if "" in wanted or str(job.scheduler) in wanted]
        return self.answer(joblists.window([joblists.own_row(job, self) for job in jobs], query, self.quirks))

    async def _job_history(self, request: web.Request) -> web.Response:
        """All users' ends for a group administrator, their own for anyone else."""
        caller, query = self.caller(request), request.query
        schedulers = query.get("strClusterNameList") or query.get("strClusterIDList")
        if not schedulers:
            raise self.error("10003")
        users = set(self._users) if caller.role == ROLE_ADMINISTRATOR else {caller.compute_user}
        ends = joblists.ended_jobs(self, users, query)
        rows = [joblists.ended_row(end, self) for end in ends if str(end.job.scheduler) in schedulers.split(",")]
        return self.answer(joblists.window(rows, query, self.quirks))

    def visible_to(self, account: Account, *, of_group: bool) -> set[str]:
        """Return the users whose jobs a platform login sees here; with `of_group`, an administrator sees all."""
        user = self._users.get(account.users.get(self.name, ""))
        if user is None:
            return set()
        return set(self._users) if of_group and user.administrator else {user.name}

    # Capacity. All of it follows from the jobs: what they hold is not free, what they held is charged and has written files.

    def _user(self, request: web.Request) -> UserSpec:
        """Return the caller, who may ask about no other user. Raises RefusedError."""
        caller = self.caller(request)
        if request.match_info.get("user", caller.compute_user) != caller.compute_user:
            raise self.error("10008")
        return self._users[caller.compute_user]

    def _scheduler(self, request: web.Request) -> int:
        """Return the scheduler that is asked about. Raises RefusedError."""
        wanted = request.query.get("strJobManagerID", "")
        if not wanted:
            raise self.error("10003")
        known = {str(scheduler.id): scheduler.id for scheduler in self.spec.schedulers}
        if wanted not in known:
            raise self.error("10004")
        return known[wanted]

    async def _queues(self, request: web.Request) -> web.Response:
        user, scheduler = self._user(request), self._scheduler(request)
        rows = [
            queue_row(partition)
            for partition in self.batch.partitions()
            if partition.scheduler.id == scheduler and partition.queue.groups in ((), (user.group,))
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

    async def _delete(self, request: web.Request) -> web.Response:
        caller = self.caller(request)
        form = parse_qs(await request.text(), keep_blank_values=True)
        jobs = form.get("strJobInfoMap", [""])[0]
        method = form.get("jobMethod", [""])[0]
        if not method or not jobs:
            raise self.error("10003")
        parts = [_parse_job(part) for part in jobs.split(";")]
        known = {str(scheduler.id) for scheduler in self.spec.schedulers}
        wanted = [part for part in parts if part is not None and part[0] in known]
        if method != _DELETE or len(wanted) < len(parts):
            raise self.error("10004")
        return self.answer(self._delete_all(caller, wanted))

    def _delete_all(self, caller: Claims, wanted: list[tuple[str, str, str]]) -> dict[str, str]:
        """One message a scheduler, as on the page; the text of a failure is on no page."""
        outcomes: dict[str, list[tuple[str, bool]]] = {}
        for scheduler, user, job_id in wanted:
            done = (
                user == caller.compute_user
                and job_id.isdecimal()
                and self.batch.delete(user, int(job_id), int(scheduler))
            )
            outcomes.setdefault(scheduler, []).append((f"{user}:{job_id}:", done))
        return {
            scheduler: f"jobManagerId : {scheduler}, delete the jobs [{';'.join(job for job, _ in results)}] "
            + ("successfully!" if all(done for _, done in results) else "failed!")
            for scheduler, results in outcomes.items()
        }

    # For the AC interface.

    def charged(self, account: Account) -> float:
        """Return the yuan that the jobs which an account pays for have cost here since the start.

        They are those of its user, and an administrator's account pays for all that have no account.
        """
        payer = account.users.get(self.name)
        if payer is None:
            return 0.0
        having_one = {each.users.get(self.name) for each in self._directory.accounts}
        paid = {payer} | ({*self._users} - having_one if self._users[payer].administrator else set())
        now = self.batch.now
        return sum(self.batch.meters[user].at(now).yuan - self._paid[user] for user in paid)

    def members(self, request: web.Request, caller: str) -> web.Response:
        """Return the list of jobs that the user `caller` asks for here."""
        cluster_id, group_id, user = (request.match_info[part] for part in ("cluster_id", "group_id", "user"))
        group = next((group for group in self.spec.groups if str(group.id) == group_id), None)
        if caller in self.disabled:
            raise self.error("10007")
        if cluster_id != str(self.cluster_id) or group is None:
            raise self.error("10004")
        if user not in self._users:
            raise self.error("911009")
        if self._users[user].group != group.name:
            raise self.error("10008")
        if not self._users[caller].administrator and caller != user:
            raise self.error("10008")
        return json_response(self.writer.member_jobs(self.batch.jobs(user)))

    def group_rows(self, account: Account) -> Iterator[dict[str, Any]]:
        """Yield the rows of the groups that an account administers here, with their members, or of its own group."""
        own = self._users.get(account.users.get(self.name, ""))
        for group in self.spec.groups:
            if own is None or not (own.administrator or own.group == group.name):
                continue
            row = {"groupId": group.id, "groupDisplayName": group.name, "clusterId": self.cluster_id}
            members = [user for user in self.spec.users if user.group == group.name] if own.administrator else [own]
            if own.administrator and self.quirks.members_of_groups == "nested":
                infos = [self._member(user, nested=True) for user in members]
                yield row | self._member(own) | {"accountName": account.user, "groupUsersInfos": infos}
            else:
                yield from (row | self._member(user) | {"accountName": account.user} for user in members)

    def _member(self, user: UserSpec, *, nested: bool = False) -> dict[str, str]:
        """Return the row of a member, which names the platform login and, as the quirks say, the user here."""
        login = self._directory.login_of(self.name, user.name)
        row = {"userName": login, "groupRole": "admin" if user.administrator else "member"}
        if nested:
            row["fullName"] = f"{user.name} 同学"
        if self.quirks.members_named_by == "platform":
            return row
        return row | {"clusterUserName": user.name}

    def center(self, caller: Claims) -> dict[str, Any]:
        """Return the row of this region in the answer of `center` to `caller`."""
        return {
            "id": self.cluster_id,
            "name": self.spec.title or self.name,
            "clusterUserInfo": {"userName": caller.compute_user, "homePath": f"/public/home/{caller.compute_user}"},
            "hpcUrls": [
                {"url": "https://old.example.com:65106/hpc", "enable": "false", "version": "1.0"},
                {"url": f"{self.hpc_url}/hpc", "enable": "true", "version": "2.0"},
                {"url": "https://spare.example.com:65106/hpc", "enable": True, "version": "2.0"},
            ],
            "efileUrls": [{"url": f"{self.ac_url}/efile", "enable": True, "version": "2.0"}],
            "aiUrls": [{"url": f"{self.ac_url}/ai", "enable": False, "version": "2.0"}],
            "ingressUrls": [],
            "eshellUrls": [{"url": f"{self.ac_url}/eshell", "enable": "false", "version": "1.0"}],
        }


def _parse_job(text: str) -> tuple[str, str, str] | None:
    """(scheduler, user, job id) from "1638523853,test:197:"; None where it is not of that form."""
    scheduler, comma, rest = text.partition(",")
    parts = rest.split(":")
    if not comma or len(parts) != len(("user", "job id", "nothing")) or parts[2]:
        return None
    return scheduler, parts[0], parts[1]


def storage_used(user: UserSpec, core_hours: float) -> float:
    """Return the GB that a user occupies after a number of core-hours: more and more, until files have to go."""
    used = user.stored + core_hours * GB_PER_CORE_HOUR
    over = used - FULL * user.quota
    return used if over <= 0 else TIDY * user.quota + over % ((FULL - TIDY) * user.quota)


def queue_row(partition: Partition) -> dict[str, Any]:
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
