"""`hpc-exporter demo`: simulator, exporter and status page in one process, no configuration needed."""

import argparse
import asyncio
import tempfile
from pathlib import Path

from exporter.cli import options, serve, simulate
from exporter.cli.commands import Command
from exporter.cli.output import print_error, print_line
from exporter.simulator import Simulator, default_projects, default_regions
from exporter.text import counted
from exporter.web.listen import ListenError, parse_listen_address

DEFAULT_LISTEN = "127.0.0.1:9851"

EXAMPLE = """example:
  hpc-exporter demo --speed-up=60
  curl http://127.0.0.1:9851/metrics
"""


COMMAND = Command(
    "watch simulated regions: nothing to configure",
    "Run simulated SCNet regions, a simulated Octopus project and an exporter that polls them, in one process, until "
    "interrupted.",
    EXAMPLE,
    *simulate.world(regions=2),
    *serve.web_server(DEFAULT_LISTEN),
    # The addresses are the last lines.
    *options.logging("warning"),
)


def run(args: argparse.Namespace) -> int:
    args.config_enable_auto_reload = False
    args.web_listen_address = args.web_listen_address or [parse_listen_address(DEFAULT_LISTEN)]
    try:
        return asyncio.run(demo(args))
    except ListenError as error:
        raise ListenError(f"{error}; another port: --web.listen-address=127.0.0.1:0, or make demo PORT=9852") from None


async def demo(args: argparse.Namespace) -> int:
    """Serve until told to stop; the exit status."""
    regions = counted(args.regions, "region")
    print_error(f"Simulating {regions} in which time passes {args.speed_up:g} times as fast; Ctrl-C ends it ...")
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-demo-") as folder:
        async with Simulator(
            default_regions(args.regions),
            projects=default_projects(args.projects),
            seed=args.seed,
            speed_up=args.speed_up,
        ) as simulator:
            args.config_file = Path(folder) / "exporter.yml"
            configuration = f"per_job: {{enabled: true}}\n{simulate.configuration(simulator)}"
            args.config_file.write_text(configuration, encoding="utf-8")
            return await serve.serve(args, announce=lambda url: announce(url, args.web_telemetry_path))


def announce(url: str, telemetry_path: str) -> None:
    """Print the addresses."""
    print_line(f"Status page: {url}/\nMetrics:     {url}{telemetry_path}")
