"""Hours of history of simulated regions within seconds, for dashboards to be looked at and queries to be tried.

``python -m tools.history --hours=8 --state=broken`` starts a Prometheus (its `prometheus` and `promtool` have to
be installed) that holds it. The exporter is the real one, polling a simulator over real sockets, on a loop of virtual
time; Prometheus' scrapes are written as OpenMetrics with timestamps and made into blocks by promtool.
"""

import argparse
import asyncio
import contextlib
import logging
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from exporter.app import Application, Options
from exporter.cli.simulate import configuration
from exporter.metrics.format import Format
from exporter.polling import Shard
from exporter.simulator import (
    Fault,
    ProjectSpec,
    Region,
    RegionSpec,
    Simulator,
    UserSpec,
    default_projects,
    default_regions,
)
from tools.virtualtime import VirtualClock, run

MINUTE, HOUR = 60.0, 3600.0
LABELS: Final = 'job="hpc-exporter",instance="hpc-exporter-{}:9851"'
STATES: Final = ("healthy", "broken")
# Durations of requests: (seconds, probability).
LATENCIES: Final = ((0.04, 1.0), (0.3, 0.2), (2.0, 0.02))


@dataclass(frozen=True)
class Story:
    """Parameters of the history. Times are in seconds; `end` is a Unix time.

    `ahead` is how much of it lies in the future of its reader. `still` before the end, jobs stop changing.
    `shards` exporters share the targets.
    """

    hours: float = 6.0
    state: str = "healthy"
    regions: int = 2
    projects: int = 1
    end: float = field(default_factory=time.time)
    scrape_interval: float = 30.0
    poll_interval: float = 60.0
    still: float = 0.0
    ahead: float = 0.0
    seed: int = 1
    shards: int = 1

    @property
    def seconds(self) -> float:
        return self.hours * HOUR


class Record:
    """Scrapes as Prometheus would have stored them."""

    def __init__(self) -> None:
        self._types: dict[str, str] = {"up": "gauge"}
        # By family, then by series and the shard that it comes from.
        self._samples: defaultdict[str, defaultdict[tuple[str, int], list[str]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def scrape(self, document: str, at: float, shard: int) -> None:
        """Keep the exposition (OpenMetrics) of a shard at that Unix time."""
        self.up(1, at, shard)
        family, samples = "", self._samples[""]
        for line in document.splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                self._types[family], samples = kind, self._samples[family]
            elif not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                samples[series, shard].append(f"{value} {at:.3f}\n")

    def up(self, value: int, at: float, shard: int) -> None:
        """Whether the scrape of a shard at that Unix time worked."""
        self._samples["up"]["up", shard].append(f"{value} {at:.3f}\n")

    def lines(self) -> Iterable[str]:
        """Yield the whole as OpenMetrics, each series with all its samples."""
        for family, series_of_family in self._samples.items():
            if series_of_family:
                yield f"# TYPE {family} {self._types[family]}\n"
            for (series, shard), samples in series_of_family.items():
                name, brace, rest = series.partition("{")
                labels = LABELS.format(shard)
                labelled = f"{name}{{{labels},{rest}" if brace else f"{name}{{{labels}}}"
                yield from (f"{labelled} {sample}" for sample in samples)
        yield "# EOF\n"


@dataclass
class Past:
    """The scrapes, and the simulator at their end."""

    record: Record
    simulator: Simulator
    end: float


async def live(story: Story) -> Past:
    """Live through the story, on a loop of virtual time."""
    clock = VirtualClock(story.end - story.seconds)
    standing_still = story.seconds - story.still
    record = Record()
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-history-") as folder:
        async with Simulator(
            [_region(spec, story) for spec in default_regions(story.regions)],
            projects=[_project(spec, story) for spec in default_projects(story.projects)],
            seed=story.seed,
            clock=lambda: min(clock.monotonic(), standing_still),
            wall_clock=clock.now,
            # In the broken state what was pasted is about to end.
            token_lifetime=story.seconds + (2 if story.state == "broken" else 240) * HOUR,
        ) as simulator:
            file = Path(folder) / "exporter.yml"
            file.write_text(_configuration(simulator, story), encoding="utf-8")
            if story.state == "healthy":
                simulator.platform.pay("erin", 10_000.0)
            _slow_down(simulator)
            events = _break(simulator, story) if story.state == "broken" else []
            await _scrape(story, clock, record, file, events)
    return Past(record, simulator, story.end)


def _region(spec: RegionSpec, story: Story) -> RegionSpec:
    """In the healthy state less is requested than there is."""
    factor = 0.45 if story.state == "healthy" else 1.0
    return replace(spec, users=tuple(_busier(user, factor) for user in spec.users), warm_up=12 * HOUR)


def _busier(user: UserSpec, factor: float, pending: int | None = None) -> UserSpec:
    return replace(
        user,
        demands=tuple(
            replace(demand, jobs_per_hour=demand.jobs_per_hour * factor, max_pending=pending or demand.max_pending)
            for demand in user.demands
        ),
    )


def _project(spec: ProjectSpec, story: Story) -> ProjectSpec:
    """In the broken state so much arrives that the queue grows without end; else the queue is short."""
    factor, pending = (0.7, 110) if story.state == "healthy" else (1.15, 600)
    users = tuple(_busier(user, factor, pending) for user in spec.batch.users)
    return replace(spec, batch=replace(spec.batch, users=users, warm_up=3 * HOUR))


def _configuration(simulator: Simulator, story: Story) -> str:
    text = configuration(simulator).replace("interval: 5s", f"interval: {story.poll_interval:.0f}s")
    return f"per_job: {{enabled: true, max_jobs: {40 if story.state == 'broken' else 500}}}\n{text}"


def _slow_down(simulator: Simulator) -> None:
    everything = [region.faults for region in simulator.regions.values()]
    for faults in everything + [project.faults for project in simulator.projects.values()]:
        for seconds, probability in LATENCIES:
            faults.add(Fault(kind="delay", seconds=seconds, probability=probability))


Event = tuple[float, Callable[[], None]]


def _break(simulator: Simulator, story: Story) -> list[Event]:
    """Return a bad day of the first region, and an outage of the last: what happens, and how far into the story."""
    regions = list(simulator.regions.values())
    first, last = regions[0], regions[-1]
    at = story.seconds - story.ahead

    def order(region: Region, fault: Fault) -> Callable[[], None]:
        return lambda: region.faults.add(fault)

    def fail_jobs() -> None:
        habits = replace(first.batch.spec.habits, fails=0.9)
        first.batch.spec = replace(first.batch.spec, habits=habits)

    stuck = [
        {
            "name": "dcu",
            "values": [
                {"metricName": letter, "metricValue": count}
                for letter, count in zip("RQHSO", (0, 9, 2, 0, 0), strict=True)
            ],
        }
    ]
    odd = Fault(
        kind="code",
        code="0",
        endpoint="member_jobs",
        user="carol",
        data=[{"id": "7", "name": "odd", "status": "statZ"}, "what is this"],
    )
    return [
        (0.2 * at, order(first, Fault(kind="code", code="0", endpoint="queue_jobs", user="zhang-san", data=stuck))),
        (0.5 * at, fail_jobs),
        (0.6 * at, order(first, odd)),
        (
            0.7 * at,
            order(first, Fault(kind="status", status=429, endpoint="queue_jobs", retry_after=1, probability=0.4)),
        ),
        (0.75 * at, order(first, Fault(kind="refused", endpoint="queue_jobs", user="alice"))),
        (0.8 * at, order(first, Fault(kind="code", code="0", endpoint="schedulers", data=[]))),
        (0.85 * at, order(last, Fault(kind="status", status=503))),
    ]


async def _scrape(story: Story, clock: VirtualClock, record: Record, file: Path, events: list[Event]) -> None:
    """Scrape until the end. In the broken state the exporters are away for four minutes, and lose what they counted."""
    waiting = sorted(events, key=lambda event: event[0])
    away = (story.seconds - story.ahead) * 0.4 if story.state == "broken" else float("inf")
    applications: list[Application] = []
    shards = [Shard(ordinal, story.shards) for ordinal in range(story.shards)]
    async with contextlib.AsyncExitStack() as stack:
        for number in range(int(story.seconds / story.scrape_interval) + 1):
            moment = number * story.scrape_interval
            await asyncio.sleep(max(0.0, moment - clock.monotonic()))
            while waiting and waiting[0][0] <= moment:
                waiting.pop(0)[1]()
            if away <= moment < away + 4 * MINUTE:
                await stack.aclose()
                applications = []
                for shard in shards:
                    record.up(0, clock.start + moment, shard.ordinal)
                continue
            if not applications:
                applications = [await stack.enter_async_context(_running(file, clock, shard)) for shard in shards]
            for shard, application in zip(shards, applications, strict=True):
                document = await application.metrics(Format.OPENMETRICS, compress=False)
                record.scrape(document.decode(), clock.start + moment, shard.ordinal)
                application.http_request("/metrics", 200)


@contextlib.asynccontextmanager
async def _running(file: Path, clock: VirtualClock, shard: Shard) -> AsyncIterator[Application]:
    application = Application(Options(file, shard=shard), clock)
    await application.start()
    try:
        yield application
    finally:
        await application.stop()


def blocks(past: Past, folder: Path) -> Path:
    """Prometheus' data folder with all of it, made in `folder`. Raises OSError where there is no promtool."""
    text, data = folder / "history.om", folder / "data"
    with text.open("w", encoding="utf-8") as output:
        output.writelines(past.record.lines())
    made = subprocess.run(  # noqa: S603 - files of ours
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)],  # noqa: S607 - wherever it is
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        raise OSError(f"promtool made no blocks: {made.stderr}")
    text.unlink()
    return data


def prometheus_command(data: Path, config: Path, address: str) -> list[str]:
    """Return flags of a Prometheus on such a folder; what was gone in history is soon gone in a query, too."""
    return [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=10y",
        "--query.lookback-delta=90s",
        f"--web.listen-address={address}",
        "--log.level=info",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--state", choices=STATES, default="healthy")
    parser.add_argument("--regions", type=int, default=2)
    parser.add_argument("--scrape-interval", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--ahead", type=float, default=1.0, metavar="HOURS", help="how much of it lies in the future")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write OpenMetrics there and stop")
    parser.add_argument("--listen-address", default="127.0.0.1:9090", help="of the Prometheus that is started")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    end = time.time() // 60 * 60 + args.ahead * HOUR
    past = run(
        live(
            Story(
                args.hours + args.ahead,
                args.state,
                args.regions,
                end=end,
                scrape_interval=args.scrape_interval,
                ahead=args.ahead * HOUR,
            )
        )
    )
    if args.output:
        with args.output.open("w", encoding="utf-8") as output:
            output.writelines(past.record.lines())
        return
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-history-") as folder:
        data, config = blocks(past, Path(folder)), Path(folder) / "prometheus.yml"
        config.write_text("{}\n", encoding="utf-8")
        print(f"http://{args.listen_address}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            subprocess.run(prometheus_command(data, config, args.listen_address), check=False)  # noqa: S603 - as above


if __name__ == "__main__":
    main()
