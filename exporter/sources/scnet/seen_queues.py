"""Names of a user's queues in earlier answers: a queue that was there once is shown at 0 while it has no jobs."""

from collections.abc import Iterable
from typing import Final, NamedTuple

# Names without jobs that are remembered for each target: more than any region has, unless it invents new ones for ever.
ABSENT_LIMIT: Final = 1000


class SeenQueues(NamedTuple):
    """Names in the latest answer (`present`), and earlier ones that are not in it (`absent`), longest gone first."""

    present: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()

    def after(self, names: Iterable[str]) -> tuple["SeenQueues", int]:
        """Return what is remembered after an answer with these names, and how many were dropped to stay below the limit."""
        present = frozenset(names)
        if present == self.present:
            return self, 0
        absent = [name for name in self.absent if name not in present] + sorted(self.present - present)
        dropped = max(0, len(absent) - ABSENT_LIMIT)
        return SeenQueues(present, tuple(absent[dropped:])), dropped
