"""One simulated region behind its HTTP interfaces, HPC and AC. Paths and forms are those of the official pages."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qs

from aiohttp import web

from exporter.simulator import accounts
from exporter.simulator.accounts import Account
from exporter.simulator.batch import BatchSystem
from exporter.simulator.faults import Faults, pause, strike
from exporter.simulator.forms import Quirks, Writer
from exporter.simulator.request_log import RequestLog, RequestRecord
from exporter.simulator.spec import HOUR, RegionSpec, UserSpec
from exporter.simulator.tokens import (
    PLATFORM_CLUSTER_ID,
    ROLE_ADMINISTRATOR,
    ROLE_MEMBER,
    Claims,
    TokenOffice,
    fingerprint,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_DELETE: Final = "5"  # the only jobMethod that is documented
_SLICE: Final = HOUR  # simulated; a few milliseconds of work


class RefusedError(Exception):
    """The request is answered with this response instead."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


class Region:
    """A region, its batch systems and all that a test may want to see or disturb.

    `batch` holds the jobs, `faults` what goes wrong, `requests` what was asked; `quirks` may be replaced at any
    moment. `clock` gives monotonic seconds, `speed_up` simulated seconds pass in each; `wall_clock` gives Unix
    seconds, for tokens. Addresses are empty until the simulator has started.
    """

    def __init__(
        self,
        spec: RegionSpec,
        office: TokenOffice,
        *,
        seed: int = 1,
        speed_up: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        quirks: Quirks | None = None,
        logins: Sequence[Account] = (),
    ) -> None:
        self.spec = spec
        self.wall_clock = wall_clock
        self.hpc_url = ""
        self.ac_url = ""
        self.writer = Writer(quirks or Quirks(), random.Random(f"forms/{seed}/{spec.name}"))
        self.faults = Faults(random.Random(f"faults/{seed}/{spec.name}"), wall_clock)
        self.requests = RequestLog()
        self.stopping = asyncio.Event()
        self.disabled: set[str] = set()
        self.peers: Sequence[Region] = (self,)
        self._office = office
        self._logins = {account.user: account for account in logins}
        self._users = {user.name: user for user in spec.users}
        self._clock = clock
        self._began = clock()
        self._speed_up = speed_up
        self._start = wall_clock()
        self.batch = BatchSystem(spec, seed, self._start - spec.warm_up)
        self.batch.advance_to(self._start)

    @property
    def name(self) -> str:
        return self.spec.name

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

    async def advance(self) -> float:
        """Let simulated time catch up with the clock; every request does so first. Returns the simulated time."""
        until = self._start + (self._clock() - self._began) * self._speed_up
        # In slices: after a long pause without requests there is a lot to catch up with, and others want the loop.
        while self.batch.now + _SLICE < until:
            self.batch.advance_to(self.batch.now + _SLICE)
            await asyncio.sleep(0)
        self.batch.advance_to(until)
        return self.batch.now

    # Tokens

    def token(self, user: str) -> str:
        """A new token of a scheduler user; KeyError where there is none of that name."""
        spec = self._users[user]
        return self._issue(spec, spec.name)

    def expire_tokens(self) -> None:
        """Every token issued for this region so far is expired from now on."""
        self._office.expire(self._claimed_id)

    def revoke(self, token: str) -> None:
        """A token that is refused from now on, and cannot be renewed."""
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
        """What a login gets from this region; None where the login is nobody here."""
        user = account.users.get(self.name)
        if user is None:
            return None
        token = None if user in self.disabled else self._issue(self._users[user], account.user)
        return {"clusterName": self.spec.title or self.name, "clusterId": str(self.cluster_id), "token": token}

    # Routes

    def hpc_routes(self) -> list[web.RouteDef]:
        return [
            web.get("/hpc/openapi/v2/view/queue/jobs", self._face("queue_jobs", self._queue_jobs)),
            web.get("/hpc/openapi/v2/cluster", self._face("cluster", self._cluster)),
            web.get("/hpc/openapi/v2/view/cpucore/state", self._face("region_cores", self._cores)),
            web.delete("/hpc/openapi/v2/jobs", self._face("delete", self._delete)),
        ]

    def ac_routes(self) -> list[web.RouteDef]:
        members = "/ac/openapi/v2/clusters/{cluster_id}/groups/{group_id}/clusterUserNames/{user}/jobs"
        return [
            web.get(members, self._face("member_jobs", self._member_jobs)),
            web.post("/api/user/v3/tokens", self._face("login", self._access_key_login)),
            web.post("/ac/openapi/v2/tokens", self._face("login", self._password_login)),
            web.get("/ac/openapi/v2/tokens/state", self._face("state", self._token_state)),
            web.post("/ac/openapi/v2/tokens/next", self._face("next", self._renew)),
            web.get("/ac/openapi/v2/center", self._face("center", self._center)),
        ]

    def _face(self, endpoint: str, answer: Callable[[web.Request], Awaitable[web.Response]]) -> Handler:
        """What every request to the API goes through: the log, simulated time, faults, the answer."""

        async def handle(request: web.Request) -> web.StreamResponse:
            record = self._record(endpoint, request)
            began = self._clock()
            with self.requests.note(record):
                record.body = await request.text()
                response = await self._disturbed(endpoint, request, answer)
                if not response.prepared:
                    response.headers["Date"] = formatdate(self.wall_clock(), usegmt=True)
                if response.prepared or not (request.transport is None or request.transport.is_closing()):
                    record.status = response.status
                record.duration = self._clock() - began
            return response

        return handle

    async def _disturbed(
        self, endpoint: str, request: web.Request, answer: Callable[[web.Request], Awaitable[web.Response]]
    ) -> web.StreamResponse:
        async def right() -> web.Response:
            await self.advance()
            try:
                return await answer(request)
            except RefusedError as refused:
                return refused.response

        seconds, fault = self.faults.take(endpoint, self._concerned(request))
        if seconds:
            await pause(self, seconds)
        return await (right() if fault is None else strike(fault, self, request, right))

    def _record(self, endpoint: str, request: web.Request) -> RequestRecord:
        token = request.headers.get("token", "")
        return RequestRecord(
            time=self.wall_clock(),
            endpoint=endpoint,
            method=request.method,
            path=request.raw_path,
            user=self._concerned(request),
            token=fingerprint(token),
        )

    def _concerned(self, request: web.Request) -> str:
        """The user asked about, or who asks where the request names none."""
        if named := request.match_info.get("user") or request.query.get("userName") or request.headers.get("user"):
            return named
        _, claims = self._office.check(request.headers.get("token", ""), self._claimed_id)
        return claims.compute_user if claims else ""

    # Who may ask what

    def refuse_token(self) -> web.Response:
        """How this region says that it does not accept a token."""
        style = self.quirks.refusal_style
        if style in ("401", "403"):
            return self._json(self.writer.envelope(None, "911406"), status=int(style))
        return self._json(self.writer.envelope(None, style))

    def _caller(self, request: web.Request) -> Claims:
        verdict, claims = self._office.check(request.headers.get("token", ""), self._claimed_id)
        if verdict != "valid" or claims is None:
            raise RefusedError(self.refuse_token())
        if claims.compute_user in self.disabled:
            raise self._error("10007")
        return claims

    def _json(self, body: bytes, status: int = 200) -> web.Response:
        return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")

    def _answer(self, data: Any) -> web.Response:
        return self._json(self.writer.envelope(data))

    def _error(self, code: str) -> RefusedError:
        return RefusedError(self._json(self.writer.envelope(None, code)))

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
            return self._json(self.writer.queue_jobs(()))
        return self._json(self.writer.queue_jobs(self.batch.queue_rows(user)))

    async def _cluster(self, request: web.Request) -> web.Response:
        self._caller(request)
        return self._json(self.writer.schedulers(self.spec.schedulers))

    async def _cores(self, request: web.Request) -> web.Response:
        self._caller(request)
        return self._json(self.writer.cores(*self.batch.cores()))

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
        """The list of jobs that `caller` asks for here."""
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
        return self._json(self.writer.member_jobs(self.batch.jobs(user)))

    async def _access_key_login(self, request: web.Request) -> web.Response:
        account = self._logins.get(request.headers.get("user", ""))
        if account is None or not accounts.access_key_accepted(account, request.headers, self.wall_clock()):
            raise self._error("10008")
        return self._answer(self._login_rows(account))

    async def _password_login(self, request: web.Request) -> web.Response:
        account = self._logins.get(request.headers.get("user", ""))
        if account is None or not accounts.password_accepted(account, request.headers):
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
        token = self._office.renew(request.headers.get("token", ""), self._meant(request)._claimed_id)  # noqa: SLF001 - as above
        if token is None:
            return self.refuse_token()
        form = self.quirks.renewal_form
        return self._answer({"text": token, "object": {"token": token}, "list": [{"token": token}]}[form])

    async def _center(self, request: web.Request) -> web.Response:
        verdict, _ = self._office.check(request.headers.get("token", ""), PLATFORM_CLUSTER_ID)
        if verdict == "valid":
            raise self._error("10001")
        meant = self._meant(request)
        return self._answer(meant.center(meant._caller(request)))  # noqa: SLF001 - another region of this class

    def _meant(self, request: web.Request) -> "Region":
        """The region that a request to an AC address concerns: the platform is one, and the token says which region."""
        _, claims = self._office.check(request.headers.get("token", ""), self._claimed_id)
        if claims is None or claims.cluster_id == self._claimed_id:
            return self
        return next((peer for peer in self.peers if peer._claimed_id == claims.cluster_id), self)  # noqa: SLF001 - as above

    def center(self, caller: Claims) -> dict[str, Any]:
        """What `center` says of this region to `caller`."""
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
