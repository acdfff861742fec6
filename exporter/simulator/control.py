"""The simulator's own interface on every port: faults, the truth, the requests. It takes no token."""

import msgspec
from aiohttp import web

from exporter.simulator.api_base import SimulatedApi
from exporter.simulator.faults import Fault, json_response


def control_routes(region: SimulatedApi) -> list[web.RouteDef]:
    control = _Control(region)
    return [
        web.get("/simulator/faults", control.list_faults),
        web.post("/simulator/faults", control.add_faults),
        web.delete("/simulator/faults", control.clear_faults),
        web.get("/simulator/truth", control.truth),
        web.get("/simulator/requests", control.list_requests),
        web.post("/simulator/tokens/expire", control.expire_tokens),
    ]


class _Control:
    def __init__(self, region: SimulatedApi) -> None:
        self._region = region

    async def list_faults(self, _: web.Request) -> web.Response:
        return _json(self._region.faults.orders)

    async def add_faults(self, request: web.Request) -> web.Response:
        """Order one fault, or a list of them."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=Fault | list[Fault])
        except msgspec.MsgspecError as mistake:
            return _json({"error": str(mistake)}, status=400)
        for fault in [wanted] if isinstance(wanted, Fault) else wanted:
            self._region.faults.add(fault)
        return _json(self._region.faults.orders, status=201)

    async def clear_faults(self, _: web.Request) -> web.Response:
        self._region.faults.clear()
        return web.Response(status=204)

    async def truth(self, _: web.Request) -> web.Response:
        """`time` is the simulated time, `jobs` are those of `BatchSystem.truth`."""
        now = await self._region.advance()
        return _json({"time": now, "jobs": self._region.batch.truth()})

    async def list_requests(self, _: web.Request) -> web.Response:
        log = self._region.requests
        return _json(
            {
                "counts": log.counts,
                "in_flight": log.in_flight,
                "max_in_flight": log.max_in_flight,
                "requests": list(log),
            }
        )

    async def expire_tokens(self, _: web.Request) -> web.Response:
        self._region.expire_tokens()
        return web.Response(status=204)


def _json(value: object, status: int = 200) -> web.Response:
    return json_response(msgspec.json.encode(value), status)
