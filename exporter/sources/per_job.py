"""The choice of jobs with series of their own, within a limit for the whole process."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from exporter.records import Job, JobState

_JobKey = tuple[str, str, str]  # source, user, job id: the labels of a job's series
_RANK = {JobState.RUNNING: 0, JobState.QUEUED: 1}
_LAST = 2


@dataclass(slots=True)
class _Holding:
    """The jobs shown for an owner, and the number of those left out."""

    source: str
    shown: set[_JobKey] = field(default_factory=set)
    dropped: int = 0


class PerJobBudget:
    """Room for `max_jobs` jobs, given out first come, first served; 0 gives nothing.

    An owner is one listing (one target). It keeps the room of a shown job until the job is listed no longer, so that a
    job's series do not come and go with other owners' load.
    """

    def __init__(self, max_jobs: int) -> None:
        self._max_jobs = max_jobs
        self._holdings: dict[Hashable, _Holding] = {}
        self._shown_by: dict[_JobKey, Hashable] = {}
        self._dropped: Counter[str] = Counter()

    def grant(self, owner: Hashable, source: str, user: str, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs of this listing that may be shown, running before queued before the rest, then by id.

        A job that another owner shows, or that is listed twice, is left out without counting as dropped.
        """
        holding = self._holdings.setdefault(owner, _Holding(source))
        listed = {(source, user, job.id): job for job in reversed(jobs)}
        self._give_back(holding.shown - listed.keys())
        holding.shown &= listed.keys()

        waiting = [(key, job) for key, job in listed.items() if key not in self._shown_by]
        room = max(0, self._max_jobs - len(self._shown_by))
        chosen = nsmallest(room, waiting, key=lambda item: _order(item[1])) if room < len(waiting) else waiting
        for key, _ in chosen:
            self._shown_by[key] = owner
            holding.shown.add(key)
        self._count_dropped(holding, len(waiting) - len(chosen))
        return sorted((listed[key] for key in holding.shown), key=_order)

    def release(self, owner: Hashable) -> None:
        """Free the room of an owner whose target is stale or gone."""
        holding = self._holdings.pop(owner, None)
        if holding is not None:
            self._give_back(holding.shown)
            self._count_dropped(holding, 0)

    def dropped(self, source: str) -> int:
        """Jobs of the source left out for want of room, as of each owner's latest listing."""
        return self._dropped[source]

    def _give_back(self, keys: set[_JobKey]) -> None:
        for key in keys:
            del self._shown_by[key]

    def _count_dropped(self, holding: _Holding, dropped: int) -> None:
        self._dropped[holding.source] += dropped - holding.dropped
        holding.dropped = dropped


def _order(job: Job) -> tuple[int, bool, int, str, str]:
    """Numbers before other ids; by length first, which orders numbers of any size without reading them as numbers."""
    digits = job.id.lstrip("0") if job.id.isdecimal() else job.id
    return _RANK.get(job.state, _LAST), not job.id.isdecimal(), len(digits), digits, job.id
