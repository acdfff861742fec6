"""Answers of slurmrestd as two generations of it spell them: v0.0.38, and v0.0.42 to v0.0.45."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

# Fields that are plain numbers in v0.0.38, and later objects that say whether they are set.
NUMBERS: Final = frozenset(
    [
        "array_job_id",
        "array_task_id",
        "het_job_id",
        "het_job_offset",
        "priority",
        "submit_time",
        "start_time",
        "end_time",
        "eligible_time",
        "cpus",
        "node_count",
        "tasks",
    ]
)
SUBMITTED: Final = 1_795_905_571

# A job that waits, in v0.0.38.
WAITING: Final[Mapping[str, Any]] = {
    "account": "chemistry",
    "job_id": 17,
    "array_job_id": 0,
    "array_task_id": None,
    "array_task_string": "",
    "het_job_id": 0,
    "het_job_offset": 0,
    "name": "relax",
    "job_state": "PENDING",
    "state_reason": "Priority",
    "state_description": "",
    "submit_time": SUBMITTED,
    "eligible_time": SUBMITTED,
    "start_time": 0,
    "end_time": 0,
    "cpus": 16,
    "node_count": 1,
    "tasks": 4,
    "tres_req_str": "cpu=16,mem=1000M,node=1,billing=16",
    "tres_alloc_str": "",
    "nodes": "",
    "gres_detail": [],
    "tres_per_node": "",
    "tres_per_job": "",
    "tres_per_socket": "",
    "tres_per_task": "",
    "user_name": "test",
    "user_id": 1000,
    "partition": "batch",
    "priority": 4294901759,
    "current_working_directory": "/home/test",
}
RUNNING: Final = {
    "job_state": "RUNNING",
    "state_reason": "None",
    "start_time": SUBMITTED + 3,
    "end_time": SUBMITTED + 31_536_000,
    "tres_alloc_str": "cpu=16,mem=1000M,node=1,billing=16",
    "nodes": "n1",
}
ENDED: Final = {**RUNNING, "end_time": SUBMITTED + 60}


def old(**changes: Any) -> dict[str, Any]:
    """Return a row in v0.0.38."""
    return {**WAITING, **changes}


def new(**changes: Any) -> dict[str, Any]:
    """Return the same row as later versions spell it."""
    row = old(**changes)
    row |= {name: struct(row[name]) for name in NUMBERS if isinstance(row[name], int | None)}
    if isinstance(row["job_state"], str):
        row["job_state"] = [row["job_state"]]
    return row


def struct(number: int | None) -> dict[str, Any]:
    """Return a number as later versions spell it; None is an unset one."""
    return {"set": number is not None, "infinite": False, "number": number or 0}


def answer(name: str, rows: Sequence[Any], errors: Sequence[Any] = ()) -> bytes:
    """Return a whole answer."""
    return json.dumps({name: rows, "errors": errors, "warnings": []}).encode()
