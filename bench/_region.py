"""``python -m bench._region USERS QUEUES CHANGING``: a static region that serves until its standard input ends."""

import asyncio
import sys

from exporter.simulator.static import StaticRegion


class ChangingRegion(StaticRegion):
    """Every user has two answers, given by turns."""

    def __init__(self, users: int, queues: int) -> None:
        super().__init__(users, queues)
        self._next = dict(self._answers)
        self.change()

    def answer(self, head: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if path in self._next:
            self._answers[path], self._next[path] = self._next[path], self._answers[path]
        return super().answer(head)


async def serve(users: int, queues: int, *, changing: bool) -> None:
    region = ChangingRegion(users, queues) if changing else StaticRegion(users, queues)
    async with region:
        print(region.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), changing=bool(int(sys.argv[3]))))
