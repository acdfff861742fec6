"""`hpc-exporter simulate`: a simulated SCNet region and Octopus project on loopback, and a configuration to watch them."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from exporter.cli import options
from exporter.cli.output import print_error, write
from exporter.simulator.octopus import DataQueueSpec, OctopusProject, default_projects
from exporter.simulator.scnet import Region
from exporter.simulator.server import Simulator, is_loopback
from exporter.simulator.spec import DAY, default_regions
from exporter.sources.collector import collectors_of

EXAMPLE = """example:
  hpc-exporter simulate --config-output=simulated.yml &
  hpc-exporter serve --config.file=simulated.yml
"""

_TRUTH_KEPT_FOR = DAY  # simulated, so that a simulator left running stays small


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the subcommand; its namespace's `run` is a function from the namespace to the exit status."""
    parser = subparsers.add_parser(
        "simulate",
        help="serve a simulated SCNet region and Octopus project on loopback",
        description="Serves simulated SCNet regions and Octopus projects on this machine until SIGINT or SIGTERM, and "
        "prints a configuration with which the exporter can poll them.",
        epilog=EXAMPLE,
    )
    parser.add_argument(
        "--listen-address",
        type=_address,
        default=("127.0.0.1", 0),
        metavar="HOST:PORT",
        help="loopback address of the first region; further ones and the projects take the following ports; port 0 "
        "picks free ones "
        "(default: 127.0.0.1:0)",
    )
    add_world(parser, regions=1)
    parser.add_argument(
        "--token-lifetime",
        type=options.positive,
        default=int(30 * DAY),
        metavar="SECONDS",
        help="how long tokens are good, in real seconds (default: 30 days)",
    )
    options.add_output(parser, "--config-output", "write the configuration to this file instead of standard output")
    parser.set_defaults(run=run)


def add_world(parser: argparse.ArgumentParser, *, regions: int) -> None:
    """The flags of what is simulated, which `demo` has as well; `regions` is the default number of regions."""
    parser.add_argument("--seed", type=int, default=1, help="equal seeds give equal histories (default: %(default)s)")
    parser.add_argument(
        "--speed-up",
        type=_speed,
        default=60.0,
        metavar="FACTOR",
        help="simulated seconds in each second (default: %(default)s)",
    )
    parser.add_argument(
        "--regions", type=options.positive, default=regions, metavar="N", help="how many regions (default: %(default)s)"
    )
    parser.add_argument(
        "--projects",
        type=options.non_negative,
        default=1,
        metavar="N",
        help="how many Octopus projects (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; 1 if the port is taken or the configuration cannot be written."""
    specs = default_regions(args.regions, truth_kept_for=_TRUTH_KEPT_FOR)
    simulator = Simulator(
        specs,
        projects=default_projects(args.projects, truth_kept_for=_TRUTH_KEPT_FOR),
        seed=args.seed,
        speed_up=args.speed_up,
        token_lifetime=args.token_lifetime,
    )
    try:
        asyncio.run(_serve(simulator, args.listen_address, args.config_output))
    except OSError as error:
        print_error(f"hpc-exporter simulate: {error}")
        return 1
    return 0


def configuration(simulator: Simulator) -> str:
    """A configuration (YAML) with which the exporter polls every user, member and queue of a started simulator.

    The tokens and passwords in it are good for nothing but this simulator.
    """
    lines = [
        "# A simulation: these tokens and passwords are good for nothing else.",
        "poll:",
        "  # Simulated time passes faster than real time; ask often enough to see jobs come and go.",
        "  interval: 5s",
        "  timeout: 5s",
    ]
    if simulator.regions:
        lines += [*_accounts(simulator), "clusters:"]
    for region in simulator.regions.values():
        lines += _cluster(region)
    if simulator.projects:
        lines.append("octopus:")
    for project in simulator.projects.values():
        lines += _project(project)
    return "\n".join(lines) + "\n"


def _accounts(simulator: Simulator) -> list[str]:
    """A login to try token renewal with: a comment, because the tokens below are enough."""
    lines = []
    for account in simulator.accounts:
        lines += [
            "# Instead of the tokens below, each region can have `account: NAME` with:",
            "# accounts:",
            f"#   - name: {_text(account.user)}",
            f"#     user: {_text(account.user)}",
            f"#     access_key: {_text(account.access_key)}",
            f"#     secret_key: {_text(account.secret_key)}",
            f"#     token_url: {_text(simulator.token_url)}",
        ]
    return lines


def _cluster(region: Region) -> list[str]:
    """The region's own token is an administrator's: it may list every member's jobs, but sees only its own queues."""
    spec = region.spec
    owner = next((user.name for user in spec.users if user.administrator), spec.users[0].name)
    lines = [
        f"  - name: {_text(spec.name)}",
        f"    cluster_id: {spec.cluster_id}",
        f"    hpc_url: {_text(region.hpc_url)}",
        f"    ac_url: {_text(region.ac_url)}",
        f"    token: {_text(region.token(owner))}",
        f"    collect: [{', '.join(collector.name for collector in collectors_of('clusters'))}]",
        "    users:",
    ]
    for user in spec.users:
        if user.name == owner:
            lines.append(f"      - {_text(user.name)}")
        else:
            lines.append(f"      - {{name: {_text(user.name)}, token: {_text(region.token(user.name))}}}")
    lines.append("    members:")
    for group in spec.groups:
        members = ", ".join(_text(user.name) for user in spec.users if user.group == group.name)
        lines += [
            f"      - group_id: {group.id}",
            f"        group: {_text(group.name)}",
            f"        users: [{members}]",
        ]
    return lines


def _project(project: OctopusProject) -> list[str]:
    spec = project.spec
    return [
        f"  - name: {_text(spec.name)}",
        f"    base_url: {_text(project.url)}",
        f"    project_id: {_text(spec.project_id)}",
        "    iam:",
        f"      url: {_text(project.url)}",
        f"      domain: {_text(spec.domain)}",
        f"      user: {_text(spec.user)}",
        f"      password: {_text(spec.password)}",
        f"      project: {_text(spec.region)}",
        "    queues:",
        *(f"      - {{{_queue(queue)}}}" for queue in spec.queues),
    ]


def _queue(queue: DataQueueSpec) -> str:
    named = {"queue_type": queue.queue_type, "cluster_type": queue.cluster_type, "cluster_id": queue.cluster_id}
    return ", ".join(f"{name}: {_text(value)}" for name, value in named.items() if value)


def _text(value: str) -> str:
    """A quoted YAML scalar: every JSON string is one."""
    return json.dumps(value, ensure_ascii=False)


async def _serve(simulator: Simulator, address: tuple[str, int], output: Path | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    host, port = address
    count = len(simulator.regions) + len(simulator.projects)
    await simulator.start(host, [port + index if port else 0 for index in range(count)])
    try:
        write(configuration(simulator), output)
        await stopped.wait()
    finally:
        await simulator.stop()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the highest port there is
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    if not is_loopback(host):
        raise argparse.ArgumentTypeError(f"{host} is not a loopback address; the simulator serves only this machine")
    return host, int(port)


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed <= DAY:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {DAY:.0f}")
    return speed
