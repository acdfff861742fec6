"""``python -m bench._scrapes_bare SERIES``: what prometheus-client takes to render so many series, in milliseconds."""

import json
import sys
import time

from prometheus_client import CollectorRegistry, Gauge, generate_latest

STATES = ("running", "queued", "held", "suspended", "other")
QUEUES = 5


def measure(series: int) -> float:
    registry = CollectorRegistry(auto_describe=False)
    labels = ("hpc_cluster", "user", "queue", "state")
    gauge = Gauge("scnet_queue_jobs", "Jobs of a scheduler user in a queue, by state.", labels, registry=registry)
    for index in range(series // (QUEUES * len(STATES))):
        for queue in range(QUEUES):
            for state in STATES:
                gauge.labels("bench", f"user{index:05d}", f"queue{queue}", state).set(index % 100)
    before = time.process_time()
    generate_latest(registry)
    return (time.process_time() - before) * 1000


if __name__ == "__main__":
    print(json.dumps({"cpu": measure(int(sys.argv[1]))}))
