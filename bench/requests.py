"""The requests that a round of polls takes: for each member and user in turn, or by one list for all of an account."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path

import yaml

from bench.report import Row, Tables
from exporter.app import Components, assemble
from exporter.simulator import Demand, RegionSpec, Simulator, UserSpec, default_regions

REGIONS, MEMBERS = 6, 50
# The most that a minute may take, with an interval of a minute, as a share of the other way.
AIM = 30 / 600


def tables() -> Tables:
    one_by_one, by_one_list = asyncio.run(measured())
    yield (
        f"Requests of a round of polls, {MEMBERS} members in each of {REGIONS} regions",
        [Row("live_jobs, against member_jobs and queue_jobs", "requests", by_one_list, one_by_one, AIM)],
    )


async def measured() -> tuple[int, int]:
    """Return the requests of one round with `member_jobs` and `queue_jobs`, and with `live_jobs`."""
    specs = [populated(spec) for spec in default_regions(REGIONS)]
    async with Simulator(specs, clock=lambda: 0.0) as simulator:
        one_by_one = await requests_of(simulator, ["queue_jobs", "member_jobs"])
        return one_by_one, await requests_of(simulator, ["live_jobs"])


def populated(spec: RegionSpec) -> RegionSpec:
    """Return a region with `MEMBERS` members, each of whom has a few jobs."""
    demand = Demand("normal", 2.0, 3600.0, cores=(4, 16), max_pending=3)
    users = [UserSpec(f"user{n}", spec.groups[0].name, (demand,), administrator=n == 0) for n in range(MEMBERS)]
    return replace(spec, users=tuple(users))


def assembled(configuration: str) -> Components:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "exporter.yml")
        path.write_text(configuration, encoding="utf-8")
        return assemble(path)


async def requests_of(simulator: Simulator, collect: list[str]) -> int:
    """Poll everything once; the number of requests, without those for tokens."""
    components = await asyncio.to_thread(assembled, configuration(simulator, collect))
    for api in simulator.apis:
        api.requests.clear()
    targets = [target for source in components.sources.values() for target in source.targets()]
    await asyncio.gather(*(target.poll() for target in targets))
    await components.close()
    return sum(api.requests.counts[name] for api in simulator.apis for name in collect)


def configuration(simulator: Simulator, collect: list[str]) -> str:
    account = simulator.accounts[0]
    clusters = [
        {
            "name": region.name,
            "cluster_id": region.cluster_id,
            "hpc_url": region.hpc_url,
            "account": "lab",
            "collect": collect,
            "users": [{"name": user.name, "token": region.token(user.name)} for user in region.spec.users],
            "members": [{"group_id": region.spec.groups[0].id, "users": [user.name for user in region.spec.users]}],
        }
        for region in simulator.regions.values()
    ]
    lab = {"name": "lab", "user": account.user, "access_key": account.access_key, "secret_key": account.secret_key}
    return yaml.safe_dump({"accounts": [lab | {"token_url": simulator.token_url}], "clusters": clusters})
