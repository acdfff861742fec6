"""Ids of job arrays: which row stands for tasks that have not started, and which task belongs to it.

Slurm lists the waiting tasks of array 900 as one row, 900_[1-4] or 900, whose id changes with every start, and each
started task as 900_1 or under a number of its own; PBS writes 900[] and 900[1]. The form that a region passes on is not
documented.
"""

import re
from functools import cached_property
from itertools import chain
from math import inf
from typing import Final

from exporter.records import Job
from exporter.tracking.model import PHASE_OF, MemberState, Phase, TrackedJob, Update

# A single number in brackets after "_" is Slurm's last waiting task; without "_" it is one of PBS' tasks.
_ROW: Final = re.compile(r"([0-9]+)(?:_\[[^\]]*\]|\[(?![0-9]+\])[^\]]*\])(?:\..*)?")
_TASK: Final = re.compile(r"([0-9]+)(?:_[0-9]+|\[[0-9]+\])(?:\..*)?")


def row_id(array: str) -> str:
    """Return the id that stands for all the spellings of an array's row."""
    return f"{array}_[]"


def array_of_row(job_id: str) -> str | None:
    """Return the array whose waiting tasks the row with brackets stands for; None for any other job."""
    match = _ROW.fullmatch(job_id) if "[" in job_id else None
    return match[1] if match else None


def followed_id(job_id: str) -> str:
    """Return the id under which a listed job is followed: that of a row of an array changes with every start."""
    array = array_of_row(job_id)
    return job_id if array is None else row_id(array)


def array_of_task(job_id: str) -> str | None:
    """Return the array that a task with an id of its own belongs to; None for any other job."""
    match = None if job_id.isdecimal() else _TASK.fullmatch(job_id)
    return match[1] if match else None


def number_of(job_id: str) -> int | None:
    """Return the number that the scheduler gave to a job or an array; None where the id is no number."""
    digits = job_id if job_id.isdecimal() else array_of_row(job_id) or ""
    return int(digits) if digits.isascii() and 0 < len(digits) < 20 else None  # noqa: PLR2004 - a Long


class Arrays:
    """The arrays among a member's jobs at one listing.

    `newcomers` are its jobs that no row is known to have stood for.
    """

    def __init__(self, jobs: dict[str, TrackedJob], before: MemberState, update: Update) -> None:
        """`jobs` are those followed before the listing; `update` is the one that is being made."""
        self.newcomers: list[Job] = []
        self._jobs = jobs
        self._names = before.names or {}
        self._finished = before.finished
        self._changed = update.jobs

    def row_of(self, task: str) -> TrackedJob | None:
        """Return the waiting row that stood for an array's task until now."""
        array = array_of_task(task)
        if array is None:
            return None
        rows = (self._jobs.get(row_id(array)), self._jobs.get(array))
        return next((row for row in rows if row is not None and row.phase is Phase.WAIT), None)

    def has_tasks(self, job_id: str) -> bool:
        """Whether a job was the row of an array of which tasks are or were listed."""
        return (array_of_row(job_id) or job_id) in self._with_tasks

    def may_be_task(self, job: Job) -> bool:
        """Whether a job that comes running may have waited in the row of an array, under another number.

        Slurm numbers all tasks, from the array's own number on, and they have one name.
        """
        number = number_of(job.id)
        return number is not None and job.name != "" and number > self._waiting_by_name.get(job.name, number)

    def started_under_new_ids(self, job_id: str) -> bool:
        """Whether a waiting job is missing because it was the row of an array whose tasks have come instead."""
        name, number = self._names.get(job_id), number_of(job_id)
        if not name or number is None:
            return False
        return any(
            job.name == name and PHASE_OF.get(job.state) is not Phase.WAIT and (number_of(job.id) or 0) > number
            for job in self.newcomers
        )

    @cached_property
    def _with_tasks(self) -> set[str]:
        followed = chain(self._jobs, self._changed, self._finished)
        return {array for job_id in followed if (array := array_of_task(job_id)) is not None}

    @cached_property
    def _waiting_by_name(self) -> dict[str, int]:
        """The smallest number of the jobs of a name that waited at the last listing."""
        smallest: dict[str, int] = {}
        for job_id, name in self._names.items():
            number = number_of(job_id)
            if number is not None and number < smallest.get(name, inf):
                smallest[name] = number
        return smallest
