"""A region of very many users for load tests, answered from prepared bytes.

It speaks just enough HTTP/1.1 to serve GET: at ten thousand users a web framework would spend more processor time
than the client that is measured. Everything else is for `exporter.simulator.server`.
"""

import asyncio
import random
from typing import Final, Self

from exporter.simulator.forms import dump
from exporter.simulator.server import is_loopback
from exporter.simulator.spec import CHEMISTRY

_LETTERS: Final = ("R", "Q", "H", "S", "O")
_END_OF_HEAD: Final = b"\r\n\r\n"


class StaticRegion:
    """`users` users named user00000, user00001, ..., each with jobs in `queues` queues and `jobs` listed jobs.

    It takes `delay` seconds for every answer. With a `token`, requests without exactly that one are answered with code 911406. `requests` counts what was asked,
    `max_connections` the most connections open at once.
    """

    def __init__(
        self,
        users: int = 10_000,
        queues: int = 5,
        *,
        jobs: int = 3,
        token: str | None = None,
        cluster_id: int = 11112,
        group_id: int = CHEMISTRY.id,
        seed: int = 1,
        delay: float = 0.0,
    ) -> None:
        self.users = [f"user{index:05d}" for index in range(users)]
        self.cluster_id = cluster_id
        self.group_id = group_id
        self.requests = 0
        self.connections = 0
        self.max_connections = 0
        self.url = ""
        self.delay = delay
        self._queues = queues
        self._jobs = jobs
        self._rng = random.Random(f"static/{seed}")
        self._header = None if token is None else b"\r\ntoken: " + token.encode() + b"\r\n"
        self._refusal = _response(dump({"code": "911406", "msg": "token is not accepted", "data": None}))
        self._not_found = _response(b"", "404 Not Found")
        self._answers: dict[bytes, bytes] = {b"/hpc/openapi/v2/cluster": _response(dump(_envelope([_SCHEDULER])))}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()
        self.change()

    @property
    def hpc_url(self) -> str:
        return self.url

    @property
    def ac_url(self) -> str:
        return self.url

    def change(self, share: float = 1.0) -> None:
        """Give that share of the users other numbers, drawn anew."""
        for user in self.users:
            if self._rng.random() < share:
                self._answers[self.queue_path(user).encode()] = _response(dump(_envelope(self._queue_rows())))
                self._answers[self.member_path(user).encode()] = _response(dump(_envelope(self._job_rows(user))))

    def queue_path(self, user: str) -> str:
        return f"/hpc/openapi/v2/view/queue/jobs?userName={user}"

    def member_path(self, user: str) -> str:
        return f"/ac/openapi/v2/clusters/{self.cluster_id}/groups/{self.group_id}/clusterUserNames/{user}/jobs"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; ValueError for a host that is not the loopback interface."""
        if not is_loopback(host):
            raise ValueError(f"{host} is not a loopback address; the simulator serves only this machine")
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self), host, port, backlog=4096
        )
        self.url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for transport in list(self._open):
                transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def answer(self, head: bytes) -> bytes:
        """The whole response to a request whose line and headers are `head`, up to the empty line."""
        self.requests += 1
        if self._header is not None and not self._has_token(head):
            return self._refusal
        return self._answers.get(head.split(b" ", 2)[1], self._not_found)

    def opened(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)
        self.max_connections = max(self.max_connections, len(self._open))

    def closed(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)

    def _has_token(self, head: bytes) -> bool:
        # Names of headers are case-insensitive; clients send this one as it is on the page.
        return self._header is not None and self._header in head + b"\r\n"

    def _queue_rows(self) -> list[dict[str, object]]:
        draw = self._rng.random
        return [
            {
                "name": f"queue{index}",
                "values": [{"metricName": letter, "metricValue": int(draw() * 100)} for letter in _LETTERS],
            }
            for index in range(self._queues)
        ]

    def _job_rows(self, user: str) -> list[dict[str, object]]:
        first = 1_000_000 + int(user[4:]) * self._jobs
        return [self._job_row(str(first + index)) for index in range(self._jobs)]

    def _job_row(self, job_id: str) -> dict[str, object]:
        cores = 1 << int(self._rng.random() * 6)
        running = self._rng.choice((True, False))
        return {
            "id": job_id,
            "name": f"vasp_std_{job_id}",
            "status": "statR" if running else "statQ",
            "nodeNumReq": 1,
            "cpuCore": cores * running,
            "procNumReq": cores,
            "gpuNumReq": 0,
            "gpuNum": 0,
            "dcuNumReq": 0,
            "dcuNumUsed": 0,
        }


class _Connection(asyncio.Protocol):
    """One connection, kept alive; requests that arrive together are answered in order."""

    def __init__(self, region: StaticRegion) -> None:
        self._region = region
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server of TCP makes
        self._transport = transport
        self._region.opened(transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._pending = (self._pending + data).split(_END_OF_HEAD)
        for head in heads:
            if not head.startswith(b"GET "):
                self._transport.close()
                return
            self._answer(self._region.answer(head))

    def _answer(self, answer: bytes) -> None:
        if self._region.delay:
            asyncio.get_running_loop().call_later(self._region.delay, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._region.closed(self._transport)


def _envelope(data: object) -> dict[str, object]:
    return {"code": "0", "msg": "success", "data": data}


def _response(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_SCHEDULER: Final = {
    "JobManagerAddr": "10.0.150.45",
    "JobManagerType": "SLURM",
    "id": 1638523853,
    "text": "Cluster",
    "JobManagerPort": "9091",
}
