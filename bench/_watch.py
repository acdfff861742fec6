"""How long the event loop is kept from turning to somebody else."""

import asyncio
import time
from dataclasses import dataclass

# Between two looks; what is shorter is not seen.
PULSE = 0.001


@dataclass(slots=True)
class Watch:
    """Looks at the clock every millisecond, if it is let. `wall` holds other processes' share of the CPUs, `cpu` does not.

    Both are the longest times in seconds since the last `reset`; `cpu` is that of the event loop's thread, so it leaves
    out waits for the interpreter's lock, which `wall` holds.
    """

    wall: float = 0.0
    cpu: float = 0.0

    def reset(self) -> None:
        self.wall = self.cpu = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        before, cpu_before = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(PULSE)
            now, cpu_now = time.perf_counter(), time.thread_time()
            self.wall = max(self.wall, now - before - PULSE)
            self.cpu = max(self.cpu, cpu_now - cpu_before)
            before, cpu_before = now, cpu_now
