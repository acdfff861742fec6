"""Assignment of targets to instances: each target belongs to exactly one, without communication."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from exporter.polling.health import TargetKey

_MULTIPLIER: Final = 2862933555777941757
_64_BITS: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Shard:
    """Number `ordinal`, counted from 0, of the `total` parts that all targets are divided into."""

    ordinal: int = 0
    total: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError where there is no such part."""
        if not 0 <= self.ordinal < self.total:
            last = f"0 to {self.total - 1}" if self.total > 1 else "0"
            raise ValueError(f"there is no shard {self.ordinal} of {self.total}: it can be {last}")

    def owns(self, key: TargetKey) -> bool:
        """Whether the target belongs to this part."""
        return self.total == 1 or bucket(digest(key), self.total) == self.ordinal


WHOLE: Final = Shard()


def digest(key: TargetKey) -> int:
    """64 bits that are the same in every process, unlike Python's own hash."""
    name = "\0".join(key).encode(errors="surrogatepass")
    return int.from_bytes(blake2b(name, digest_size=8).digest())


def bucket(key: int, buckets: int) -> int:
    """One of `buckets` for a key of 64 bits. A further bucket, at the end, takes its share of keys; the rest stay.

    Jump consistent hash: Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", arXiv:1406.2294.
    """
    chosen = jump = 0
    while jump < buckets:
        chosen = jump
        key = (key * _MULTIPLIER + 1) & _64_BITS
        jump = int((chosen + 1) * (2**31 / ((key >> 33) + 1)))
    return chosen
