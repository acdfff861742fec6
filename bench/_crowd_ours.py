"""``python -m bench._crowd_ours URL USERS INTERVAL``: the exporter polls, and another process scrapes it, alone and in a crowd."""

import asyncio
import json
import sys

from bench._exporter import running, serving
from bench._plan import Plan


async def measure(plan: Plan) -> bytes:
    async with running(plan) as app, serving(app) as url:
        await asyncio.sleep(plan.interval)  # past the start, when everything is new
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench._crowd", url), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output


if __name__ == "__main__":
    url, users, interval = sys.argv[1:]
    print(json.dumps(json.loads(asyncio.run(measure(Plan(url, int(users), float(interval)))))))
