"""A simulated Octopus project behind its HTTP interface, with the IAM that its tokens come from."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import formatdate
from typing import Final

from aiohttp import web

from exporter.simulator.batch import BatchSystem, State
from exporter.simulator.faults import Faults, pause, strike
from exporter.simulator.forms import dump
from exporter.simulator.octopus_forms import ERRORS, OctopusQuirks, OctopusWriter, Row
from exporter.simulator.octopus_iam import IamOffice, iso, wanted_scope
from exporter.simulator.octopus_spec import DataQueueSpec, ProjectSpec
from exporter.simulator.request_log import RequestLog, RequestRecord
from exporter.simulator.spec import DAY, HOUR
from exporter.simulator.tokens import fingerprint

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Answer = Callable[[web.Request], Awaitable[web.Response]]
QueueKey = tuple[str, str, str]

_TOKEN: Final = "X-Auth-Token"  # noqa: S105 - a header's name
_SLICE: Final = HOUR
_SAID: Final = {
    "missing": ("APIG.0301", "Incorrect IAM authentication information: x-auth-token not found"),
    "foreign": ("APIG.0301", "Incorrect IAM authentication information: decrypt token fail"),
    "expired": ("APIG.0301", "Incorrect IAM authentication information: token expires"),
    "elsewhere": ("APIG.0307", "The token must be updated"),
}


class OctopusProject:
    """A project and all that a test may want to see or disturb; the parts are those of `Region`.

    `rows` holds queues whose content is not the batch system's, by (queue_type, cluster_type, cluster_id); `after_page`
    is called with that key after each page, and may move the queue. `url` is the address of Octopus and IAM.
    """

    def __init__(
        self,
        spec: ProjectSpec,
        *,
        seed: int = 1,
        speed_up: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        token_lifetime: float = DAY,
        quirks: OctopusQuirks | None = None,
    ) -> None:
        self.spec = spec
        self.url = ""
        self.wall_clock = wall_clock
        self.writer = OctopusWriter(quirks or OctopusQuirks(), wall_clock)
        self.faults = Faults(random.Random(f"faults/{seed}/{spec.name}"), wall_clock)
        self.requests = RequestLog()
        self.stopping = asyncio.Event()
        self.office = IamOffice(f"{seed}/{spec.name}", wall_clock, token_lifetime)
        self.max_limit = spec.max_limit
        self.rows: dict[QueueKey, list[Row]] = {}
        self.after_page: Callable[[QueueKey], None] = lambda _: None
        self._clock = clock
        self._began = clock()
        self._speed_up = speed_up
        self._start = wall_clock()
        self.batch = BatchSystem(spec.batch, seed, self._start - spec.batch.warm_up)
        self.batch.advance_to(self._start)

    @property
    def name(self) -> str:
        return self.spec.name

    def token(self) -> str:
        """A new token of the project's region."""
        return self.office.issue(self.spec.region)[0]

    def expire_tokens(self) -> None:
        """Every token issued so far is expired from now on."""
        self.office.expire()

    async def advance(self) -> float:
        """Let simulated time catch up with the clock; every request does so first. Returns the simulated time."""
        until = self._start + (self._clock() - self._began) * self._speed_up
        while self.batch.now + _SLICE < until:
            self.batch.advance_to(self.batch.now + _SLICE)
            await asyncio.sleep(0)
        self.batch.advance_to(until)
        return self.batch.now

    def queued(self, queue: DataQueueSpec) -> list[Row]:
        """The queue now, in its order."""
        if queue.key in self.rows:
            return self.rows[queue.key]
        waiting = [
            job
            for user in self.spec.batch.users
            for job in self.batch.jobs(user.name)
            if job.queue == queue.fed_by and job.state is State.QUEUED
        ]
        rows = [self.writer.row(self.spec, queue, job) for job in waiting]
        return sorted(rows, key=lambda row: (-row["priority"], row["rank_stamp"], row["id"]))

    # Routes

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1.0/{project_id}/data/queuing-jobs", self._face("queuing_jobs", self._queuing_jobs)),
            web.post("/v3/auth/tokens", self._face("iam", self._login)),
        ]

    def _face(self, endpoint: str, answer: Answer) -> Handler:
        """What every request goes through: the log, simulated time, faults, the answer."""

        async def handle(request: web.Request) -> web.StreamResponse:
            began = self._clock()
            record = self._record(endpoint, request)
            with self.requests.note(record):
                record.body = await request.text()
                response = await self._disturbed(endpoint, request, answer)
                if not response.prepared:
                    response.headers["Date"] = formatdate(self.wall_clock(), usegmt=True)
                record.status = response.status
                record.duration = self._clock() - began
            return response

        return handle

    async def _disturbed(self, endpoint: str, request: web.Request, answer: Answer) -> web.StreamResponse:
        async def right() -> web.Response:
            await self.advance()
            return await answer(request)

        offset = number(request.query.get("offset", "0"))
        seconds, fault = self.faults.take(endpoint, request.query.get("queue_type", ""), offset)
        if seconds:
            await pause(self, seconds)
        return await (right() if fault is None else strike(fault, self, request, right))

    def _record(self, endpoint: str, request: web.Request) -> RequestRecord:
        return RequestRecord(
            time=self.wall_clock(),
            endpoint=endpoint,
            method=request.method,
            path=request.raw_path,
            user=request.query.get("queue_type", ""),
            token=fingerprint(request.headers.get(_TOKEN, "")),
        )

    # Answers

    def refuse_token(self) -> web.Response:
        """How the gateway says that it does not accept a token."""
        return self._error("APIG.0301")

    async def _queuing_jobs(self, request: web.Request) -> web.Response:
        verdict = self.office.check(request.headers.get(_TOKEN, ""), self.spec.region)
        if verdict != "valid":
            return self._error(*_SAID[verdict])
        if request.match_info["project_id"] != self.spec.project_id:
            return self._error("octopus.400003")
        query = request.query
        key = (query.get("queue_type", ""), query.get("cluster_type", ""), query.get("cluster_id", ""))
        if not key[0] or (key[1] == "MODELARTS" and not key[2]):
            return self._error("octopus.400000", "queue_type or cluster_id is missing")
        limit, offset = number(query.get("limit", str(self.spec.default_limit))), number(query.get("offset", "0"))
        if limit is None or offset is None or not 1 <= limit <= self.max_limit:
            return self._error("octopus.400000", f"limit must be from 1 to {self.max_limit}")
        rows = self._matching(key)
        body = self.writer.page(rows[offset : offset + limit], offset, limit, len(rows))
        self.after_page(key)
        return json_response(body)

    def _matching(self, key: QueueKey) -> Sequence[Row]:
        """The rows of every queue that fits; a part that is left out restricts nothing."""
        queues = {queue.key: queue for queue in self.spec.queues}
        for held in self.rows:
            queues.setdefault(held, DataQueueSpec(held[0], "", held[1], held[2]))
        fitting = [
            queue
            for queue in queues.values()
            if all(not wanted or wanted == part for wanted, part in zip(key, queue.key, strict=True))
        ]
        return [row for queue in fitting for row in self.queued(queue)]

    async def _login(self, request: web.Request) -> web.Response:
        scope = wanted_scope(await request.read())
        if scope is None:
            return iam_error(400, "Request body is invalid.", "Bad Request")
        user, project = scope
        spec = self.spec
        if (user["domain"]["name"], user["name"], user["password"]) != (spec.domain, spec.user, spec.password):
            return iam_error(401, "The username or password is wrong.", "Unauthorized")
        region = spec.region if project.get("id") == spec.project_id else project.get("name")
        if region not in (spec.region, *spec.other_regions):
            return iam_error(400, "The project does not exist.", "Bad Request")
        token, issued = self.office.issue(region)
        body = {
            "token": {"expires_at": iso(issued.expires), "issued_at": iso(self.wall_clock()), "methods": ["password"]}
        }
        return json_response(dump(body), 201, {"X-Subject-Token": token})

    def _error(self, code: str, message: str | None = None) -> web.Response:
        return json_response(self.writer.error(code, message), ERRORS[code][0])


def number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None  # noqa: PLR2004 - no queue is longer


def iam_error(status: int, message: str, title: str) -> web.Response:
    """IAM wraps its errors in an object of its own."""
    return json_response(dump({"error": {"code": status, "message": message, "title": title}}), status)


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body, status=status, headers=headers, content_type="application/json", charset="utf-8")
