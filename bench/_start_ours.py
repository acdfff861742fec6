"""``python -m bench._start_ours URL USERS INTERVAL``: starts the exporter and ends when it is ready."""

import asyncio
import sys

from bench._exporter import running
from bench._plan import Plan


async def get_ready(plan: Plan) -> None:
    async with running(plan):
        pass


if __name__ == "__main__":
    url, users, interval = sys.argv[1:]
    asyncio.run(get_ready(Plan(url, int(users), float(interval))))
