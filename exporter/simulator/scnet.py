"""A simulated SCNet region behind its HTTP interfaces, HPC and AC. Paths and forms are those of the official pages."""

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import parse_qs

from aiohttp import web

from exporter.simulator.api_base import RefusedError, SimulatedApi, World
from exporter.simulator.batch import SimJob, State
from exporter.simulator.faults import NullForm, dump, json_response
from exporter.simulator.spec import RegionSpec, SchedulerSpec, UserSpec
from exporter.simulator.tokens import PLATFORM_CLUSTER_ID, ROLE_ADMINISTRATOR, ROLE_MEMBER, Claims, TokenOffice

_DELETE: Final = "5"  # the only jobMethod that is documented

RefusalStyle = Literal["401", "403", "10008", "10009", "911406"]
RenewalForm = Literal["text", "object", "list"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Deviations of a region from the pages' examples."""

    refusal_style: RefusalStyle = "911406"  # of a token
    renewal_form: RenewalForm = "text"
    foreign_queue: Literal["denied", "empty"] = "denied"  # queue statistics of another user
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


TIMESTAMP_TOLERANCE = 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Account:
    """A platform login. `users` maps a region's name to the scheduler user there, who has another name in general.

    `balance` is in yuan.
    """

    user: str
    access_key: str
    secret_key: str
    password: str
    org_id: str = "sugon"
    users: Mapping[str, str] = field(default_factory=dict)
    balance: float = 100_000.0


def signature(secret_key: str, *, access_key: str, timestamp: str, user: str) -> str:
    """Return the value of the header `signature` for the access-key login."""
    # Written out rather than dumped: the page fixes every character, also where a value would need an escape.
    text = f'{{"accessKey":"{access_key}","timestamp":"{timestamp}","user":"{user}"}}'
    return hmac.digest(secret_key.encode(), text.encode(), "sha256").hex()


def access_key_accepted(account: Account, headers: Mapping[str, str], now: float) -> bool:
    """Whether the headers accessKey, timestamp (Unix seconds) and signature are this account's, and fresh."""
    timestamp = headers.get("timestamp", "")
    if not timestamp.isdecimal() or abs(int(timestamp) - now) > TIMESTAMP_TOLERANCE:
        return False
    if headers.get("accessKey") != account.access_key:
        return False
    expected = signature(account.secret_key, access_key=account.access_key, timestamp=timestamp, user=account.user)
    return hmac.compare_digest(expected.encode(), headers.get("signature", "").encode())


def password_accepted(account: Account, headers: Mapping[str, str]) -> bool:
    return headers.get("password") == account.password and headers.get("orgId") == account.org_id


class Region(SimulatedApi):
    """A region with its HPC and AC interfaces. `peers` are all regions of its platform, `logins` the platform's accounts."""

    token_header = "token"  # noqa: S105 - a header's name
    writer: Writer

    def __init__(
        self,
        spec: RegionSpec,
        office: TokenOffice,
        world: World,
        *,
        quirks: Quirks | None = None,
        logins: Sequence[Account] = (),
    ) -> None:
        super().__init__(spec.name, spec, world)
        self.spec = spec
        self.hpc_url = ""
        self.ac_url = ""
        self.writer = Writer(quirks or Quirks())
        self.disabled: set[str] = set()
        self.peers: Sequence[Region] = (self,)
        self._office = office
        self._logins = {account.user: account for account in logins}
        self._users = {user.name: user for user in spec.users}

    @property
    def cluster_id(self) -> int:
        return self.spec.cluster_id

    @property
    def quirks(self) -> Quirks:
        return self.writer.quirks

    @quirks.setter
    def quirks(self, quirks: Quirks) -> None:
        self.writer.quirks = quirks

    def set_quirks(self, **changes: Any) -> None:
        """Change some of the `quirks`."""
        self.quirks = replace(self.quirks, **changes)

    # Tokens

    def token(self, user: str) -> str:
        """Return a new token of a scheduler user; KeyError where there is none of that name."""
        spec = self._users[user]
        return self._issue(spec, spec.name)

    def expire_tokens(self) -> None:
        """Every token issued for this region so far is expired from now on."""
        self._office.expire(self._claimed_id)

    def expire_platform_tokens(self) -> None:
        """Every token of the platform itself issued so far is expired from now on."""
        self._office.expire(PLATFORM_CLUSTER_ID)

    def set_login(self, account: Account) -> None:
        """Replace what is known of a login, by its user."""
        self._logins[account.user] = account

    def revoke(self, token: str) -> None:
        """Reject this token from now on; it cannot be renewed."""
        self._office.revoke(token)

    def disable(self, user: str) -> None:
        """Freeze a scheduler user here: logins give a null token, requests are answered with 10007."""
        self.disabled.add(user)

    @property
    def _claimed_id(self) -> str:
        return self.quirks.token_cluster_id or str(self.cluster_id)

    def _issue(self, user: UserSpec, login: str) -> str:
        role = ROLE_ADMINISTRATOR if user.administrator else ROLE_MEMBER
        return self._office.issue(compute_user=user.name, user=login, cluster_id=self._claimed_id, role=role)

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
        hpc, ac = self._hpc_routes(), self._ac_routes()
        return [hpc, ac] if self.spec.separate_ac_port else [hpc + ac]

    def listens_at(self, *urls: str) -> None:
        self.hpc_url, self.ac_url = urls[0], urls[-1]

    def _hpc_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/hpc/openapi/v2/view/queue/jobs", self.handler("queue_jobs", self._queue_jobs)),
            web.get("/hpc/openapi/v2/cluster", self.handler("schedulers", self._cluster)),
            web.get("/hpc/openapi/v2/view/cpucore/state", self.handler("region_cores", self._cores)),
            web.delete("/hpc/openapi/v2/jobs", self.handler("delete", self._delete)),
        ]

    def _ac_routes(self) -> list[web.RouteDef]:
        members = "/ac/openapi/v2/clusters/{cluster_id}/groups/{group_id}/clusterUserNames/{user}/jobs"
        return [
            web.get(members, self.handler("member_jobs", self._member_jobs)),
            web.post("/api/user/v3/tokens", self.handler("login", self._access_key_login)),
            web.post("/ac/openapi/v2/tokens", self.handler("login", self._password_login)),
            web.get("/ac/openapi/v2/tokens/state", self.handler("state", self._token_state)),
            web.post("/ac/openapi/v2/tokens/next", self.handler("next", self._renew)),
            web.get("/ac/openapi/v2/center", self.handler("center", self._center)),
            web.get("/ac/openapi/v2/user", self.handler("account", self._account)),
        ]

    def concerned(self, request: web.Request) -> tuple[str, None]:
        """Return the user that the request is about, or who sends it where it names none."""
        if named := request.match_info.get("user") or request.query.get("userName") or request.headers.get("user"):
            return named, None
        _, claims = self._office.check(self._token(request), self._claimed_id)
        return claims.compute_user if claims else "", None

    def _token(self, request: web.Request) -> str:
        return request.headers.get(self.token_header, "")

    # Permissions

    def refuse_token(self) -> web.Response:
        """Return the response to a token that is not accepted."""
        style = self.quirks.refusal_style
        if style in ("401", "403"):
            return json_response(self.writer.envelope(None, "911406"), status=int(style))
        return json_response(self.writer.envelope(None, style))

    def _caller(self, request: web.Request) -> Claims:
        verdict, claims = self._office.check(self._token(request), self._claimed_id)
        if verdict != "valid" or claims is None:
            raise RefusedError(self.refuse_token())
        if claims.compute_user in self.disabled:
            raise self._error("10007")
        return claims

    def _answer(self, data: Any) -> web.Response:
        return json_response(self.writer.envelope(data))

    def _error(self, code: str) -> RefusedError:
        return RefusedError(json_response(self.writer.envelope(None, code)))

    # HPC

    async def _queue_jobs(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        user = request.query.get("userName")
        if not user:
            raise self._error("10003")
        if user not in self._users:
            raise self._error("911009")
        if user != caller.compute_user:
            if self.quirks.foreign_queue == "denied":
                raise self._error("10008")
            return json_response(self.writer.queue_jobs(()))
        return json_response(self.writer.queue_jobs(self.batch.queue_rows(user)))

    async def _cluster(self, request: web.Request) -> web.Response:
        self._caller(request)
        return json_response(self.writer.schedulers(self.spec.schedulers))

    async def _cores(self, request: web.Request) -> web.Response:
        self._caller(request)
        return json_response(self.writer.cores(*self.batch.cores()))

    async def _delete(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        form = parse_qs(await request.text(), keep_blank_values=True)
        jobs = form.get("strJobInfoMap", [""])[0]
        method = form.get("jobMethod", [""])[0]
        if not method or not jobs:
            raise self._error("10003")
        parts = [_parse_job(part) for part in jobs.split(";")]
        known = {str(scheduler.id) for scheduler in self.spec.schedulers}
        wanted = [part for part in parts if part is not None and part[0] in known]
        if method != _DELETE or len(wanted) < len(parts):
            raise self._error("10004")
        return self._answer(self._delete_all(caller, wanted))

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

    # AC

    async def _member_jobs(self, request: web.Request) -> web.Response:
        meant = self._meant(request)
        await meant.advance()
        return meant.members(request, meant._caller(request))  # noqa: SLF001 - another region of this class

    def members(self, request: web.Request, caller: Claims) -> web.Response:
        """Return the list of jobs that `caller` asks for here."""
        cluster_id, group_id, user = (request.match_info[part] for part in ("cluster_id", "group_id", "user"))
        group = next((group for group in self.spec.groups if str(group.id) == group_id), None)
        if cluster_id != str(self.cluster_id) or group is None:
            raise self._error("10004")
        if user not in self._users:
            raise self._error("911009")
        if self._users[user].group != group.name:
            raise self._error("10008")
        if caller.role != ROLE_ADMINISTRATOR and caller.compute_user != user:
            raise self._error("10008")
        return json_response(self.writer.member_jobs(self.batch.jobs(user)))

    async def _access_key_login(self, request: web.Request) -> web.Response:
        return self._login(request, lambda account, sent: access_key_accepted(account, sent, self.wall_clock()))

    async def _password_login(self, request: web.Request) -> web.Response:
        return self._login(request, password_accepted)

    def _login(self, request: web.Request, accepted: Callable[[Account, Mapping[str, str]], bool]) -> web.Response:
        account = self._logins.get(request.headers.get("user", ""))
        if account is None or not accepted(account, request.headers):
            raise self._error("10008")
        return self._answer(self._login_rows(account))

    def _login_rows(self, account: Account) -> list[dict[str, str | None]]:
        """One row a region behind the platform's own: a client that takes the first row takes the wrong one."""
        platform = self._office.issue(compute_user="", user=account.user, cluster_id=PLATFORM_CLUSTER_ID)
        rows: list[dict[str, str | None]] = [{"clusterName": "ac", "clusterId": PLATFORM_CLUSTER_ID, "token": platform}]
        return rows + [row for region in self.peers if (row := region.login_row(account))]

    async def _token_state(self, request: web.Request) -> web.Response:
        self._meant(request)._caller(request)  # noqa: SLF001 - another region of this class
        return self._answer("token is valid")

    async def _renew(self, request: web.Request) -> web.Response:
        token = self._office.renew(self._token(request), self._meant(request)._claimed_id)  # noqa: SLF001 - as above
        if token is None:
            return self.refuse_token()
        form = self.quirks.renewal_form
        return self._answer({"text": token, "object": {"token": token}, "list": [{"token": token}]}[form])

    async def _center(self, request: web.Request) -> web.Response:
        verdict, _ = self._office.check(self._token(request), PLATFORM_CLUSTER_ID)
        if verdict == "valid":
            raise self._error("10001")
        meant = self._meant(request)
        return self._answer(meant.center(meant._caller(request)))  # noqa: SLF001 - another region of this class

    async def _account(self, request: web.Request) -> web.Response:
        """Take the platform's token only."""
        verdict, claims = self._office.check(self._token(request), PLATFORM_CLUSTER_ID)
        if verdict != "valid" or claims is None:
            raise RefusedError(self.refuse_token())
        account = self._logins[claims.user]
        return self._answer(
            {
                "accountStatus": "Normal" if account.balance >= 0 else "Owe",
                "accountBalance": f"{account.balance:.2f}",
                "accountName": account.user,
                "userName": account.user,
                "fullName": "王小明",
                "computerCenter": self.spec.title or self.name,
            }
        )

    def _meant(self, request: web.Request) -> "Region":
        """Return the region that a request to an AC address concerns: the platform is one, and the token says which region."""
        _, claims = self._office.check(self._token(request), self._claimed_id)
        if claims is None or claims.cluster_id == self._claimed_id:
            return self
        return next((peer for peer in self.peers if peer._claimed_id == claims.cluster_id), self)  # noqa: SLF001 - as above

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
