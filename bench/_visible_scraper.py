"""``python -m bench._visible_scraper URL INTERVAL``: how much more than an interval passes until changes are seen."""

import json
import random
import re
import sys
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

RUNNING = re.compile(rb'^scnet_queue_jobs\{.*user="([^"]+)".*state="running"\} (\d+)$', re.MULTILINE)
BETWEEN_SCRAPES = 0.3


def scrape(connection: HTTPConnection, path: str) -> tuple[float, dict[bytes, float]]:
    """The Unix time at its end, and when each user's answer was given."""
    connection.request("GET", path)
    body = connection.getresponse().read()
    return time.time(), {user: int(value) / 1000 for user, value in RUNNING.findall(body)}


def delays(url: str, interval: float) -> list[float]:
    """Seconds from each change until it is seen."""
    address = urlsplit(url)
    assert address.hostname is not None
    connection = HTTPConnection(address.hostname, address.port)
    now, given = scrape(connection, address.path)
    rng = random.Random(1)  # noqa: S311 - repeatable
    waiting = {user: now + rng.uniform(0, interval) for user in given}
    seen: list[float] = []
    while waiting:
        time.sleep(BETWEEN_SCRAPES)
        now, given = scrape(connection, address.path)
        arrived = [user for user, change in waiting.items() if given[user] >= change]
        seen += [now - waiting.pop(user) for user in arrived]
    return seen


if __name__ == "__main__":
    interval = float(sys.argv[2])
    found = sorted(delay - interval for delay in delays(sys.argv[1], interval))
    print(json.dumps({"p50": found[len(found) // 2], "p99": found[len(found) * 99 // 100], "worst": found[-1]}))
