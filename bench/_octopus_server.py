"""``python -m bench._octopus_server ENTRIES CHURN``: a queue of prepared rows, until standard input ends.

So many entries leave and as many come between two readings. It speaks just enough HTTP/1.1 to be asked for pages.
"""

import asyncio
import json
import sys
from urllib.parse import parse_qs, urlsplit

END_OF_HEAD = b"\r\n\r\n"
KINDS = 24


def row(number: int) -> bytes:
    """As long as those of the official page, with all the fields that it declares."""
    return json.dumps(
        {
            "id": number,
            "job_id": 1_000_000 + number,
            "processor_id": number % 4,
            "source": "API",
            "processor_name": f"lane-detection-{number % 4}",
            "job_type": ("FRAME_EXTRACT", "SCENARIO_AUTO_MINING", "PACKAGE_IMPORT")[number % 3],
            "data_id": f"DPK{number:07d}",
            "output_type": "DATA_SET",
            "rank_stamp": 1_700_000_000_000 + number,
            "project_id": "087679f0aa05c0f0ad2f5e902b",
            "resource_spec": f"{1 << number % 2}Core_4GiB",
            "priority": 0,
            "queue_type": "PROCESSOR",
            "workspace_id": "0",
            "cluster_type": "MODELARTS",
            "cluster_id": "pool-1",
        }
    ).encode()


class Queue:
    """`churn` entries leave before each reading from the second on."""

    def __init__(self, entries: int, churn: int) -> None:
        self._entries = entries
        self._churn = churn
        self._first = -churn
        self._rows = [row(number) for number in range(2 * entries + churn)]

    def page(self, head: bytes) -> bytes:
        """The response to a request."""
        query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        if offset == 0:
            self._first = (self._first + self._churn) % self._entries
        begin = self._first + offset
        rows = b",".join(self._rows[begin : min(begin + limit, self._first + self._entries)])
        info = json.dumps({"offset": offset, "limit": limit, "total": self._entries}).encode()
        body = b'{"meta_info":{},"payload":{"list":[' + rows + b'],"page_info":' + info + b"}}"
        headers = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return headers.encode() + body


class Connection(asyncio.Protocol):
    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._pending = (self._pending + data).split(END_OF_HEAD)
        for head in heads:
            self._transport.write(self._queue.page(head))


async def serve(entries: int, churn: int) -> None:
    queue = Queue(entries, churn)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(queue), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
