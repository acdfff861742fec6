"""``python -m bench._clock_region USERS``: a region that changes all the time: its running jobs are the time in Unix ms."""

import asyncio
import sys
import time

from exporter.simulator.static import StaticRegion

# As long as the time is for the next centuries: so all answers are of one length.
MARK = b"1234567890123"


class ClockRegion(StaticRegion):
    """Each user has one queue; its running jobs tell when the answer was given."""

    def __init__(self, users: int) -> None:
        super().__init__(users, queues=1)
        values = b'[{"metricName":"R","metricValue":%b},{"metricName":"Q","metricValue":1}]' % MARK
        body = b'{"code":"0","msg":"success","data":[{"name":"debug","values":%b}]}' % values
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._template = head.encode() + body

    def answer(self, head: bytes) -> bytes:  # noqa: ARG002 - no matter who asks
        """The time."""
        return self._template.replace(MARK, b"%d" % (time.time() * 1000))


async def serve(users: int) -> None:
    async with ClockRegion(users) as region:
        print(region.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
