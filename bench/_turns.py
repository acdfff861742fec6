"""The part of a contender that sleeps until it is its turn: see `_process.pairs`."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

# After the sleep everything is due at once; this long until the rhythm is back, in seconds.
SETTLE = 0.4


async def take_turns(measure: Callable[[], Awaitable[dict[str, float]]]) -> None:
    """Say that all is ready, then measure and print for every line of standard input, until it ends."""
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        await asyncio.sleep(SETTLE)
        print(json.dumps(await measure()), flush=True)
