"""``python -m bench._loop_ours URL USERS INTERVAL SECONDS``: the exporter's longest blocks of its event loop.

It polls all users in their rhythm while another process scrapes it every second, by turns with gzip and without.
"""

import asyncio
import json
import sys

from bench._exporter import running, serving
from bench._plan import Plan
from bench._scrapes_ours import Scraper, a_scraper
from bench._watch import Watch

WINDOWS = 3


async def measure(plan: Plan, seconds: float) -> dict[str, float]:
    async with running(plan) as app, serving(app) as url, a_scraper(url) as scraper:
        await asyncio.sleep(plan.interval)  # past the start, when everything is new
        watch = Watch()
        watching = asyncio.create_task(watch.run())
        windows = [await window(watch, scraper, seconds) for _ in range(WINDOWS)]
        watching.cancel()
    return {key: sorted(each[key] for each in windows)[WINDOWS // 2] for key in windows[0]}


async def window(watch: Watch, scraper: Scraper, seconds: float) -> dict[str, float]:
    """The longest blocks, in milliseconds."""
    watch.reset()
    for index in range(round(seconds)):
        scrape = asyncio.create_task(scraper.scrape(gzip=index % 2 == 0))
        await asyncio.sleep(1)
        await scrape
    return {"wall": watch.wall * 1000, "cpu": watch.cpu * 1000}


if __name__ == "__main__":
    url, users, interval, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(Plan(url, int(users), float(interval)), float(seconds)))))
