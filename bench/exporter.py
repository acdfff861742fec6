"""The exporter as `hpc-exporter serve` runs it, but in this process, and how to watch it."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from bench.upstream import GROUP_ID, SOURCE, Plan
from exporter import log
from exporter.app import Application, Options
from exporter.cli.serve import collector_paused, tune_collector
from exporter.clock import Clock
from exporter.web.server import create_app

# Seconds between two looks at the clock; a shorter block is not seen.
PULSE = 0.001


def configuration(plan: Plan) -> str:
    users = ", ".join(f"user{index:05d}" for index in range(plan.users))
    return f"""\
poll: {{interval: {round(plan.interval * 1000)}ms, stale_after: 1h, max_concurrency: {plan.concurrency}}}
clusters:
  - name: {plan.source}
    cluster_id: 11112
    hpc_url: {plan.url}
    token_file: token
    collect: [{plan.endpoint}]
    users: [{users}]
    members: [{{group_id: {GROUP_ID}, group: chemistry, users: [{users}]}}]
tracking: {{enabled: false}}
"""


@asynccontextmanager
async def running(plan: Plan, clock: Clock | None = None) -> AsyncIterator[Application]:
    """Yield the exporter, after every user was polled once."""
    log.setup("error")
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-bench-") as folder:
        config_file = Path(folder) / "exporter.yml"
        (Path(folder) / "token").write_text("none", encoding="utf-8")
        config_file.write_text(configuration(plan), encoding="utf-8")
        app = Application(Options(config_file), clock)
        tune_collector()
        with collector_paused():
            await app.start()
        try:
            await app.scheduler.wait_ready()
            yield app
        finally:
            await app.stop()


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[str]:
    """Yield the exporter's web server on loopback; the URL of its metrics."""
    runner = web.AppRunner(create_app(app), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


def polls_of(app: Application, endpoint: str) -> float:
    """Return the number of polls so far; AssertionError if one failed, as the figures would then mean nothing."""
    labels = {"source": SOURCE, "collector": endpoint}
    total = app.own.registry.get_sample_value("hpc_exporter_polls_total", labels) or 0.0
    failed = sum(
        sample.value
        for family in app.own.registry.restricted_registry(["hpc_exporter_poll_failures_total"]).collect()
        for sample in family.samples
        if sample.labels["collector"] == endpoint
    )
    assert not failed, f"{failed:.0f} polls failed"
    return total


def resident(field: str = "VmRSS") -> float:
    """Memory of this process in MiB: resident now, or with VmHWM the highest ever. Linux only."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


@dataclass(slots=True)
class Watch:
    """The longest blocks of the event loop since the last `reset`, in milliseconds.

    `wall` holds other processes' share of the processors. `cpu` does not: it is processor time of the event loop's
    thread, so it leaves out waits for the interpreter's lock as well.
    """

    wall: float = 0.0
    cpu: float = 0.0

    def reset(self) -> None:
        self.wall = self.cpu = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        before, cpu_before = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(PULSE)
            now, cpu_now = time.perf_counter(), time.thread_time()
            self.wall = max(self.wall, (now - before - PULSE) * 1000)
            self.cpu = max(self.cpu, (cpu_now - cpu_before) * 1000)
            before, cpu_before = now, cpu_now


@asynccontextmanager
async def watching() -> AsyncIterator[Watch]:
    watch = Watch()
    looking = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        looking.cancel()
