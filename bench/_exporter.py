"""The exporter as `hpc-exporter serve` runs it, in this process, polling a static region."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from bench._plan import GROUP_ID, SOURCE, Plan
from exporter import log
from exporter.app import Application, Options
from exporter.cli.serve import collector_paused, tune_collector
from exporter.web import create_app


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
async def running(plan: Plan) -> AsyncIterator[Application]:
    """The exporter, after every user was polled once."""
    log.setup("error")
    with tempfile.TemporaryDirectory(prefix="hpc-exporter-bench-") as folder:
        config_file = Path(folder) / "exporter.yml"
        (Path(folder) / "token").write_text("none", encoding="utf-8")
        config_file.write_text(configuration(plan), encoding="utf-8")
        app = Application(Options(config_file))
        tune_collector()
        with collector_paused():
            await app.start()
        try:
            await app.poller.wait_ready()
            yield app
        finally:
            await app.stop()


@asynccontextmanager
async def serving(app: Application) -> AsyncIterator[str]:
    """The exporter's web server on loopback; the URL of its metrics."""
    runner = web.AppRunner(create_app(app), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    finally:
        await runner.cleanup()


def polls(app: Application, endpoint: str) -> float:
    """How many polls have ended well."""
    labels = {"source": SOURCE, "endpoint": endpoint}
    total = app.own.registry.get_sample_value("hpc_exporter_polls_total", labels) or 0.0
    failed = sum(
        sample.value
        for family in app.own.poll_failures.collect()
        for sample in family.samples
        if sample.labels["endpoint"] == endpoint
    )
    assert not failed, f"{failed:.0f} polls failed; the figures would mean nothing"
    return total


async def cpu_per_poll(app: Application, endpoint: str, seconds: float) -> float:
    """Processor time of the process for each poll over some seconds, in microseconds."""
    before, cpu = polls(app, endpoint), time.process_time()
    await asyncio.sleep(seconds)
    cpu = time.process_time() - cpu
    return cpu / (polls(app, endpoint) - before) * 1e6
