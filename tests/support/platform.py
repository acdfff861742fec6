"""A simulated SCNet platform at the moment of a test's own clock, and an account of it at work without the rest."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any

from aiohttp import web

from exporter.config import InlineSecret
from exporter.http import Endpoint, Login, TokenCache, TokenProvider, TokenSource, Upstream
from exporter.records import JobListing
from exporter.simulator import Platform, Quirks, Region, RegionSpec, Simulator, default_regions
from exporter.sources.scnet.api import address
from exporter.sources.scnet.login import AccessKeyLogin, renewal
from exporter.sources.scnet.member_jobs import MEMBER_JOBS, read_jobs
from exporter.sources.scnet.queue_jobs import QUEUE_JOBS, QueueStatistics, read_queues
from exporter.sources.scnet.schedulers import Scheduler, ask_schedulers
from tests.support.clock import FakeClock
from tests.support.http import Network, a_network

DAY = 24 * 3600.0


def idle_regions(count: int = 1, **changes: Any) -> tuple[RegionSpec, ...]:
    """Regions without new jobs: days of them pass in no time."""
    return tuple(
        replace(spec, users=tuple(replace(user, demands=()) for user in spec.users), warm_up=0.0, **changes)
        for spec in default_regions(count)
    )


class Refreshes:
    """A TokenObserver that remembers."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, bool]] = Counter()
        self.expiries: dict[tuple[str, str], float] = {}

    def token_refresh(self, source: str, ok: bool) -> None:
        self.counts[source, ok] += 1

    def token_expiry(self, source: str, user: str, seconds: float | None) -> None:
        if seconds is None:
            self.expiries.pop((source, user), None)
        else:
            self.expiries[source, user] = seconds


class RegionClient:
    """Asks the collectors' endpoints of one region."""

    def __init__(self, upstream: Upstream, *, cluster_id: str, hpc_url: str, ac_url: str) -> None:
        self.upstream = upstream
        self._cluster_id = cluster_id
        self._urls = {"hpc_url": hpc_url, "ac_url": ac_url}

    async def queue_jobs(self, user: str, tokens: TokenProvider) -> QueueStatistics:
        url = address(QUEUE_JOBS.path, {"user": user}, **self._urls)
        endpoint = Endpoint(self.upstream, tokens, QUEUE_JOBS.name, url)
        return await endpoint.get(lambda response: read_queues(user, response))

    async def schedulers(self, tokens: TokenProvider) -> list[Scheduler]:
        return list(await ask_schedulers(self.upstream, tokens, self._urls["hpc_url"]))

    async def member_jobs(self, group_id: str, user: str, tokens: TokenProvider) -> JobListing:
        params = {"cluster_id": self._cluster_id, "group_id": group_id, "user": user}
        url = address(MEMBER_JOBS.path, params, **self._urls)
        return await Endpoint(self.upstream, tokens, MEMBER_JOBS.name, url).get(read_jobs)


class AtWork:
    """An account of a simulator, and ways to its tokens. `clock` is that of both sides."""

    def __init__(self, network: Network, simulator: Simulator, clock: FakeClock) -> None:
        self.network = network
        self.simulator = simulator
        self.clock = clock
        self.refreshes = Refreshes()
        self.account = TokenCache(self.login(), clock)

    @property
    def regions(self) -> list[Region]:
        return list(self.simulator.regions.values())

    @property
    def first(self) -> Region:
        return self.regions[0]

    @property
    def platform(self) -> Platform:
        return self.simulator.platform

    def login(self, **changes: str) -> Login:
        known = self.simulator.accounts[0]
        given = {"user": known.user, "access_key": known.access_key, "secret_key": known.secret_key, **changes}
        access_key, secret_key = (InlineSecret(given[name], name) for name in ("access_key", "secret_key"))
        return AccessKeyLogin(given["user"], access_key, secret_key, self.simulator.token_url, "lab")

    def token(self, region: Region, *, cluster_id: str = "", user: str = "", retries: int = 0) -> TokenSource:
        """Return the way to a region's token."""
        login, calls = (
            self.network.upstream(region.name, clock=self.clock, retries=retries, timeout=5.0) for _ in range(2)
        )
        return TokenSource(
            self.account,
            cluster_id or str(region.cluster_id),
            source=region.name,
            user=user,
            upstream=login,
            observer=self.refreshes,
            renewal=renewal(calls, region.ac_url),
        )

    def client(self, region: Region) -> RegionClient:
        upstream = self.network.upstream(region.name, clock=self.clock)
        cluster_id = str(region.cluster_id)
        return RegionClient(upstream, cluster_id=cluster_id, hpc_url=region.hpc_url, ac_url=region.ac_url)

    def count(self, endpoint: str) -> int:
        """Return requests to an endpoint of any region, or of the platform."""
        return sum(api.requests.counts[endpoint] for api in (*self.regions, self.platform))


@asynccontextmanager
async def at_work(count: int = 1, *, quirks: Quirks | None = None, lifetime: float = DAY) -> AsyncIterator[AtWork]:
    clock = FakeClock()
    simulator = Simulator(
        idle_regions(count), clock=clock.monotonic, wall_clock=clock.now, token_lifetime=lifetime, quirks=quirks
    )
    async with simulator, a_network() as network:
        yield AtWork(network, simulator, clock)


def rows_answer(rows: object, now: Callable[[], float] = time.time, **more: Any) -> web.Response:
    """Return an answer of a login, or of a renewal, at the server's time."""
    body = json.dumps({"code": "0", "msg": "success", "data": rows, **more})
    return web.Response(text=body, content_type="application/json", headers={"Date": formatdate(now(), usegmt=True)})
