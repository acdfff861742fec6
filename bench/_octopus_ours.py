"""``python -m bench._octopus_ours URL READINGS``: a queue read, compared with the reading before, and rendered.

All in milliseconds, but `memory` (MiB after the last reading) and `grown`: by how many blocks of Python's memory the
second half of the readings grew. MiB would tell less: the allocator keeps what threads gave back.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from exporter.clock import SystemClock
from exporter.config import InlineSecret, OctopusProject, OctopusQueue, PollSettings
from exporter.metrics.own import OwnMetrics
from exporter.metrics.snapshot import Exposition
from exporter.sources.octopus.project import Project
from exporter.sources.services import Services

# The first readings allocate what all the others use.
WARM_UP = 3


class LongestBlock:
    """The most processor time that the event loop's thread spent in one go, in milliseconds."""

    def __init__(self) -> None:
        self.value = 0.0
        handle: Any = asyncio.Handle
        run = handle._run  # noqa: SLF001 - where every callback passes

        def timed(callback: asyncio.Handle) -> None:
            before = time.thread_time()
            run(callback)
            self.value = max(self.value, (time.thread_time() - before) * 1000)

        handle._run = timed  # noqa: SLF001 - as above


def resident() -> float:
    """MiB of memory now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


async def measure(url: str, readings: int) -> dict[str, float]:
    queue = OctopusQueue(queue_type="PROCESSOR", cluster_type="MODELARTS", cluster_id="pool-1", target="PROCESSOR")
    settings = OctopusProject(
        name="bench",
        base_url=url,
        project_id="bench",
        credential=InlineSecret("none"),
        queues=(queue,),
        poll=PollSettings(stale_after=3600.0),
    )
    services = Services(SystemClock(), OwnMetrics(), Exposition())
    project = Project(settings, services, slots=asyncio.Semaphore(16), tls=True)
    (target,) = project.targets()
    for _ in range(WARM_UP):
        await target.publish(await target.poll())
    block = LongestBlock()
    wall, cpu = time.perf_counter(), time.process_time()
    halfway = 0
    for reading in range(readings):
        await target.publish(await target.poll())
        if reading == readings // 2:
            halfway = sys.getallocatedblocks()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await project.close()
    return {
        "cpu": cpu / readings * 1000,
        "wall": wall / readings * 1000,
        "block": block.value,
        "memory": resident(),
        "grown": sys.getallocatedblocks() - halfway,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[2])))))
