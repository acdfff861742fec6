"""``python -m bench._polls_ours URL USERS INTERVAL ENDPOINT SECONDS``: what a poll costs the exporter."""

import asyncio
import json
import sys

from bench._exporter import Plan, cpu_per_poll, running


async def measure(plan: Plan, seconds: float) -> float:
    async with running(plan) as app:
        await asyncio.sleep(plan.interval)  # past the start, when everything is new
        return await cpu_per_poll(app, plan.endpoint, seconds)


if __name__ == "__main__":
    url, users, interval, endpoint, seconds = sys.argv[1:]
    print(json.dumps({"cpu": asyncio.run(measure(Plan(url, int(users), float(interval), endpoint), float(seconds)))}))
