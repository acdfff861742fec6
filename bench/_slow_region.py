"""``python -m bench._slow_region USERS MILLISECONDS``: a static region that takes its time for every answer."""

import asyncio
import sys

from exporter.simulator.static import StaticRegion


async def serve(users: int, delay: float) -> None:
    async with StaticRegion(users, delay=delay) as region:
        print(region.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
