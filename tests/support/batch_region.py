"""A region that keeps jobs, so that a deletion has an effect, or not, as a test wants it.

It obeys whatever it is sent.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.region import envelope, job

Rows = dict[str, dict[str, Any]]
SCHEDULER = {"id": 1638523853, "text": "Cluster", "JobManagerType": "SLURM"}


@dataclass(frozen=True)
class Deletion:
    """A DELETE as it was on the wire."""

    raw_path: str
    content_type: str
    token: str
    body: str


@dataclass
class BatchRegion:
    """`jobs` are rows of the member lists by user and id.

    `codes` are errors by endpoint (schedulers, member_jobs, own_jobs).

    `on_delete` takes over the answer to a DELETE; it may call `obey`.
    """

    jobs: dict[str, Rows] = field(default_factory=dict)
    schedulers: list[dict[str, Any]] = field(default_factory=lambda: [SCHEDULER])
    codes: dict[str, str] = field(default_factory=dict)
    on_delete: "Callable[[BatchRegion, web.Request], Awaitable[web.StreamResponse]] | None" = None
    owner: str = "test"
    deletions: list[Deletion] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def submit(self, user: str, *ids: str, **fields: Any) -> None:
        self.jobs.setdefault(user, {}).update({each: job(each, **fields) for each in ids})

    def ids(self, user: str = "test") -> set[str]:
        return set(self.jobs.get(user, {}))

    def answer(self, endpoint: str, data: Any) -> web.Response:
        self.asked.append(endpoint)
        if endpoint in self.codes:
            return reply(envelope(None, self.codes[endpoint], "a scripted error"))
        return reply(envelope(data))

    async def cluster(self, _: web.Request) -> web.Response:
        return self.answer("schedulers", self.schedulers)

    async def member_jobs(self, request: web.Request) -> web.Response:
        return self.answer("member_jobs", list(self.jobs.get(request.match_info["user"], {}).values()))

    async def own_jobs(self, request: web.Request) -> web.Response:
        rows = [
            {"jobId": row["id"], "jobName": row["name"], "jobStatus": row["status"]}
            for row in self.jobs.get(self.owner, {}).values()
        ]
        start, limit = int(request.query["start"]), int(request.query["limit"])
        return self.answer("own_jobs", {"total": str(len(rows)), "list": rows[start : start + limit] or None})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.deletions.append(
            Deletion(request.raw_path, request.headers.get("Content-Type", ""), request.headers["token"], body)
        )
        if self.on_delete is not None:
            return await self.on_delete(self, request)
        return await self.obey(request)

    async def obey(self, request: web.Request) -> web.Response:
        """Delete what the parameters say, wherever they are, and boast of it whether it worked or not."""
        form = parse_qs(await request.text() or request.query_string)
        for part in form["strJobInfoMap"][0].split(";"):
            _, user_and_id = part.split(",")
            user, job_id, _ = user_and_id.split(":")
            self.jobs.get(user, {}).pop(job_id, None)
        return reply(envelope({"1638523853": "jobManagerId : 1638523853, delete the jobs successfully!"}))


def reply(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def batch_region(**settings: Any) -> AsyncIterator[BatchRegion]:
    """Serve a region on loopback."""
    region = BatchRegion(**settings)
    application = web.Application()
    members = "/ac/openapi/v2/clusters/11112/groups/{group}/clusterUserNames/{user}/jobs"
    application.add_routes(
        [
            web.get("/hpc/openapi/v2/cluster", region.cluster),
            web.get(members, region.member_jobs),
            web.get("/hpc/openapi/v2/jobs", region.own_jobs),
            web.delete("/hpc/openapi/v2/jobs", region.delete),
        ]
    )
    server = TestServer(application)
    await server.start_server(shutdown_timeout=0.1)
    region.url = str(server.make_url("/")).rstrip("/")
    try:
        yield region
    finally:
        await server.close()
