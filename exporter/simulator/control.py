"""The simulator's own interface on every port: faults, the truth, the requests. It takes no token."""

from typing import Any, Final

import msgspec
from aiohttp import web

from exporter.simulator.api_base import SimulatedApi
from exporter.simulator.faults import KINDS, Fault, json_response, read_faults

# Requests to the simulator itself, on every port.
COMMANDS: Final = {
    "GET /simulator": "this overview",
    "GET /simulator/faults": "the faults on order, and how many requests each will still meet",
    "POST /simulator/faults": "order a fault, or a list of them",
    "DELETE /simulator/faults": "cancel all of them",
    "GET /simulator/truth": "the simulated time and the true history of every job",
    "GET /simulator/requests": "the requests so far: counts by endpoint, and the last 10 000",
    "POST /simulator/tokens/expire": "let every token issued so far expire now",
}


def control_routes(region: SimulatedApi, routes: list[web.RouteDef]) -> list[web.RouteDef]:
    """Return the simulator's own routes for a port that serves `routes` of a region, a project or the platform."""
    control = _Control(region, {f"{route.method} {route.path}": route.handler.__name__ for route in routes})
    return [
        web.get("/simulator", control.overview),
        web.get("/simulator/faults", control.list_faults),
        web.post("/simulator/faults", control.add_faults),
        web.delete("/simulator/faults", control.clear_faults),
        web.get("/simulator/truth", control.truth),
        web.get("/simulator/requests", control.list_requests),
        web.post("/simulator/tokens/expire", control.expire_tokens),
    ]


def _fields() -> dict[str, Any]:
    """Return the fields of a fault with their defaults; null where a field is left out or has to be given."""
    return {each.name: None if each.required else each.default for each in msgspec.structs.fields(Fault)}


FIELDS: Final = _fields()


class _Control:
    def __init__(self, region: SimulatedApi, endpoints: dict[str, str]) -> None:
        self._region = region
        self._endpoints = endpoints

    async def overview(self, _: web.Request) -> web.Response:
        """Say what is served here and what can be ordered."""
        return _json(
            {
                "name": self._region.name,
                "endpoints": self._endpoints,
                "commands": COMMANDS,
                "kinds": KINDS,
                "fields": FIELDS,
            }
        )

    async def list_faults(self, _: web.Request) -> web.Response:
        return _json(self._region.faults.orders)

    async def add_faults(self, request: web.Request) -> web.Response:
        """Order one fault, or a list of them."""
        try:
            wanted = read_faults(await request.read())
        except msgspec.MsgspecError as mistake:
            return _json({"error": f"{mistake}; GET /simulator lists kinds and fields"}, status=400)
        for fault in wanted:
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
