"""``python -m bench._polls_ours URL USERS INTERVAL ENDPOINT SECONDS``: what a poll costs the exporter, by turns."""

import asyncio
import sys

from bench._exporter import cpu_per_poll, running
from bench._plan import Plan
from bench._turns import take_turns


async def compete(plan: Plan, seconds: float) -> None:
    async def measure() -> dict[str, float]:
        return {"cpu": await cpu_per_poll(app, plan.endpoint, seconds)}

    async with running(plan) as app:
        await asyncio.sleep(plan.interval)  # past the start, when everything is new
        await take_turns(measure)


if __name__ == "__main__":
    url, users, interval, endpoint, seconds = sys.argv[1:]
    asyncio.run(compete(Plan(url, int(users), float(interval), endpoint), float(seconds)))
