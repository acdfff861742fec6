"""``python -m bench._loop_bare SECONDS``: how long an idle event loop is kept waiting on this machine as it is now."""

import asyncio
import json
import sys

from bench._watch import Watch


async def measure(seconds: float) -> dict[str, float]:
    watch = Watch()
    watching = asyncio.create_task(watch.run())
    await asyncio.sleep(seconds)
    watching.cancel()
    return {"wall": watch.wall * 1000, "cpu": watch.cpu * 1000}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(float(sys.argv[1])))))
