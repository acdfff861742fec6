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
# The fields of a fault with their defaults; null where a field is left out or has to be given.
FIELDS: Final[dict[str, Any]] = {
    each.name: None if each.required else each.default for each in msgspec.structs.fields(Fault)
}


def control_routes(api: SimulatedApi, routes: list[web.RouteDef]) -> list[web.RouteDef]:
    """Return the simulator's own routes for a port that serves `routes` of a region, a project or the platform."""
    endpoints = {f"{route.method} {route.path}": route.handler.__name__ for route in routes}

    async def overview(_: web.Request) -> web.Response:
        return _json({"name": api.name, "endpoints": endpoints, "commands": COMMANDS, "kinds": KINDS, "fields": FIELDS})

    async def list_faults(_: web.Request) -> web.Response:
        return _json(api.faults.orders)

    async def add_faults(request: web.Request) -> web.Response:
        try:
            wanted = read_faults(await request.read())
        except msgspec.MsgspecError as mistake:
            return _json({"error": f"{mistake}; GET /simulator lists kinds and fields"}, status=400)
        for fault in wanted:
            api.faults.add(fault)
        return _json(api.faults.orders, status=201)

    async def clear_faults(_: web.Request) -> web.Response:
        api.faults.clear()
        return web.Response(status=204)

    async def truth(_: web.Request) -> web.Response:
        now = await api.advance()
        return _json({"time": now, "jobs": api.batch.truth()})

    async def list_requests(_: web.Request) -> web.Response:
        log = api.requests
        numbers = {"counts": log.counts, "in_flight": log.in_flight, "max_in_flight": log.max_in_flight}
        return _json({**numbers, "requests": list(log)})

    async def expire_tokens(_: web.Request) -> web.Response:
        api.expire_tokens()
        return web.Response(status=204)

    handlers = (overview, list_faults, add_faults, clear_faults, truth, list_requests, expire_tokens)
    pairs = zip(map(str.split, COMMANDS), handlers, strict=True)
    return [web.route(method, path, handler) for (method, path), handler in pairs]


def _json(value: object, status: int = 200) -> web.Response:
    return json_response(msgspec.json.encode(value), status)
