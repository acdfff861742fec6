"""Blocks of the event loop by a reload, a changed token file and the status page at ten thousand users."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import aiohttp

from bench import upstream
from bench.contenders import Result, command, result_of, server
from bench.exporter import configuration, running, serving, watching
from bench.report import Row, Tables
from bench.upstream import Plan
from exporter.app import Application
from exporter.cli.serve import reload_uncollected
from exporter.polling import TargetKey
from exporter.records import Job, JobState
from exporter.sources.display import MemberJobs
from exporter.sources.per_job import PerJobBudget

USERS, QUEUES, INTERVAL = 10_000, 5, 20
# Seconds; a token file is looked at every two.
UNTIL_SEEN = 3.0
AIM = 20.0
JOBS = 100_000


def tables() -> Tables:
    with server(upstream.unchanging, USERS + 1, QUEUES) as url:  # one more for a reload
        blocks = result_of(ours, url, USERS, INTERVAL)
    yield (
        f"Longest block, processor time without a break, {USERS:,} users, {USERS // INTERVAL} polls/s",
        [Row(happening, "ms", milliseconds, aim=AIM) for happening, milliseconds in blocks.items()],
    )


async def ours(url: str, users: int, interval: float) -> Result:
    """Return the longest block by what happened, in milliseconds, while all users are polled in their rhythm."""
    plan, results = Plan(url, users, interval), {}
    async with running(plan) as app, serving(app) as metrics, watching() as watch:
        app.around_reload = reload_uncollected
        for name, happening in happenings(app, plan, metrics.removesuffix("/metrics")).items():
            await asyncio.sleep(0.5)
            watch.reset()
            await happening()
            await asyncio.sleep(0.5)
            results[name] = watch.cpu
    return results


def happenings(app: Application, plan: Plan, url: str) -> dict[str, Callable[[], Awaitable[None]]]:
    file = app.options.config_file

    async def reload(**changes: object) -> None:
        text = configuration(replace(plan, **changes))  # type: ignore[arg-type]  # fields of the plan
        await asyncio.to_thread(file.write_text, text, encoding="utf-8")
        await app.reload()

    async def change_token() -> None:
        (file.parent / "token").write_text("another", encoding="utf-8")
        await asyncio.sleep(UNTIL_SEEN)

    async def get(path: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
            assert answer.status == 200
            await answer.read()

    list_jobs(app)
    return {
        "reload of the same": reload,
        "reload with one user more": lambda: reload(users=plan.users + 1),
        "reload with another interval": lambda: reload(interval=plan.interval + 1),
        "token file changed": change_token,
        "status page": lambda: get("/"),
        "status of 1000 targets": lambda: get("/api/v1/status"),
        "status of 10000 targets": lambda: get("/api/v1/status?limit=10000"),
        f"page of {JOBS:,} single jobs": lambda: get("/?view=jobs"),
        "these as CSV": lambda: get("/api/v1/jobs.csv"),
        "reload without the region": lambda: reload(users=1, source="other"),
        "reload with the region again": reload,
    }


def list_jobs(app: Application) -> None:
    """Let the status page have single jobs of one member, as a poll does with ``per_job``."""
    now = time.time()
    jobs = tuple(
        Job(str(number), "vasp", JobState.QUEUED, queue="comp", submitted=now - number) for number in range(JOBS)
    )
    display = app._display  # noqa: SLF001 - where polls put jobs
    display.per_job = PerJobBudget(0)
    key = TargetKey("large", "member_jobs", "chemistry/alice")
    display.figures.show_jobs(key, (MemberJobs(key.source, "chemistry", "alice", "1", jobs),))


if __name__ == "__main__":
    command(ours)
