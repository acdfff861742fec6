"""``python -m bench._crowd URL``: how long scrapes take, one after the other and many at a time; how many of these fail."""

import asyncio
import json
import sys
import time
from statistics import median
from urllib.parse import urlsplit

SINGLE, CROWD, AT_A_TIME = 20, 1000, 40


class Connection:
    """To one server, kept open."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._url.hostname, self._url.port)

    async def scrape(self) -> tuple[float, bool]:
        """How many seconds it took, and whether it worked."""
        started = time.perf_counter()
        request = f"GET {self._url.path} HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n\r\n"
        self._writer.write(request.encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        await self._reader.readexactly(length)
        return time.perf_counter() - started, b" 200 " in head.split(b"\r\n")[0]


async def some(connection: Connection, scrapes: int) -> list[tuple[float, bool]]:
    return [await connection.scrape() for _ in range(scrapes)]


async def measure(url: str) -> dict[str, float]:
    connections = [Connection(url) for _ in range(AT_A_TIME)]
    for connection in connections:
        await connection.open()
    single = await some(connections[0], SINGLE)
    share = CROWD // AT_A_TIME
    crowd = [each for of_one in await asyncio.gather(*(some(one, share) for one in connections)) for each in of_one]
    seconds = sorted(taken for taken, _ in crowd)
    return {
        "single": median(taken for taken, _ in single),
        "p50": median(seconds),
        "p99": seconds[len(seconds) * 99 // 100],
        "failed": sum(not worked for _, worked in crowd),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1]))))
