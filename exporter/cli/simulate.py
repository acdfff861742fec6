"""`hpc-exporter simulate`: simulated SCNet regions and an Octopus project on loopback, with their configuration."""

import argparse
import asyncio
import math
from pathlib import Path

import yaml
from aiohttp import web

from exporter.cli import options
from exporter.cli.commands import Command, Flag, Value
from exporter.cli.output import print_error, write
from exporter.errors import ExporterError
from exporter.simulator.octopus import OctopusProject, default_projects
from exporter.simulator.quirks import Quirks
from exporter.simulator.replay import Replay, ReplayError
from exporter.simulator.replay import configuration as replayed_configuration
from exporter.simulator.scnet import Region
from exporter.simulator.server import Simulator, is_loopback, listen
from exporter.simulator.spec import DAY, default_regions
from exporter.simulator.tokens import Account
from exporter.sources.collector import Collector, collectors_of
from exporter.supervise import stop_on_signals

EXAMPLE = """example:
  hpc-exporter simulate --config-output=simulated.yml
  # in another terminal:
  hpc-exporter serve --config.file=simulated.yml
"""

HIGHEST_PORT = 65535
_TRUTH_KEPT_FOR = DAY  # simulated, so that a simulator left running stays small


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdecimal() and len(port) <= options.LONGEST_NUMBER) or int(port) > HIGHEST_PORT:
        raise ValueError(f"{text!r} is not HOST:PORT")
    if not is_loopback(host):
        raise ValueError(f"{host} is not a loopback address; the simulator serves only this machine")
    return host, int(port)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= DAY:
        raise ValueError(f"{text!r} is not a number above 0 and at most {DAY:.0f}")
    return speed


def world(*, regions: int) -> list[Flag]:
    """Return the flags of the simulation, which `demo` has as well; `regions` is the default number of regions."""
    speed = Value("FACTOR", options.read_by(_speed))
    return [
        Flag("--seed", "equal seeds give equal histories", options.number(), 1),
        Flag("--speed-up", "simulated seconds in each second", speed, 60.0),
        Flag("--regions", "number of regions", options.number(1), regions),
        Flag("--projects", "number of Octopus projects", options.number(0), 1),
    ]


COMMAND = Command(
    "serve a simulated SCNet region and Octopus project on loopback",
    "Serve simulated SCNet regions and Octopus projects on this machine until SIGINT or SIGTERM, and print a configuration with "
    "which the exporter can poll them.",
    EXAMPLE,
    Flag(
        "--listen-address",
        "loopback address of the first region; further ones, the projects and the platform take the following ports; port 0 "
        "picks free ones",
        Value("HOST:PORT", options.read_by(_address)),
        "127.0.0.1:0",
    ),
    *world(regions=1),
    Flag("--token-lifetime", "how long tokens are valid, in real time", options.SOME_TIME, "30d"),
    Flag("--strict-platform", "answer calls of the platform only at its own address and with its own token"),
    Flag("--replay", "serve the answers that `capture` wrote into this folder instead", Value("DIR", Path)),
    Flag("--config-output", "write the configuration to this file instead of standard output", options.FILE_OR_STREAM),
)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal. Raises ExporterError for a port that is taken, and for a folder that holds no capture."""
    try:
        asyncio.run(_serve(args) if args.replay is None else _serve_replay(args))
    except (OSError, ReplayError) as error:
        raise ExporterError(str(error)) from None
    return 0


def addresses(simulator: Simulator) -> list[str]:
    """Return a line for each address of a started simulator, and one that says how to discover its regions."""
    platform = [("platform", simulator.platform.url)] if simulator.regions else []
    served = [
        *((f"region {region.name}", region.hpc_url) for region in simulator.regions.values()),
        *((f"Octopus project {project.name}", project.url) for project in simulator.projects.values()),
        *platform,
    ]
    lines = [f"hpc-exporter simulate: {name} at {url}" for name, url in served]
    lines.append(f"hpc-exporter simulate: ready; GET {served[0][1]}/simulator lists what can be ordered")
    if platform:
        account = simulator.accounts[0]
        keys = f"SCNET_ACCESS_KEY={account.access_key} SCNET_SECRET_KEY={account.secret_key}"
        command = f"hpc-exporter discover --user={account.user} --token-url={simulator.token_url}"
        lines.append(f"hpc-exporter simulate: try {keys} {command}")
    return lines


def configuration(simulator: Simulator) -> str:
    """Return a configuration (YAML) with which the exporter polls every user, member and queue of a started simulator.

    The tokens and passwords in it are good for nothing but this simulator.
    """
    parts = [
        "# A simulation: these tokens and passwords are good for nothing else.",
        "# Simulated time passes faster than real time; poll often enough to see jobs come and go.",
    ]
    document: dict[str, object] = {"poll": {"interval": "5s", "timeout": "5s"}}
    if simulator.regions and simulator.accounts:
        parts.append("# Instead of a token, each region can have `account: NAME`.")
        document["accounts"] = [_account(account, simulator.token_url) for account in simulator.accounts]
    if simulator.regions:
        document["clusters"] = [_cluster(region, simulator) for region in simulator.regions.values()]
    if simulator.projects:
        document["octopus"] = list(map(_project, simulator.projects.values()))
    return "\n".join([*parts, _dumped(document)])


def _dumped(document: object) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=math.inf)


def _account(account: Account, token_url: str) -> dict[str, object]:
    return {
        "name": account.user,
        "user": account.user,
        "access_key": account.access_key,
        "secret_key": account.secret_key,
        "token_url": token_url,
        "collect": [collector.name for collector in collectors_of("accounts")],
    }


def _cluster(region: Region, simulator: Simulator) -> dict[str, object]:
    """Return the region's section.

    Its token is an administrator's: it lists all members' jobs, but only its own queues.

    A strict platform gives these lists for its own token only, which takes an account.
    """
    spec, strict = region.spec, region.quirks.strict_platform
    owner = next((user.name for user in spec.users if user.administrator), spec.users[0].name)
    return {
        "name": spec.name,
        "cluster_id": spec.cluster_id,
        "hpc_url": region.hpc_url,
        "ac_url": simulator.platform.url if strict else region.ac_url,
        **({"account": simulator.accounts[0].user} if strict else {"token": region.token(owner)}),
        "collect": [each.name for each in collectors_of("clusters") if _suits(each, simulator)],
        "users": [
            user.name if user.name == owner else {"name": user.name, "token": region.token(user.name)}
            for user in spec.users
        ],
        "members": [
            {
                "group_id": group.id,
                "group": group.name,
                "users": [user.name for user in spec.users if user.group == group.name],
            }
            for group in spec.groups
        ],
    }


def _suits(collector: Collector, simulator: Simulator) -> bool:
    """Whether a collector is for the configuration that is written: of the lists of jobs, the default one.

    Where time passes faster, the times in a history do not fit what polls see at the exporter's own speed.
    """
    if collector.tells_ends and simulator.speed_up != 1:
        return False
    return collector.default or not collector.lists_jobs


def _project(project: OctopusProject) -> dict[str, object]:
    spec = project.spec
    iam = {"domain": spec.domain, "user": spec.user, "password": spec.password, "project": spec.region}
    return {
        "name": spec.name,
        "base_url": project.url,
        "project_id": spec.project_id,
        "iam": {"url": project.url, **iam},
        "collect": [collector.name for collector in collectors_of("octopus")],
        "queues": [
            {name: value for name in ("queue_type", "cluster_type", "cluster_id") if (value := getattr(queue, name))}
            for queue in spec.queues
        ],
    }


async def _serve(args: argparse.Namespace) -> None:
    stopped = stop_on_signals()
    simulator = Simulator(
        default_regions(args.regions, truth_kept_for=_TRUTH_KEPT_FOR),
        projects=default_projects(args.projects, truth_kept_for=_TRUTH_KEPT_FOR),
        seed=args.seed,
        speed_up=args.speed_up,
        token_lifetime=args.token_lifetime,
        quirks=Quirks(strict_platform=args.strict_platform),
    )
    host, port = args.listen_address
    if port + len(simulator.apis) - 1 > HIGHEST_PORT:
        raise options.UsageError(
            f"{len(simulator.apis)} ports are needed from {port} on; the highest is {HIGHEST_PORT}"
        )
    await simulator.start(host, [port + index if port else 0 for index in range(len(simulator.apis))])
    try:
        write(configuration(simulator), args.config_output)
        print_error(*addresses(simulator))
        await stopped.wait()
    finally:
        await simulator.stop()


async def _serve_replay(args: argparse.Namespace) -> None:
    stopped, replay = stop_on_signals(), Replay(args.replay)
    runner, url = await listen([web.route("*", "/{path:.*}", replay.serve)], *args.listen_address)
    try:
        write(replayed_configuration(replay, url), args.config_output)
        print_error(f"hpc-exporter simulate: ready; captured answers of {', '.join(replay.sources)} at {url}")
        await stopped.wait()
    finally:
        await runner.cleanup()
