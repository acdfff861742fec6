"""Ids of job arrays: which row stands for tasks that have not started, and which task belongs to it.

Slurm lists the waiting tasks of array 900 as one row, 900_[1-4] or 900, whose id changes with every start, and each
started task as 900_1 or under a number of its own; PBS writes 900[] and 900[1]. What a region passes on is not documented.
"""

import re
from typing import Final

# A single number in brackets after "_" is Slurm's last waiting task; without "_" it is one of PBS' tasks.
_ROW: Final = re.compile(r"([0-9]+)(?:_\[[^\]]*\]|\[(?![0-9]+\])[^\]]*\])(?:\..*)?")
_TASK: Final = re.compile(r"([0-9]+)(?:_[0-9]+|\[[0-9]+\])(?:\..*)?")


def row_id(array: str) -> str:
    """Return the id that stands for all the spellings of an array's row."""
    return f"{array}_[]"


def array_of_row(job_id: str) -> str | None:
    """Return the array whose waiting tasks the row with brackets stands for; None for any other job."""
    match = _ROW.fullmatch(job_id)
    return match[1] if match else None


def array_of_task(job_id: str) -> str | None:
    """Return the array that a task with an id of its own belongs to; None for any other job."""
    match = _TASK.fullmatch(job_id)
    return match[1] if match else None


def number_of(job_id: str) -> int | None:
    """Return the number that the scheduler gave to a job or an array; None where the id is no number."""
    digits = array_of_row(job_id) or job_id
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 20 else None  # noqa: PLR2004 - a Long
