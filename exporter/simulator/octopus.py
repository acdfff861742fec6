"""A simulated Octopus project behind its HTTP interface, with the IAM that its tokens come from."""

import json
import random
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final, Literal, NamedTuple

from aiohttp import web

from exporter.simulator.api_base import RefusedError, SimulatedApi, World
from exporter.simulator.batch import ON_NODES, BatchSystem, SimJob, State
from exporter.simulator.faults import NullForm, dump, json_response
from exporter.simulator.spec import (
    DAY,
    HOUR,
    MINUTE,
    Demand,
    GroupSpec,
    Habits,
    QueueSpec,
    RegionSpec,
    SchedulerSpec,
    UserSpec,
)

Verdict = Literal["valid", "missing", "foreign", "expired", "elsewhere"]
QueueKey = tuple[str, str, str]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DataQueueSpec:
    """A queue of data jobs: those that wait in the batch system's queue `fed_by`; "" for a cluster that has no name."""

    queue_type: str
    fed_by: str
    cluster_type: str = ""
    cluster_id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.queue_type, self.cluster_type, self.cluster_id


@dataclass(frozen=True, slots=True)
class ProjectSpec:
    """A project. `batch` is what fills its queues; `region` is what its users' tokens are scoped to.

    `max_limit` is the largest page that it serves; the login is of a service that does not exist.
    """

    name: str
    project_id: str
    batch: RegionSpec
    queues: tuple[DataQueueSpec, ...]
    region: str = "cn-north-11"
    domain: str = "simulated-company"
    user: str = "exporter"
    password: str = "simulator-password"  # noqa: S105 - see above
    max_limit: int = 200
    default_limit: int = 10
    other_regions: tuple[str, ...] = field(default=("cn-east-3",))


def default_project(index: int = 0) -> ProjectSpec:
    """Return a busy project: the queue of the processors takes several pages, the internal one comes and goes."""
    name = "driving" if index == 0 else f"driving-{index + 1}"
    processor = QueueSpec("processor", nodes=10, cores=32, time_limit=12 * HOUR)
    internal = QueueSpec("internal", nodes=3, cores=16, time_limit=4 * HOUR)
    scheduler = SchedulerSpec(id=1700000001 + index, queues=(processor, internal), name="DataCluster", first_job_id=1)
    teams = tuple(
        UserSpec(
            team,
            "data",
            (
                Demand("processor", 60, 20 * MINUTE, cores=(2, 4, 8, 8), max_pending=110),
                Demand("internal", 40, 6 * MINUTE, cores=(1, 2, 4), max_pending=40),
            ),
        )
        for team in ("mining", "labelling", "replay")
    )
    return ProjectSpec(
        name=name,
        project_id=f"{index:02x}7679f0aa05c0f0ad2f5e902b",
        batch=RegionSpec(
            name=name,
            cluster_id=90_000 + index,
            schedulers=(scheduler,),
            groups=(GroupSpec(1, "data"),),
            users=teams,
            habits=Habits(oddly_named=0.0),
        ),
        queues=(
            DataQueueSpec("PROCESSOR", "processor", "MODELARTS", "pool-1"),
            DataQueueSpec("INTERNAL", "internal"),
        ),
    )


def default_projects(count: int = 1, *, truth_kept_for: float = DAY) -> tuple[ProjectSpec, ...]:
    projects = (default_project(index) for index in range(count))
    return tuple(replace(each, batch=replace(each.batch, truth_kept_for=truth_kept_for)) for each in projects)


Spelling = Literal["error_code", "errorCode", "code"]
TimeForm = Literal["iso", "milliseconds", "text", "absent"]

# Added to the number of a queue's entry.
FIRST_JOB_ID: Final = 1_000_000
JOB_TYPES: Final = (
    *("PACKAGE_IMPORT", "PACKAGE_DELETE", "SCENARIO_AUTO_MINING"),
    *("SCENARIO_TO_SIM", "FRAME_EXTRACT", "SCENARIO_EXTRACT"),
)
OUTPUT_TYPES: Final = ("DATA_MARK", "OPEN_DATA", "DATA_SET", "REPLAY_SIM", "PLOT_DATA")
PROCESSORS: Final = ("lane-detection", "pedestrian-mining", "点云标注", "image-dedup")
# Undocumented forms, for clients that guess.
ODD_SHARE: Final = 0.05
ODD_SPECS: Final = ("modelarts.vm.cpu.2u", "4U16G", "")

# Status and message of each documented error.
ERRORS: Final = {
    "octopus.400000": (400, "Request parameter verification failed."),
    "octopus.400001": (401, "The request token is invalid."),
    "octopus.400003": (403, "Insufficient permission to operate."),
    "octopus.400004": (404, "The resource does not exist."),
    "octopus.400100": (500, "Internal server error."),
    "octopus.400102": (502, "Bad gateway."),
    "APIG.0101": (404, "The API does not exist or has not been published in the environment"),
    "APIG.0201": (504, "Backend timeout"),
    "APIG.0301": (401, "Incorrect IAM authentication information"),
    "APIG.0307": (401, "The token must be updated"),
    "APIG.0308": (429, "The throttling threshold has been reached"),
}
_MESSAGE_NAMES: Final = {"error_code": "error_msg", "errorCode": "errorMsg", "code": "message"}
# Code and message for each verdict on a token.
_REJECTIONS: Final = {
    "missing": ("APIG.0301", "Incorrect IAM authentication information: x-auth-token not found"),
    "foreign": ("APIG.0301", "Incorrect IAM authentication information: decrypt token fail"),
    "expired": ("APIG.0301", "Incorrect IAM authentication information: token expires"),
    "elsewhere": ("APIG.0307", "The token must be updated"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OctopusQuirks:
    """Deviations of a project from the page's examples."""

    spelling: Spelling = "error_code"
    time_form: TimeForm = "milliseconds"
    clock_ahead: float = 0.0  # seconds


class OctopusWriter:
    """Writes a project's answers as its `quirks` say, which may be replaced at any moment."""

    def __init__(self, quirks: OctopusQuirks, now: Callable[[], float]) -> None:
        self.quirks = quirks
        self._now = now

    def envelope(self, data: Any = None, code: str = "0") -> bytes:
        """Return an error; with "0" a page whose payload is `data`."""
        if code == "0":
            return dump(self._meta() | {"payload": data})
        return self.error(code)

    def no_jobs(self, form: NullForm) -> bytes:
        """Return an answer without rows."""
        return b"null" if form == "null" else self.page([], 0, 10, 0)

    def error(self, code: str, message: str | None = None) -> bytes:
        name = self.quirks.spelling
        text = ERRORS.get(code, (0, "error"))[1] if message is None else message
        return dump({name: code, _MESSAGE_NAMES[name]: text})

    def page(self, rows: Sequence[Row], offset: int, limit: int, total: int, now: float | None = None) -> bytes:
        """Return a page of rows; `now` is the time of the batch system, where the rows have such times."""
        info = {"offset": offset, "limit": limit, "total": total}
        return dump(self._meta(now) | {"payload": {"list": list(rows), "page_info": info}})

    def _meta(self, now: float | None = None) -> dict[str, Any]:
        now = (self._now() if now is None else now) + self.quirks.clock_ahead
        milliseconds = int(now * 1000)
        forms = {"iso": iso(now), "milliseconds": milliseconds, "text": str(milliseconds)}
        form = self.quirks.time_form
        return {"meta_info": {} if form == "absent" else {"current_time": forms[form]}}


# Each page is cut out of the whole queue, whose rows would be drawn anew for each.
@lru_cache(4096)
def data_row(project_id: str, queue: DataQueueSpec, job_id: int, cores: int, ranked: float) -> Row:
    """Return a data job that waits, drawn by its number, so that it stays the same from page to page."""
    draw = random.Random(zlib.crc32(f"{queue.key}/{job_id}".encode()))
    row: Row = {
        "id": job_id,
        "job_id": FIRST_JOB_ID + job_id,
        "job_type": draw.choice(JOB_TYPES),
        "data_id": f"DPK{job_id:07d}",
        "rank_stamp": int(ranked * 1000),
        "project_id": project_id,
        "resource_spec": f"{cores}Core_{4 * cores}GiB",
        "priority": draw.choice((0, 0, 0, 10, -10)),
        "queue_type": queue.queue_type,
        "workspace_id": "0",
    }
    if queue.queue_type != "INTERNAL":
        row |= {
            "processor_id": 1 + draw.randrange(len(PROCESSORS)),
            "processor_name": draw.choice(PROCESSORS),
            "source": "API",
            "output_type": draw.choice(OUTPUT_TYPES),
        }
    if queue.cluster_type:
        row |= {"cluster_type": queue.cluster_type, "cluster_id": queue.cluster_id}
    if draw.random() < ODD_SHARE:
        row["resource_spec"] = draw.choice(ODD_SPECS)
    return row


# The status of a job that is open, and of one that ended.
JOB_STATUS: Final = {State.QUEUED: "QUEUING", State.EXITING: "UPLOADING"} | dict.fromkeys(
    (State.HELD, State.WAITING, State.REQUEUED), "QUEUING"
)
END_STATUS: Final = {State.COMPLETED: "FINISHED", State.DELETED: "STOPPED"}


class DataJob(NamedTuple):
    """A job as it is listed; times in Unix seconds."""

    job: SimJob
    status: str
    started: float | None
    ended: float | None = None

    def row(self) -> Row:
        """Return it as it is sent; its id is the `job_id` of its entry in the queue."""
        moments = {"create_at": self.job.submitted, "start_at": self.started, "end_at": self.ended}
        times = {name: int(moment * 1000) for name, moment in moments.items() if moment is not None}
        job_id = self.job.id
        return {"id": FIRST_JOB_ID + job_id, "status": self.status, "data_id": f"DPK{job_id:07d}", **times}


def data_jobs(batch: BatchSystem, queues: Collection[str], since: float) -> list[DataJob]:
    """Return the jobs in some of the batch system's queues that were created since a Unix time, the latest first."""
    live = (job for user in batch.spec.users for job in batch.jobs(user.name))
    # A job that was created since has not ended before.
    over = (ending for ending in batch.endings(since, batch.now) if ending.state is not State.REQUEUED)
    found = [
        DataJob(job, JOB_STATUS.get(job.state, "RUNNING"), job.started if job.state in ON_NODES else None)
        for job in live
        if job.submitted >= since and job.queue in queues
    ]
    found += [
        DataJob(each.job, END_STATUS.get(each.state, "RUN_FAILED"), each.started, each.ended)
        for each in over
        if each.job.submitted >= since and each.job.queue in queues
    ]
    return sorted(found, key=lambda each: -int(each.job.submitted * 1000))


class IamOffice:
    """Issues and checks tokens. `now` gives Unix seconds, `lifetime` is in seconds and may be changed."""

    def __init__(self, seed: str, now: Callable[[], float], lifetime: float) -> None:
        self.lifetime = lifetime
        self._now = now
        self._rng = random.Random(f"iam/{seed}")
        self._issued: dict[str, tuple[str, float]] = {}  # region and expiry (Unix seconds)

    def issue(self, region: str) -> tuple[str, float]:
        """Return a new token for that region, and the Unix time of its expiry."""
        token, expires = "MII" + self._rng.randbytes(48).hex(), self._now() + self.lifetime
        self._issued[token] = (region, expires)
        return token, expires

    def check(self, token: str, region: str) -> Verdict:
        if token not in self._issued:
            return "foreign" if token else "missing"
        issued_for, expires = self._issued[token]
        if expires <= self._now():
            return "expired"
        return "valid" if issued_for == region else "elsewhere"

    def expire(self) -> None:
        """From now on every token issued so far is expired."""
        self._issued = {token: (region, self._now()) for token, (region, _) in self._issued.items()}


def wanted_scope(body: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """User (name, password, domain) and project (name or id) of a login.

    None where it is not of the documented form.
    """
    try:
        auth = json.loads(body)["auth"]
        if auth["identity"]["methods"] != ["password"]:
            return None
        user, project = auth["identity"]["password"]["user"], auth["scope"]["project"]
        _ = user["name"], user["password"], user["domain"]["name"]
    except (ValueError, KeyError, TypeError):
        return None
    return user, project


def iso(moment: float) -> str:
    """As IAM writes it: UTC, with microseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class OctopusProject(SimulatedApi):
    """A project with its IAM.

    `rows` holds queues whose content is not the batch system's, by (queue_type, cluster_type, cluster_id); `after_page`
    is called with that key after each page, and may move the queue. `url` is the address of Octopus and IAM.
    """

    token_header = "X-Auth-Token"  # noqa: S105 - a header's name
    writer: OctopusWriter

    def __init__(
        self,
        spec: ProjectSpec,
        world: World,
        *,
        token_lifetime: float = DAY,
    ) -> None:
        super().__init__(spec.name, spec.batch, world)
        self.spec = spec
        self.url = ""
        self.writer = OctopusWriter(OctopusQuirks(), world.wall_clock)
        self.office = IamOffice(f"{world.seed}/{spec.name}", world.wall_clock, token_lifetime)
        self.max_limit = spec.max_limit
        self.rows: dict[QueueKey, list[Row]] = {}
        self.after_page: Callable[[QueueKey], None] = lambda _: None

    def token(self) -> str:
        """Return a new token of the project's region."""
        return self.office.issue(self.spec.region)[0]

    def expire_tokens(self) -> None:
        """Every token issued so far is expired from now on."""
        self.office.expire()

    def queued(self, queue: DataQueueSpec) -> list[Row]:
        """Return the queue now, in its order."""
        if queue.key in self.rows:
            return self.rows[queue.key]
        waiting = [
            job
            for user in self.spec.batch.users
            for job in self.batch.jobs(user.name)
            if job.queue == queue.fed_by and job.state is State.QUEUED
        ]
        project = self.spec.project_id
        rows = [data_row(project, queue, job.id, job.requested.cores, job.changes[-1][0]) for job in waiting]
        return sorted(rows, key=lambda row: (-row["priority"], row["rank_stamp"], row["id"]))

    # Routes

    def servers(self) -> list[list[web.RouteDef]]:
        return [
            [
                web.get("/v1.0/{project_id}/data/queuing-jobs", self.handler("queuing_jobs", self._queuing_jobs)),
                web.get("/v1.0/{project_id}/data/jobs", self.handler("data_jobs", partial(self._jobs, internal=False))),
                web.get(
                    "/v1.0/{project_id}/data/system-jobs",
                    self.handler("system_jobs", partial(self._jobs, internal=True)),
                ),
                web.post("/v3/auth/tokens", self.handler("iam", self._login)),
            ]
        ]

    def listens_at(self, *urls: str) -> None:
        (self.url,) = urls

    def concerned(self, request: web.Request) -> tuple[str, int | None]:
        """Return the queue's type and the offset of the page."""
        return request.query.get("queue_type", ""), number(request.query.get("offset", "0"))

    # Answers

    def refuse_token(self) -> web.Response:
        """Return the gateway's response to a token that is not accepted."""
        return self._error("APIG.0301")

    def _check(self, request: web.Request) -> None:
        """Raise RefusedError for a request that the token does not allow."""
        verdict = self.office.check(request.headers.get(self.token_header, ""), self.spec.region)
        if verdict != "valid":
            raise RefusedError(self._error(*_REJECTIONS[verdict]))
        if request.match_info["project_id"] != self.spec.project_id:
            raise RefusedError(self._error("octopus.400003"))

    def _page(self, request: web.Request) -> tuple[int, int]:
        """Return the offset and the limit of a page. Raises RefusedError."""
        query = request.query
        limit, offset = number(query.get("limit", str(self.spec.default_limit))), number(query.get("offset", "0"))
        if limit is None or offset is None or not 1 <= limit <= self.max_limit:
            raise RefusedError(self._error("octopus.400000", f"limit must be from 1 to {self.max_limit}"))
        return offset, limit

    async def _jobs(self, request: web.Request, *, internal: bool) -> web.Response:
        """Return the page of the jobs of processors, or of the service, the latest first."""
        self._check(request)
        statuses = request.query.getall("statuses" if internal else "status", [])
        offset, limit = self._page(request)
        since = number(request.query.get("start_time", "0"), digits=15)
        if since is None:
            return self._error("octopus.400000", "start_time is not a number of milliseconds")
        fed_by = {queue.fed_by for queue in self.spec.queues if (queue.queue_type == "INTERNAL") == internal}
        found = [
            each for each in data_jobs(self.batch, fed_by, since / 1000) if not statuses or each.status in statuses
        ]
        rows = [each.row() for each in found[offset : offset + limit]]
        return json_response(self.writer.page(rows, offset, limit, len(found), self.batch.now))

    async def _queuing_jobs(self, request: web.Request) -> web.Response:
        self._check(request)
        query = request.query
        key = (query.get("queue_type", ""), query.get("cluster_type", ""), query.get("cluster_id", ""))
        if not key[0] or (key[1] == "MODELARTS" and not key[2]):
            return self._error("octopus.400000", "queue_type or cluster_id is missing")
        offset, limit = self._page(request)
        rows = self._matching(key)
        body = self.writer.page(rows[offset : offset + limit], offset, limit, len(rows))
        self.after_page(key)
        return json_response(body)

    def _matching(self, key: QueueKey) -> Sequence[Row]:
        """Return the rows of every queue that fits; a part that is left out restricts nothing."""
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
        token, expires = self.office.issue(region)
        body = {"token": {"expires_at": iso(expires), "issued_at": iso(self.wall_clock()), "methods": ["password"]}}
        return json_response(dump(body), 201, {"X-Subject-Token": token})

    def _error(self, code: str, message: str | None = None) -> web.Response:
        return json_response(self.writer.error(code, message), ERRORS[code][0])


def number(text: str, digits: int = 9) -> int | None:
    """Return a whole number; None for any other text, and for more than `digits` digits."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


def iam_error(status: int, message: str, title: str) -> web.Response:
    """IAM wraps its errors in an object of its own."""
    return json_response(dump({"error": {"code": status, "message": message, "title": title}}), status)
