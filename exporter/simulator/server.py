"""The simulator: regions on ports of the loopback interface."""

import ipaddress
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

from aiohttp import web

from exporter.simulator.api_base import SimulatedApi, World
from exporter.simulator.control import control_routes
from exporter.simulator.octopus import OctopusProject, ProjectSpec
from exporter.simulator.platform import Platform
from exporter.simulator.quirks import Quirks
from exporter.simulator.scnet import Region
from exporter.simulator.spec import DAY, RegionSpec, default_regions
from exporter.simulator.tokens import Account, Directory, TokenOffice


class Simulator:
    """Several regions of one platform.

        async with Simulator(default_regions(2), seed=1, speed_up=60) as simulator:
            region = simulator.regions["kunshan"]
            region.hpc_url, region.ac_url, region.cluster_id, region.token("test")

    Equal seeds give equal histories. `speed_up` simulated seconds pass in each second of `clock` (monotonic seconds);
    tokens live `token_lifetime` seconds of `wall_clock` (Unix seconds). `accounts` are the platform logins; left out,
    there are those of `default_accounts`. Octopus `projects` are served beside them.
    """

    def __init__(
        self,
        specs: Sequence[RegionSpec] | None = None,
        *,
        seed: int = 1,
        speed_up: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        token_lifetime: float = DAY,
        quirks: Quirks | None = None,
        accounts: Sequence[Account] | None = None,
        projects: Sequence[ProjectSpec] = (),
        iam_token_lifetime: float = DAY,
    ) -> None:
        specs = default_regions() if specs is None else specs
        self.speed_up = speed_up
        self.accounts = default_accounts(specs) if accounts is None else tuple(accounts)
        self._office = TokenOffice(seed, wall_clock, token_lifetime)
        world = World(seed, speed_up, clock, wall_clock)
        directory = Directory(self._office, list(self.accounts))
        self.regions = {spec.name: Region(spec, directory, world, quirks=quirks) for spec in specs}
        self.platform = Platform(directory, tuple(self.regions.values()), world, quirks=quirks or Quirks())
        self.projects = {spec.name: OctopusProject(spec, world, token_lifetime=iam_token_lifetime) for spec in projects}
        self._runners: list[web.AppRunner] = []

    @property
    def token_url(self) -> str:
        """The address of logins by access key."""
        return f"{self.platform.url}/api/user/v3/tokens"

    async def start(
        self, host: str = "127.0.0.1", ports: Sequence[int] = (), *, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen.

        `ports` are those of the regions, then the projects, and the platform, in order; one that is left out, or 0, is
        picked by the system.

        Raises ValueError for a host that is not the loopback interface, OSError for a port that is not free.
        """
        if not is_loopback(host):
            raise ValueError(f"{host} is not a loopback address; the simulator serves only this machine")
        try:
            for index, api in enumerate(self.apis):
                api.stopping.clear()
                wanted = (ports[index] if index < len(ports) else 0, 0)
                urls = []
                for routes, port in zip(api.servers(), wanted, strict=False):
                    runner, url = await listen([*routes, *control_routes(api, routes)], host, port, tls)
                    self._runners.append(runner)
                    urls.append(url)
                api.listens_at(*urls)
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close waiting connections and the ports."""
        for api in self.apis:
            api.stopping.set()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def set_quirks(self, **changes: Any) -> None:
        """Change some of the quirks of the platform and of all regions."""
        self.platform.set_quirks(**changes)
        for region in self.regions.values():
            region.set_quirks(**changes)

    def disable(self, account: str, region: str) -> None:
        """Freeze what a platform login is in one region; KeyError where there is no such account or region."""
        users = {each.user: each.users for each in self.accounts}[account]
        self.regions[region].disable(users[region])

    @property
    def apis(self) -> list[SimulatedApi]:
        """All that is served: regions, projects, the platform."""
        return [*self.regions.values(), *self.projects.values(), self.platform]


async def listen(
    routes: Iterable[web.RouteDef], host: str, port: int, tls: ssl.SSLContext | None = None
) -> tuple[web.AppRunner, str]:
    """Serve routes; return the runner, to be cleaned up at the end, and the URL. Raises OSError for a port that is not free."""
    application = web.Application()
    application.add_routes(routes)
    # A client that gave up is no longer in flight: without cancellation, hanging requests would pile up.
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    name = f"[{host}]" if ":" in host else host
    return runner, f"{'https' if tls else 'http'}://{name}:{runner.addresses[0][1]}"


def is_loopback(host: str) -> bool:
    """Whether a listening host is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_accounts(specs: Sequence[RegionSpec]) -> tuple[Account, ...]:
    """Return the login "lab", the first administrator (else user) of each region, and one of each user without a group.

    Access key, secret key and password are of a service that does not exist.
    """
    users = {
        spec.name: next((user.name for user in spec.users if user.administrator), spec.users[0].name)
        for spec in specs
        if spec.users
    }
    alone = dict.fromkeys(user.name for spec in specs for user in spec.users if not user.group)
    return (
        Account("lab", "simulator-access-key", "simulator-secret-key", "simulator-password", users=users),
        *(
            Account(
                name,
                f"{name}-access-key",
                f"{name}-secret-key",
                f"{name}-password",
                users={spec.name: name for spec in specs if name in {user.name for user in spec.users}},
                full_name="陈静",
                balance=12.5,
            )
            for name in alone
        ),
    )
