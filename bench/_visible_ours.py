"""``python -m bench._visible_ours URL USERS INTERVAL``: the exporter polls a `_clock_region`; how late its changes are seen.

For every user a change is made up, at a moment of one interval drawn at random. Another process scrapes all the time,
and the change is seen at the end of the first scrape with an answer that was given after it.
"""

import asyncio
import json
import sys

from bench._exporter import running, serving
from bench._plan import Plan


async def measure(plan: Plan) -> bytes:
    async with running(plan) as app, serving(app) as url:
        await asyncio.sleep(1.5 * plan.interval)  # until each target has its own phase
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench._visible_scraper", url, str(plan.interval)), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output


if __name__ == "__main__":
    url, users, interval = sys.argv[1:]
    print(json.dumps(json.loads(asyncio.run(measure(Plan(url, int(users), float(interval)))))))
