"""What contenders poll. It imports nothing of the exporter, so that baselines pay nothing for it."""

from dataclasses import dataclass

SOURCE, GROUP_ID = "bench", 533686286955839488
QUEUE_JOBS, MEMBER_JOBS = "queue_jobs", "member_jobs"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to poll: so many users of the region at `url`, each every `interval` seconds."""

    url: str
    users: int
    interval: float
    endpoint: str = QUEUE_JOBS
    concurrency: int = 16
    source: str = SOURCE
