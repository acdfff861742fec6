"""A small slurmrestd: it serves some versions of the API, takes one token, and fails in the ways that real ones do."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from tests.support.http import Network

TOKEN = "made-up-token"


def error(number: int | None, text: str, description: str = "") -> Mapping[str, Any]:
    """Return an entry of a list of errors."""
    return {"error_number": number, "error": text, "description": description, "source": "slurm_load_jobs()"}


REJECTED = error(1007, "Protocol authentication error", "Unable to query jobs")


class FakeSlurmrestd:
    """`rows` are the lists that it answers with, by name; `failures` are answers to the next requests instead of these.

    Without a `token` it asks for none. `rejects_with` is the status of an answer to a wrong one.
    """

    def __init__(self, versions: Sequence[str] = ("v0.0.42",), token: str = TOKEN) -> None:
        self.versions = versions
        self.token = token
        self.rejects_with = 511
        self.rows: dict[str, Sequence[Any]] = {"jobs": (), "partitions": (), "nodes": ()}
        self.failures: list[web.Response] = []
        self.requests: list[str] = []
        self.headers: Mapping[str, str] = {}

    async def start(self, network: Network) -> str:
        """Serve on loopback; the URL."""
        return await network.serve(self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        self.headers = dict(request.headers)
        _, _, version, name, *more = request.path.split("/")
        if version not in self.versions:
            return web.Response(
                status=404, text="Unable find requested URL. Please view /openapi/v3 for API reference."
            )
        sent = request.headers.get(
            "X-SLURM-USER-TOKEN", request.headers.get("Authorization", "").removeprefix("Bearer ")
        )
        if self.token and not sent:
            return web.Response(status=401, text="Authentication failure")
        if self.token and sent != self.token:
            return answer(name, (), [REJECTED], self.rejects_with)
        if self.failures:
            return self.failures.pop(0)
        return answer(name, self.rows["states" if more[0] == "state" else name])


def answer(name: str, rows: Sequence[Any], errors: Sequence[Any] = (), status: int = 200) -> web.Response:
    """Return an answer as slurmrestd makes it."""
    body = {"meta": {}, name: rows, "errors": errors, "warnings": []}
    return web.Response(status=status, body=json.dumps(body, indent=2).encode(), content_type="application/json")
