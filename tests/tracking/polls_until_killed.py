"""Polls the members of `lives` from a given poll on, without pause, and says what is shown after each poll.

Arguments: the state file, the first poll, the last poll.
"""

import asyncio
import sys
from pathlib import Path

from exporter.tracking import TrackingService
from exporter.tracking import service as service_module
from tests.tracking.lives import ALONE, INTERVAL, KEY, alone, listing, time_of


async def main(state_file: Path, first: int, last: int) -> None:
    # As in the test: after 5 s a poll would be shown before it is written.
    service_module._HANG_TIMEOUT = 300.0  # type: ignore[misc]  # a constant
    service = TrackingService(state_file, flush_interval=0.001)
    await service.start()
    for poll in range(first, last + 1):
        print("polling", poll, flush=True)  # noqa: T201 - this is how it talks to the test
        await asyncio.gather(
            service.observe(KEY, listing(poll), time_of(poll), INTERVAL),
            service.observe(ALONE, alone(poll), time_of(poll), INTERVAL),
        )
        view = service.member(KEY)
        heads = sum(waits.heads for waits in service.waits(ALONE.source))
        print("shown", poll, view.finished["completed"], view.cpu_seconds or 0.0, heads, flush=True)  # noqa: T201 - the same
    await service.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
