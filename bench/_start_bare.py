"""``python -m bench._start_bare URL USERS INTERVAL``: asks for every user once, as the exporter does at its start, and ends."""

import asyncio
import sys

from bench._plan import Plan
from bench._polls_bare import BareLoop

# Seconds in which all are to be asked for, as with the exporter.
SPREAD = 1.0


async def ask_all(plan: Plan) -> None:
    loop = BareLoop(plan, SPREAD)
    task = asyncio.create_task(loop.run())
    while loop.polls < plan.users:  # noqa: ASYNC110 - to set an event would be work that the others do not have
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])


if __name__ == "__main__":
    url, users, interval = sys.argv[1:]
    asyncio.run(ask_all(Plan(url, int(users), float(interval))))
