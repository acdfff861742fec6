"""Why a job waits: the words of schedulers, sorted into the closed list that labels take.

Sources: "JOB REASON CODES" of squeue(1), and the words that SCNet's job lists pass on. The set is open and grows with
every release of Slurm: a word that is not known is `other`.
"""

import re
from functools import lru_cache
from typing import Final

from exporter.records import WAITS, JobState, PendingReason

# Beginnings of words in small letters, without blanks and underscores; the first that fits counts.
_BEGINNINGS: Final[tuple[tuple[str, PendingReason], ...]] = (
    ("priority", "priority"),
    ("resources", "resources"),
    ("licenses", "resources"),
    ("burstbuffer", "resources"),
    ("dependency", "dependency"),
    ("jobheld", "held"),
    ("jobhold", "held"),
    ("launchfailedrequeuedheld", "held"),
    ("jobrequeuedinheldstate", "held"),
    ("begintime", "begin_time"),
    ("reqnodenotavail", "nodes_unavailable"),
    ("nodedown", "nodes_unavailable"),
    ("nodesrequiredforjobare", "nodes_unavailable"),
    ("frontenddown", "nodes_unavailable"),
    ("partitiondown", "nodes_unavailable"),
    ("partitioninactive", "nodes_unavailable"),
    ("qos", "limit"),
    ("assoc", "limit"),
    ("max", "limit"),
    ("accountingpolicy", "limit"),
    ("partitionnodelimit", "limit"),
    ("partitiontimelimit", "limit"),
    ("jobarraytasklimit", "limit"),
)
_NO_REASON: Final = frozenset({"", "none", "null", "na"})
_LONGEST: Final = 100


def pending_reason(state: JobState, word: object) -> PendingReason | None:
    """Return why a job in `state` waits, as the scheduler's `word` says; None where it does not wait, or no reason is given.

    Anything but text is no reason. The reason of a held job without one is "held".
    """
    if state not in WAITS:
        return None
    found = _sorted(word[:_LONGEST]) if isinstance(word, str) else None
    return "held" if found is None and state is JobState.HELD else found


@lru_cache(maxsize=1024)
def _sorted(word: str) -> PendingReason | None:
    plain = re.sub(r"[\W_]", "", word).casefold()
    if plain in _NO_REASON:
        return None
    return next((reason for beginning, reason in _BEGINNINGS if plain.startswith(beginning)), "other")
