"""Rows of slurmrestd's list of jobs as jobs in the exporter's own words.

Only fields in use are named here. An array's row stands for all of its tasks that wait, a row of its own for each other
task; here each task is a job, as with ``squeue -r``.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from exporter.errors import RecordError
from exporter.http import one_line
from exporter.records import ENDED, Job, JobState, PendingReason, known_sum
from exporter.sources.decoding import list_of, raise_if_all_rejected, read_row, read_row_and_flaws, readable
from exporter.sources.reasons import pending_reason
from exporter.sources.slurm.api import Number, number_of, time_of
from exporter.sources.values import Count, Name

# "JOB STATE CODES" of squeue(1). The first of these words that a row's list holds decides, wherever it stands.
_FLAGS: Final[Mapping[str, JobState]] = {
    "COMPLETING": JobState.EXITING,
    "STAGE_OUT": JobState.EXITING,
    "SIGNALING": JobState.EXITING,
    "STOPPED": JobState.SUSPENDED,
    "SPECIAL_EXIT": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "REQUEUED": JobState.REQUEUED,
    "REQUEUE_FED": JobState.REQUEUED,
    "REQUEUE_HOLD": JobState.REQUEUED,
    "REVOKED": JobState.OTHER,
}
# A job that was preempted and is requeued has a flag that says so; otherwise something else took it away.
_STATES: Final[Mapping[str, JobState]] = {
    "PENDING": JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "CONFIGURING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SUSPENDED": JobState.SUSPENDED,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.DELETED,
    "PREEMPTED": JobState.DELETED,
    "FAILED": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "NODE_FAIL": JobState.NODE_FAILURE,
    "BOOT_FAIL": JobState.NODE_FAILURE,
    "RECONFIG_FAIL": JobState.OTHER,
    "POWER_UP_NODE": JobState.OTHER,
    "UPDATE_DB": JobState.OTHER,
}
_HELD: Final = frozenset({"JobHeldUser", "JobHeldAdmin"})
_WAITING: Final = frozenset({"Dependency", "BeginTime"})
# States of jobs that began: elsewhere a start is one that is expected.
_BEGAN: Final = ENDED | {JobState.RUNNING, JobState.SUSPENDED, JobState.EXITING}
# Of these nothing says whether the job began, and whether it is over.
_UNCLEAR: Final = frozenset({JobState.OTHER, JobState.UNKNOWN})

# A resource in tres_per_node and its like: gres:gpu:2, gres/gpu:h100:2, gres/gpu=2, gpu, license/matlab:1; and what is behind its name.
_REQUESTED: Final = re.compile(r"(?:(?P<kind>[a-z]+)/|gres:)?(?P<name>[A-Za-z][\w.-]*)(?P<rest>(?:[:=(].*)?)")
_COUNT: Final = re.compile(r"(?::[^:=]*[^:=0-9][^:=]*)?(?:[:=](?P<count>[0-9]{1,9}))?")
# A resource in gres_detail: gpu:h100:2(IDX:0-1), dcu:4(IDX:0,2-4), gpu:1; and what lies between commas outside of brackets.
_IN_USE: Final = re.compile(r"(?P<name>[^:,()]+)(?::[^:,()]+)?:(?P<count>[0-9]{1,9})(?:\([^)]*\))?")
_PART: Final = re.compile(r"(?:[^,()]|\([^)]*\)?)+")
# The detail of a node without any.
_NO_DETAIL: Final = "(null)"
# A part of array_task_string: 7, 2-3, 0-10:2.
_TASKS: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?")
_TASK: Final = re.compile(r"([0-9]{1,10})_[0-9]{1,9}")
# Of a number that is an amount.
_DIGITS: Final = 16
# Seconds by which the clocks of the controller and of this machine may differ.
CLOCK_TOLERANCE: Final = 30.0
# The most tasks that one answer may stand for: beyond is no cluster, but a mistake.
TASKS_LIMIT: Final = 1_000_000


class Row(msgspec.Struct, gc=False):
    """A job in the forms of all versions since v0.0.38; text is "" or null where there is none.

    Resources in any other form than text are unknown ones: that is not the same as none.
    """

    job_id: Count
    array_job_id: Number = None
    array_task_id: Number = None
    array_task_string: str | None = None
    het_job_id: Number = None
    het_job_offset: Number = None
    name: Name = Name("")
    job_state: str | list[str] | None = None
    state_reason: str | None = None
    state_description: str | None = None
    priority: Number = None
    account: Name = Name("")
    user_name: Name = Name("")
    user_id: Number = None
    partition: Name = Name("")
    submit_time: Number = None
    start_time: Number = None
    end_time: Number = None
    cpus: Number = None
    node_count: Number = None
    tasks: Number = None
    tres_req_str: Any = None
    tres_alloc_str: Any = None
    nodes: str | None = None
    tres_per_node: Any = None
    tres_per_job: Any = None
    tres_per_socket: Any = None
    tres_per_task: Any = None
    gres_detail: list[str] | None = None

    @property
    def odd(self) -> int:
        """The number of resources in another form than text."""
        per = self.tres_per_node, self.tres_per_job, self.tres_per_socket, self.tres_per_task
        given = (self.tres_req_str, self.tres_alloc_str, *per)
        return sum([each is not None and type(each) is not str for each in given])


class OwnedJob(msgspec.Struct, frozen=True, gc=False):
    """A job, and the account and the user that it belongs to."""

    account: str
    user: str
    job: Job


class CutArray(msgspec.Struct, frozen=True, gc=False):
    """An array of which the daemon named only some of the waiting tasks; `row` is the first of these."""

    array: int
    row: OwnedJob
    named: list[str]


class ClusterJobs(msgspec.Struct, frozen=True):
    """The jobs of a cluster without the waiting tasks of arrays in `cut`.

    `forgotten` are the rows of arrays whose waiting tasks were cancelled together: Slurm no longer reports which these
    were. `rejected` counts rows that could not be used, `rejected_values` single values.
    """

    jobs: list[OwnedJob]
    cut: list[CutArray]
    forgotten: list[OwnedJob]
    rejected: int = 0
    rejected_values: int = 0


def read_jobs(data: msgspec.Raw, now: float) -> ClusterJobs:
    """Return the jobs in a list of rows that was read at `now` (Unix time).

    Raises DecodeError where it is none, or none of its rows can be read.
    """
    jobs: list[OwnedJob] = []
    cut: list[CutArray] = []
    forgotten: list[OwnedJob] = []
    rejected = odd = 0
    for raw in list_of(data):
        try:
            row, flaws = read_row_and_flaws(raw, Row)
            ids, complete = ids_of(row, TASKS_LIMIT - len(jobs))
        except RecordError:
            rejected += 1
            continue
        odd += flaws + row.odd
        first = OwnedJob(str(row.account), str(row.user_name or number_of(row.user_id) or ""), to_job(row, ids[0], now))
        if number_of(row.array_job_id) == row.job_id and first.job.id == str(row.job_id) and first.job.state in ENDED:
            forgotten.append(first)
        elif complete:
            jobs += tasks_like(first, ids)
        else:
            cut.append(CutArray(number_of(row.array_job_id) or 0, first, ids))
    raise_if_all_rejected(jobs or cut or forgotten, rejected, data)
    return ClusterJobs(jobs, cut, forgotten, rejected, odd)


def tasks_like(first: OwnedJob, ids: Iterable[str]) -> list[OwnedJob]:
    """Return jobs with these ids, equal to `first` in all else."""
    return [
        first
        if first.job.id == job_id
        else OwnedJob(first.account, first.user, msgspec.structs.replace(first.job, id=job_id))
        for job_id in ids
    ]


def completed(found: ClusterJobs, waiting: Mapping[int, list[str]]) -> ClusterJobs:
    """Return all jobs. `waiting` are the ids of the waiting tasks of arrays; one that it lacks counts as rejected."""
    jobs, rejected = list(found.jobs), found.rejected
    listed = {owned.job.id for owned in jobs}
    for each in found.cut:
        ids = waiting.get(each.array)
        rejected += ids is None
        jobs += tasks_like(each.row, [job_id for job_id in ids or each.named if job_id not in listed])
    return ClusterJobs(jobs, [], found.forgotten, rejected, found.rejected_values)


class StateRow(msgspec.Struct, gc=False):
    """A row of ``/jobs/state/``: there each task of an array has one, with an id like 900_1."""

    job_id: Name
    state: str | list[str] | None = None


def read_waiting_tasks(data: msgspec.Raw) -> dict[int, list[str]]:
    """Return the ids of the waiting tasks of arrays, by the number of the array. Raises DecodeError."""
    waiting: defaultdict[int, list[str]] = defaultdict(list)
    for row in readable(list_of(data), lambda raw: read_row(raw, StateRow)):
        if "PENDING" in words_of(row.state) and (task := _TASK.fullmatch(row.job_id)):
            waiting[int(task[1])].append(task[0])
    return dict(waiting)


# --- A job's identity -------------------------------------------------------------------------------------------------


def ids_of(row: Row, limit: int) -> tuple[list[str], bool]:
    """Return the ids of the jobs that a row stands for, as squeue spells them, and whether these are all of them.

    Raises RecordError where there would be more than `limit`, or where it is one of several jobs and does not say which.
    """
    array, task = number_of(row.array_job_id), number_of(row.array_task_id)
    if array and task is not None:
        return [f"{array}_{task}"], True
    if array and row.array_task_string:
        return tasks_of(array, row.array_task_string, limit)
    if array and array != row.job_id:
        raise RecordError(f"a task of {array} without its number")
    het, offset = number_of(row.het_job_id), number_of(row.het_job_offset)
    if het and offset is not None:
        return [f"{het}+{offset}"], True
    return [str(row.job_id)], True


def tasks_of(array: int, written: str, limit: int) -> tuple[list[str], bool]:
    """Return the ids of the tasks in a text like 2-3,7%1, and whether it was not cut off: as in 1,3,5...

    How many may run at a time stands behind the percent sign. Raises RecordError as `ids_of`.
    """
    tasks, _, _ = written.partition("%")
    # The text may break off within a number.
    parts = tasks.rstrip(".").split(",")[:-1] if (is_cut := tasks.endswith("...")) else tasks.split(",")
    ids: list[str] = []
    for part in parts:
        match = _TASKS.fullmatch(part)
        if match is None:
            raise RecordError(f"tasks that are not understood: {one_line(written)}")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if step == 0 or (last - first) // step + len(ids) >= limit:
            raise RecordError(f"too many tasks: {one_line(written)}")
        ids += [f"{array}_{task}" for task in range(first, last + 1, step)]
    if not ids:
        raise RecordError(f"no tasks: {one_line(written)}")
    return ids, not is_cut


# --- What it does -----------------------------------------------------------------------------------------------------


def to_job(row: Row, job_id: str, now: float) -> Job:
    """Return the job that a row describes, or the first of them, under this id."""
    state, word = state_of(row)
    # One that was cancelled while it waited never had nodes, though where the scheduler tried to place it, something may be
    # left of an allocation.
    had_nodes = (row.tres_alloc_str if row.nodes is None else row.nodes) != ""
    began = state in _BEGAN and had_nodes
    cpus, gpus, dcus = allocated(row) if began and state not in ENDED else (0, 0, 0)
    if state in _UNCLEAR and had_nodes:
        cpus = gpus = dcus = None
    started, ended = times_of(row, state, now) if began else (None, time_of(row.end_time) if state in ENDED else None)
    requested = amounts(row.tres_req_str)
    return Job(
        job_id,
        str(row.name),
        state,
        requested_nodes=number_of(row.node_count),
        requested_cpus=requested.get("cpu", number_of(row.cpus)),
        requested_gpus=requested_devices(row, requested, "gpu"),
        requested_dcus=requested_devices(row, requested, "dcu"),
        allocated_cpus=cpus,
        allocated_gpus=gpus,
        allocated_dcus=dcus,
        raw_state=word,
        queue=str(row.partition),
        reason=reason_of(row, state),
        submitted=time_of(row.submit_time),
        started=started,
        ended=ended,
    )


def times_of(row: Row, state: JobState, now: float) -> tuple[float | None, float | None]:
    """Return when a job that began did so and when it ended, None for what is not told.

    The end of one that is not over is its limit. Both of one that is being requeued are those of its next run.
    """
    words = words_of(row.job_state)
    nodes_are_cleaned_up = "COMPLETING" in words and "RUNNING" not in words
    started, ended = time_of(row.start_time), time_of(row.end_time)
    if state not in ENDED and not nodes_are_cleaned_up:
        return started, None
    is_limit = ended is not None and ended > now + CLOCK_TOLERANCE
    return (None, None) if nodes_are_cleaned_up and (is_limit or "PENDING" in words) else (started, ended)


def words_of(state: str | list[str] | None) -> list[str]:
    """Return the words of a state: since v0.0.40 a list, the base state first and flags after it."""
    return [state.upper()] if isinstance(state, str) else [word.upper() for word in state or ()]


def state_of(row: Row) -> tuple[JobState, str]:
    """Return the state, and the upstream's word for it where that is not known."""
    words = words_of(row.job_state)
    state = next((found for flag, found in _FLAGS.items() if flag in words), None)
    if state is None:
        state = next((_STATES[word] for word in words if word in _STATES), None)
    if state is None:
        return JobState.UNKNOWN, one_line(words[0] if words else "")
    if state is not JobState.QUEUED:
        return state, ""
    if row.state_reason in _HELD:
        return JobState.HELD, ""
    if row.state_reason in _WAITING:
        return JobState.WAITING, ""
    return (JobState.HELD if number_of(row.priority) == 0 else JobState.QUEUED), ""


def reason_of(row: Row, state: JobState) -> PendingReason | None:
    """Return why a job waits: as squeue has it, by the description where there is one that is understood."""
    described = pending_reason(state, row.state_description)
    return pending_reason(state, row.state_reason) if described in (None, "other", "held") else described


# --- Resources --------------------------------------------------------------------------------------------------------


def amounts(written: Any) -> dict[str, int | None]:
    """Return the counts in a text like cpu=16,mem=1000M,gres/gpu=2, None for one that is no plain number."""
    pairs = (part.partition("=") for part in (written if isinstance(written, str) else "").split(","))
    return {
        name: int(value) if value.isascii() and value.isdigit() and len(value) < _DIGITS else None
        for name, _, value in pairs
    }


def allocated(row: Row) -> tuple[int | None, int | None, int | None]:
    """Return the cores, GPUs and DCUs that a job holds."""
    tres = amounts(row.tres_alloc_str)
    return (
        tres.get("cpu", number_of(row.cpus)),
        allocated_devices(row, tres, "gpu"),
        allocated_devices(row, tres, "dcu"),
    )


def allocated_devices(row: Row, tres: Mapping[str, int | None], name: str) -> int | None:
    """Return a job's devices of a name: as listed for each node, else as accounted, else 0 if it requested none."""
    parts = [part for each in row.gres_detail or () for part in _PART.findall(each) if part != _NO_DETAIL]
    if parts:
        return known_sum(devices_in_use(part, name) for part in parts)
    if listed := accounted(tres, name):
        return known_sum(listed)
    # Where the details are not sent, a job may hold what it requested or not.
    return 0 if requested_devices(row, amounts(row.tres_req_str), name) == 0 else None


def devices_in_use(part: str, name: str) -> int | None:
    """Return the devices of a name in a part of the details of a node; None where it is not understood."""
    match = _IN_USE.fullmatch(part)
    if match is None:
        return None
    return int(match["count"]) if match["name"] == name else 0


def requested_devices(row: Row, tres: Mapping[str, int | None], name: str) -> int | None:
    """Return the number of devices of a name that a job requests, None where that cannot be told."""
    if listed := accounted(tres, name):
        return known_sum(listed)
    per_socket = devices_per(row.tres_per_socket, name)
    if per_socket != 0:
        # The number of its sockets is known when it runs.
        return None
    factors = ((row.tres_per_node, row.node_count), (row.tres_per_job, 1), (row.tres_per_task, row.tasks))
    if all(written is None for written, _ in factors):
        return None
    return known_sum(times(devices_per(written, name), number_of(factor)) for written, factor in factors)


def times(count: int | None, factor: int | None) -> int | None:
    """Return the product; nothing is nothing of any number."""
    if count is None or (count and factor is None):
        return None
    return count * (factor or 0)


def accounted(tres: Mapping[str, int | None], name: str) -> list[int | None]:
    """Return the devices of a name among amounts, of each type; nothing where the cluster does not account for them."""
    gres = f"gres/{name}"
    if tres.get(gres) is not None:
        return [tres[gres]]
    return [count for each, count in tres.items() if each == gres or each.startswith(f"{gres}:")]


def devices_per(written: Any, name: str) -> int | None:
    """Return the devices of a name in a request like gres:gpu:h100:2,gres/dcu:4; one without a number is one.

    None where a part that may name them is not understood.
    """
    if not isinstance(written, str):
        return 0 if written is None else None
    return known_sum(_devices_of(part, name) for part in written.split(",") if part)


def _devices_of(part: str, name: str) -> int | None:
    resource = _REQUESTED.fullmatch(part)
    if resource is None:
        return None
    if resource["name"] != name or resource["kind"] not in (None, "gres"):
        return 0
    count = _COUNT.fullmatch(resource["rest"])
    return None if count is None else int(count["count"] or 1)
