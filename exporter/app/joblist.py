"""The single jobs that are listed now, for people: selected, in order, a page at a time.

A list may hold a hundred thousand jobs. So nothing is made of a job that is not shown, and no call that cannot be
interrupted takes long: this runs in a thread beside the event loop.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import merge
from itertools import islice
from math import inf
from typing import Any, Final, Literal

import msgspec

from exporter.clock import timestamp_or_none
from exporter.records import WAITS, Job, JobState
from exporter.sources.display import MemberJobs
from exporter.text import natural, printable
from exporter.tracking import MemberKey, Phase, TrackedJob, followed_id

# The tracker's jobs: by member, and by the id under which it follows them.
TrackedJobs = Mapping[MemberKey, Mapping[str, TrackedJob]]
# Basis of the time since which a job waits or runs: reported by the scheduler, the middle of the gap between two polls, or the
# first poll that saw it so, which may have been later.
SinceBasis = Literal["reported", "polls", "first_seen"]

# Jobs that are sorted in one go, in a few milliseconds.
SLICE: Final = 2000
# Seconds by which a scheduler's clock may be ahead.
AHEAD: Final = 60.0
_STATES: Final = {state: number for number, state in enumerate(JobState)}


class JobEntry(msgspec.Struct, frozen=True, gc=False):
    """A job, whose it is, and since when it waits or runs, in Unix seconds, as far as that is known."""

    member: MemberJobs
    job: Job
    phase: Phase
    since: float | None = None
    basis: SinceBasis | None = None

    @property
    def cpus(self) -> int | None:
        """The cores that the job holds, or wants while it waits."""
        return _amount(self, self.job.allocated_cpus, self.job.requested_cpus)

    @property
    def gpus(self) -> int | None:
        return _amount(self, self.job.allocated_gpus, self.job.requested_gpus)

    @property
    def dcus(self) -> int | None:
        return _amount(self, self.job.allocated_dcus, self.job.requested_dcus)


def _amount(entry: JobEntry, allocated: int | None, requested: int | None) -> int | None:
    return requested if entry.phase is not Phase.RUN or allocated is None else allocated


def _unknown_last(value: float | None) -> float:
    return inf if value is None else value


def _unknown_least(value: int | None) -> int:
    return -1 if value is None else value


@lru_cache(maxsize=1024)
def _natural(name: str) -> list[str | int]:
    """As `natural`, for names that many jobs share."""
    return natural(name)


_PHASES: Final = {Phase.WAIT: 0, Phase.RUN: 1}
# The columns by which the list can be sorted. By `since`, those that wait come first, the longest-waiting one at the top.
ORDERS: Final[Mapping[str, Callable[[JobEntry], Any]]] = {
    "job": lambda entry: natural(entry.job.id),
    "name": lambda entry: natural(entry.job.name),
    "user": lambda entry: _natural(entry.member.user),
    "group": lambda entry: _natural(entry.member.group),
    "source": lambda entry: _natural(entry.member.source),
    "queue": lambda entry: _natural(entry.job.queue),
    "state": lambda entry: _STATES[entry.job.state],
    "reason": lambda entry: entry.job.reason or "~",
    "cpus": lambda entry: _unknown_least(entry.cpus),
    "gpus": lambda entry: _unknown_least(entry.gpus),
    "dcus": lambda entry: _unknown_least(entry.dcus),
    "submitted": lambda entry: _unknown_last(entry.job.submitted),
    "started": lambda entry: _unknown_last(entry.job.started),
    "since": lambda entry: (_PHASES.get(entry.phase, 2), _unknown_last(entry.since)),
}
FIRST_ORDER: Final = "since"


@dataclass(frozen=True, slots=True)
class JobSelection:
    """The requested jobs, in the order of a column: `limit` of those that match, from `offset`.

    The words of `text` have to be in a job's id, name or queue, in its user's or group's name or in its region's,
    case-insensitively; empty fields match everything.
    """

    text: str = ""
    states: frozenset[str] = frozenset()
    source: str = ""
    group: str = ""
    user: str = ""
    queue: str = ""
    sort: str = FIRST_ORDER
    descending: bool = False
    offset: int = 0
    limit: int = 100

    def matching(self, listed: Iterable[MemberJobs], tracked: TrackedJobs, now: float) -> Iterator[JobEntry]:
        """Yield the jobs that match, before `offset` and `limit`."""
        for member in listed:
            if any(wanted not in ("", is_) for wanted, is_ in zip(self._names, member, strict=False)):
                continue
            known = tracked.get(member.key, {})
            names = f"{member.source} {member.group} {member.user}"
            for job in member.jobs:
                if (
                    (not self.states or job.state in self.states)
                    and self.queue in ("", job.queue)
                    and (not self.text or has_words(self.text, f"{names} {job.id} {job.name} {job.queue}"))
                ):
                    yield entry_of(member, job, known.get(job.id) or known.get(followed_id(job.id)), now)

    @property
    def _names(self) -> tuple[str, str, str]:
        """In the order of `MemberJobs`."""
        return self.source, self.group, self.user


def has_words(wanted: str, text: str) -> bool:
    """Whether each of the wanted words is in a text, case-insensitively."""
    folded = text.casefold()
    return all(word in folded for word in wanted.casefold().split())


def entry_of(member: MemberJobs, job: Job, known: TrackedJob | None, now: float) -> JobEntry:
    """Return a job with the time since which it waits or runs: by the tracker, which checks what schedulers report.

    Where it is not followed, by what is reported, unless that is in the future.
    """
    waits = job.state in WAITS
    phase = Phase.WAIT if waits else Phase.RUN if job.state is JobState.RUNNING else Phase.UNCLEAR
    if known is None or (phase is not Phase.UNCLEAR and known.phase is not phase):
        since = job.submitted if waits else job.started if phase is Phase.RUN else None
        if known is not None or since is None or since > now + AHEAD:
            return JobEntry(member, job, phase)
        return JobEntry(member, job, phase, since, "reported")
    phase = known.phase
    if phase is Phase.WAIT and known.submitted is not None:
        return JobEntry(member, job, phase, known.submitted, "reported")
    if phase not in _PHASES:
        return JobEntry(member, job, phase)
    if known.since is not None:
        return JobEntry(member, job, phase, known.since, "reported" if known.reported else "polls")
    return JobEntry(member, job, phase, known.seen, "first_seen")


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some of the jobs, how many `matching` ones there are, and how many in `total`."""

    entries: Sequence[JobEntry]
    offset: int
    limit: int
    matching: int
    total: int

    def facts(self) -> dict[str, Any]:
        """Return the page as JSON has it."""
        page = page_facts(self.offset, self.limit, len(self.entries), self.matching, self.total)
        return {"page": page, "jobs": list(map(job_facts, self.entries))}


def page_facts(offset: int, limit: int, shown: int, matching: int, total: int) -> dict[str, Any]:
    """Return the place of a page as JSON has it; `shown` is the number of its entries."""
    end = offset + shown
    next_offset = end if shown and end < matching else None
    return {"offset": offset, "limit": limit, "matching": matching, "total": total, "next_offset": next_offset}


def select_jobs(listed: Sequence[MemberJobs], tracked: TrackedJobs, now: float, selection: JobSelection) -> JobPage:
    """Return the jobs that a selection asks for."""
    found = list(selection.matching(listed, tracked, now))
    key, reverse = ORDERS[selection.sort], selection.descending
    slices = (found[start : start + SLICE] for start in range(0, len(found), SLICE))
    in_order = merge(*(sorted(part, key=key, reverse=reverse) for part in slices), key=key, reverse=reverse)
    wanted = tuple(islice(in_order, selection.offset, selection.offset + min(selection.limit, len(found))))
    total = sum(len(member.jobs) for member in listed)
    return JobPage(wanted, selection.offset, selection.limit, len(found), total)


def job_facts(entry: JobEntry) -> dict[str, Any]:
    """Return a job as JSON has it; null is unknown. Characters that are not visible are replaced."""
    member, job = entry.member, entry.job
    return {
        "source": member.source,
        "group": printable(member.group),
        "user": printable(member.user),
        "id": printable(job.id),
        "name": printable(job.name),
        "state": job.state.value,
        "raw_state": printable(job.raw_state) or None,
        "queue": printable(job.queue) or None,
        "reason": job.reason,
        "submitted": timestamp_or_none(job.submitted),
        "started": timestamp_or_none(job.started),
        "ended": timestamp_or_none(job.ended),
        "since": timestamp_or_none(entry.since),
        "since_basis": entry.basis,
        "requested": {
            "nodes": job.requested_nodes,
            "cpus": job.requested_cpus,
            "gpus": job.requested_gpus,
            "dcus": job.requested_dcus,
        },
        "allocated": {"cpus": job.allocated_cpus, "gpus": job.allocated_gpus, "dcus": job.allocated_dcus},
    }
