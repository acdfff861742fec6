"""When a target is polled next: pure functions of seconds."""

import random
import zlib

from exporter.polling.target import TargetKey

# All targets are tried soon after the start, but not in the same instant.
START_SPREAD = 1.0
BACKOFF_CAP = 10


def first_delay(interval: float, rng: random.Random) -> float:
    """Seconds from the start to a target's first poll."""
    return rng.uniform(0, min(START_SPREAD, interval / 2))


def second_delay(key: TargetKey, interval: float) -> float:
    """Seconds from the first poll to the second: half to one and a half intervals.

    From then on the target keeps its own phase, spread evenly over the interval and the same after every restart.
    """
    phase = zlib.crc32("\0".join(key).encode()) / 2**32
    return interval * (0.5 + phase)


def backoff_delay(failures: int, interval: float, retry_after: float | None, rng: random.Random) -> float:
    """Seconds to the next poll after so many failures in a row (1 or more), never over ten intervals.

    The first failure costs nothing: the next poll comes as usual. Then the pause doubles. An upstream that named a
    pause gets it, up to the same bound.
    """
    doubled = interval * 2.0 ** min(failures - 1, BACKOFF_CAP)
    longest = BACKOFF_CAP * interval
    pause = min(doubled, longest) * (rng.uniform(0.9, 1.0) if failures > 1 else 1.0)
    return max(pause, min(retry_after or 0.0, longest))


def regular_delay(due: float, now: float, interval: float) -> float:
    """Seconds to the next poll of the target's own rhythm; moments that were missed are not made up for."""
    behind = max(0.0, now - due)
    return interval - behind % interval
