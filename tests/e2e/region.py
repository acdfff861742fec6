"""A region that answers word for word what a test tells it to."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

FIXTURES = Path(__file__).parent.parent / "fixtures"
GROUP_ID = "533686286955839488"
TOKEN = "a-token-of-tests"
# From the official pages: computeUser slurmtest, clusterId 11112, expireTime 1685600225615.
SAMPLE_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJjb21wdXRlVXNlciI6InNsdXJtdGVzdCIsImFjY291bnRTdGF0dXMiOiJUcmlhbCIsImNyZWF0"
    "b3IiOiJhYyIsInJvbGUiOiIxIiwiZXhwaXJlVGltZSI6IjE2ODU2MDAyMjU2MTUiLCJjbHVzdGVySWQiOiIxMTExMiIsImludm9rZXIiOiI2MDQ4Y2"
    "U3YmExNWMyYWYyZThjZWMxMjk5MWVjMTNjZiIsInVzZXIiOiJzbHVybXRlc3QiLCJ1c2VySWQiOiIxMTY1NTA0ODU0MSJ9."
    "iLCKJ8PnDDK0_SA2NPYm1WozUG8D5ojwFqFhwaJCDc8"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Bodies, or handlers, by endpoint or by (endpoint, user).
Answers = dict[str | tuple[str, str], bytes | Handler]


def envelope(data: Any, code: str = "0", msg: str = "success") -> bytes:
    return json.dumps({"code": code, "msg": msg, "data": data}, ensure_ascii=False).encode()


def queue(name: str, **letters: int) -> dict[str, Any]:
    """Return a row of the queue statistics; a letter that is left out counts 0."""
    return {"name": name, "values": [{"metricName": at, "metricValue": letters.get(at, 0)} for at in "RQHSO"]}


def job(job_id: str, name: str = "job", status: str = "statR", **counts: Any) -> dict[str, Any]:
    """Return a row of a member's job list: one node, two cores, unless said otherwise."""
    numbers = {"nodeNumReq": 1, "cpuCore": 2, "procNumReq": 2, "gpuNumReq": 0, "gpuNum": 0}
    return {"id": job_id, "name": name, "status": status, **numbers, "dcuNumReq": 0, "dcuNumUsed": 0, **counts}


@dataclass
class ScriptedRegion:
    """Requests without an answer among the `answers` get "no jobs"."""

    answers: Answers = field(default_factory=dict)
    requests: list[web.Request] = field(default_factory=list)
    url: str = ""

    @property
    def paths(self) -> list[str]:
        """Paths and queries as they were on the wire."""
        return [request.raw_path for request in self.requests]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        endpoint, user = asked_for(request)
        answer = self.answers.get((endpoint, user), self.answers.get(endpoint, envelope(None)))
        if callable(answer):
            return await answer(request)
        return web.Response(body=answer, content_type="application/json")


OF_REGION = {
    "/hpc/openapi/v2/cluster": "schedulers",
    "/hpc/openapi/v2/historyjobs": "job_history",
    "/hpc/openapi/v2/view/cpucore/state": "region_cores",
}


def asked_for(request: web.Request) -> tuple[str, str]:
    if request.path == "/hpc/openapi/v2/view/queue/jobs":
        return "queue_jobs", request.query["userName"]
    if request.path in OF_REGION:
        return OF_REGION[request.path], ""
    if request.path in ("/api/user/v3/tokens", "/ac/openapi/v2/tokens"):
        return "login", request.headers["user"]
    if request.path.endswith("/data/queuing-jobs"):
        return "queuing_jobs", request.query["queue_type"]
    *_, user, last = request.path.split("/")
    assert last == "jobs", f"an endpoint that no page describes: {request.path}"
    return "member_jobs", user


@asynccontextmanager
async def scripted_region(answers: Answers | None = None, port: int | None = None) -> AsyncIterator[ScriptedRegion]:
    """Serve a region on loopback."""
    region = ScriptedRegion(answers or {})
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", region.answer)
    server = TestServer(application, port=port)
    await server.start_server(shutdown_timeout=0.1)
    region.url = str(server.make_url("/")).rstrip("/")
    try:
        yield region
    finally:
        await server.close()


def cluster(url: str, name: str = "kunshan", **more: Any) -> dict[str, Any]:
    """Return the configuration of a region, with a user and a member named "test"."""
    return {
        "name": name,
        "cluster_id": 11112,
        "hpc_url": url,
        "token": TOKEN,
        "users": ["test"],
        "members": [{"group_id": GROUP_ID, "group": "chemistry", "users": ["test"]}],
        **more,
    }


def configuration(*clusters: dict[str, Any], **more: Any) -> str:
    """Return a configuration file: JSON is YAML. It polls once, soon, unless `poll` says otherwise."""
    poll = {"interval": "1h", "timeout": "5s", "retries": 0}
    return json.dumps({"poll": poll, "clusters": clusters, **more}, ensure_ascii=False, indent=1)
