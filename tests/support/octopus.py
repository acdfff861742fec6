"""A simulated project at the moment of a test's own clock, and the exporter's client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from exporter.config import InlineSecret
from exporter.http import StaticToken, TokenCache, TokenProvider, TokenSource
from exporter.simulator import OctopusProject, ProjectSpec, Simulator, default_project
from exporter.sources.octopus.auth import IamLogin
from exporter.sources.octopus.pages import PageReader
from exporter.sources.octopus.queuing_jobs import QUEUING_JOBS
from exporter.sources.octopus.reading import Queue, QueueListing, read_queue
from tests.support.clock import FakeClock
from tests.support.http import Network, a_network
from tests.support.platform import Refreshes

PROCESSOR = Queue("PROCESSOR", "MODELARTS", "pool-1")
INTERNAL = Queue("INTERNAL")


def idle_project() -> ProjectSpec:
    """Return a project without new jobs: days of it pass in no time."""
    spec = default_project()
    users = tuple(replace(user, demands=()) for user in spec.batch.users)
    return replace(spec, batch=replace(spec.batch, users=users, warm_up=0.0))


def entries(first: int, last: int) -> list[dict[str, Any]]:
    """Rows of a queue, from one number to another."""
    return [
        {
            "id": n,
            "job_id": n,
            "job_type": "FRAME_EXTRACT",
            "rank_stamp": 1_700_000_000_000 + n,
            "resource_spec": "1Core_4GiB",
        }
        for n in range(first, last + 1)
    ]


class AtWork:
    """The exporter's side of a simulated project."""

    def __init__(self, project: OctopusProject, network: Network, clock: FakeClock) -> None:
        self.project = project
        self.network = network
        self.clock = clock
        self.refreshes = Refreshes()
        self._by_tokens: dict[TokenProvider, PageReader] = {}
        self.pasted = StaticToken(InlineSecret(project.token()))
        self.pages = self.new_pages(self.pasted)

    def new_pages(self, tokens: TokenProvider, url: str = "") -> PageReader:
        upstream = self.network.upstream("driving", clock=self.clock)
        url, project_id = url or self.project.url, self.project.spec.project_id
        return PageReader(upstream, tokens, base_url=url, project_id=project_id, clock=self.clock)

    def iam(self, **changes: str) -> TokenSource:
        upstream = self.network.upstream("driving", clock=self.clock)
        return TokenSource(self.logins(**changes), source="driving", upstream=upstream, observer=self.refreshes)

    def logins(self, **changes: str) -> TokenCache:
        """Return the tokens of a login to IAM, with `changes` to what is right."""
        spec = self.project.spec
        known = {"domain": spec.domain, "user": spec.user, "password": spec.password, "project": spec.region}
        given = {"url": self.project.url, **known, **changes}
        password = InlineSecret(given.pop("password"), header=False)
        return TokenCache(IamLogin(password=password, **given), self.clock)

    def hold(self, *numbers: tuple[int, int], queue: Queue = INTERNAL) -> None:
        """Fill a queue with entries of the numbers from ... to ..."""
        key = (queue.queue_type, queue.cluster_type, queue.cluster_id)
        self.project.rows[key] = [row for first, last in numbers for row in entries(first, last)]

    async def read(self, queue: Queue = INTERNAL, pages: PageReader | None = None) -> QueueListing:
        return await read_queue(pages or self.pages, QUEUING_JOBS, queue)

    async def read_by(self, tokens: TokenProvider) -> QueueListing:
        """Read the queue with other tokens, by the same connection for the same ones."""
        if tokens not in self._by_tokens:
            self._by_tokens[tokens] = self.new_pages(tokens)
        return await self.read(pages=self._by_tokens[tokens])

    @property
    def asked(self) -> list[str]:
        """The queries of all requested pages."""
        return [record.path.partition("?")[2] for record in self.project.requests.of("queuing_jobs")]


@asynccontextmanager
async def project_at_work() -> AsyncIterator[AtWork]:
    clock = FakeClock()
    simulator = Simulator((), projects=(idle_project(),), clock=clock.monotonic, wall_clock=clock.now)
    async with simulator, a_network() as network:
        yield AtWork(simulator.projects["driving"], network, clock)
