"""``python -m bench._memory_ours URL USERS INTERVAL``: resident memory of the exporter in MiB. Linux only."""

import asyncio
import json
import sys
from pathlib import Path

from bench._exporter import polls, running, serving
from bench._plan import QUEUE_JOBS, Plan
from bench._scrapes_ours import a_scraper

SCRAPES = 3


def resident(what: str = "VmRSS") -> float:
    """MiB of memory that the process has now, or with VmHWM: the most that it ever had."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) / 1024


async def measure(plan: Plan) -> dict[str, float]:
    """After two polls of everything: without a scrape, after scrapes as Prometheus does them, at the worst in any scrape."""
    async with running(plan) as app, serving(app) as url, a_scraper(url) as scraper:
        while polls(app, QUEUE_JOBS) < 2 * plan.users:  # noqa: ASYNC110 - the exporter has no event for it
            await asyncio.sleep(1)
        results = {"polled": resident()}
        for _ in range(SCRAPES):
            await scraper.scrape(gzip=True)
        results["scraped"] = resident()
        for _ in range(SCRAPES):
            await scraper.scrape(gzip=False)
        return {**results, "highest": resident("VmHWM")}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(Plan(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))))))
