"""Rows of slurmrestd's job list in both generations: what becomes of each form."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from exporter.errors import DecodeError
from exporter.records import Job
from exporter.sources.slurm import rows
from exporter.sources.slurm.jobs import listing_of
from exporter.sources.slurm.rows import ClusterJobs, completed, read_jobs, read_waiting_tasks
from tests.sources.slurm.answers import ENDED, RUNNING, SUBMITTED, new, old

Make = Callable[..., dict[str, Any]]
GENERATIONS = pytest.mark.parametrize("make", [old, new], ids=["v0.0.38", "later"])


def read(*rows: Any) -> ClusterJobs:
    return read_jobs(msgspec.Raw(json.dumps(rows).encode()), float(NOW))


def only(row: Any) -> Job:
    found = read(row)
    assert (found.rejected, found.rejected_values, found.cut) == (0, 0, [])
    (owned,) = found.jobs
    assert (owned.account, owned.user) == ("chemistry", "test")
    return owned.job


def shown(job: Job, names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: getattr(job, name) for name in names}


NOW = SUBMITTED + 3600
NO_TIMES = {"started": None, "ended": None}
REQUEUED = {**RUNNING, "job_state": "COMPLETING", "start_time": NOW, "end_time": NOW + 31_536_000}
HOLDS_NOTHING = {"allocated_cpus": 0, "allocated_gpus": 0, "allocated_dcus": 0}
RAN = {"submitted": SUBMITTED, "started": SUBMITTED + 3, "ended": SUBMITTED + 60}
NEVER_BEGAN = {**ENDED, "job_state": "CANCELLED", "start_time": SUBMITTED + 60}
NEVER_RAN = {"started": None, "ended": SUBMITTED + 60, **HOLDS_NOTHING}


@GENERATIONS
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"id": "17", "name": "relax", "state": "queued", "queue": "batch", "requested_cpus": 16, "requested_nodes": 1,
              "requested_gpus": 0, "requested_dcus": 0, "submitted": SUBMITTED, "started": None, "ended": None, **HOLDS_NOTHING}),
        ({"state_reason": "JobHeldUser", "priority": 0}, {"state": "held"}),
        ({"state_reason": "JobHeldAdmin"}, {"state": "held"}),
        ({"priority": 0}, {"state": "held"}),
        ({"state_reason": "Dependency"}, {"state": "waiting"}),
        # A start in the future is expected or asked for.
        ({"state_reason": "BeginTime", "start_time": SUBMITTED + 3600}, {"state": "waiting", "started": None}),
        ({"start_time": SUBMITTED + 3600, "end_time": SUBMITTED + 7200}, {"state": "queued", "started": None, "ended": None}),
        # The end of a running job is its limit.
        (RUNNING, {"state": "running", "started": SUBMITTED + 3, "ended": None, "allocated_cpus": 16, "allocated_gpus": 0}),
        ({**RUNNING, "job_state": "CONFIGURING"}, {"state": "running", "allocated_cpus": 16}),
        ({**RUNNING, "job_state": "SUSPENDED"}, {"state": "suspended", "allocated_cpus": 16}),
        ({**RUNNING, "job_state": "STOPPED"}, {"state": "suspended"}),
        # It has ended, and its nodes are being cleaned up.
        ({**ENDED, "job_state": "COMPLETING"}, {"state": "exiting", "ended": SUBMITTED + 60, "allocated_cpus": 16}),
        ({**RUNNING, "job_state": "SIGNALING"}, {"state": "exiting", "ended": None}),
        ({**RUNNING, "job_state": "STAGE_OUT"}, {"state": "exiting"}),
        # The allocation of an ended job stays in its row.
        ({**ENDED, "job_state": "COMPLETED"}, {"state": "completed", **RAN, **HOLDS_NOTHING}),
        ({**ENDED, "job_state": "CANCELLED"}, {"state": "deleted", **RAN, **HOLDS_NOTHING}),
        ({**ENDED, "job_state": "FAILED"}, {"state": "failed", **RAN}),
        ({**ENDED, "job_state": "OUT_OF_MEMORY"}, {"state": "failed"}),
        ({**ENDED, "job_state": "LAUNCH_FAILED"}, {"state": "failed"}),
        ({**ENDED, "job_state": "TIMEOUT"}, {"state": "timeout"}),
        ({**ENDED, "job_state": "DEADLINE"}, {"state": "timeout"}),
        ({**ENDED, "job_state": "NODE_FAIL"}, {"state": "node_failure"}),
        ({**ENDED, "job_state": "BOOT_FAIL"}, {"state": "node_failure"}),
        ({**ENDED, "job_state": "PREEMPTED"}, {"state": "deleted"}),
        # Cancelled while it waited: Slurm gives it the time of that as its start.
        ({**NEVER_BEGAN, "nodes": "", "tres_alloc_str": ""}, {"state": "deleted", **NEVER_RAN}),
        # The scheduler tried where it could run.
        ({**NEVER_BEGAN, "nodes": "", "tres_alloc_str": "cpu=64,billing=64"}, {"state": "deleted", **NEVER_RAN}),
        ({**NEVER_BEGAN, "nodes": None, "tres_alloc_str": ""}, {"state": "deleted", **NEVER_RAN}),
        ({"job_state": "REQUEUED", "start_time": SUBMITTED + 3}, {"state": "requeued", "started": None}),
        ({"job_state": "REQUEUE_HOLD"}, {"state": "requeued"}),
        ({"job_state": "SPECIAL_EXIT"}, {"state": "held"}),
        ({"job_state": "REVOKED"}, {"state": "other", **HOLDS_NOTHING}),
        ({"job_state": "FROZEN_SOLID"}, {"state": "unknown", "raw_state": "FROZEN_SOLID", **HOLDS_NOTHING}),
        # It may still run with the nodes that it has, or not.
        *(({**RUNNING, "job_state": word}, {"started": None, **dict.fromkeys(HOLDS_NOTHING)}) for word in ("FROZEN_SOLID", None, "REVOKED")),
        # A job that is being requeued: its times are those of the next run, and the limit of that.
        (REQUEUED, {"state": "exiting", **NO_TIMES, "allocated_cpus": 16}),
        ({**REQUEUED, "end_time": NOW + 60}, {"state": "exiting", **NO_TIMES}),
        # Of one that does not run again, the controller's clock may be ahead.
        ({**ENDED, "job_state": "COMPLETING", "end_time": NOW + 20}, {"state": "exiting", "ended": NOW + 20}),
        ({"partition": "debug,batch"}, {"queue": "debug,batch"}),
        ({"name": "", "partition": ""}, {"name": "", "queue": ""}),
        ({"tres_req_str": ""}, {"requested_cpus": 16}),
        ({"array_job_id": 5, "array_task_id": 0}, {"id": "5_0"}),
        ({"array_job_id": 5, "array_task_id": 12, **RUNNING}, {"id": "5_12", "state": "running"}),
        ({"het_job_id": 4, "het_job_offset": 1}, {"id": "4+1"}),
        ({"het_job_id": 4, "het_job_offset": 0}, {"id": "4+0"}),
        ({"het_job_id": 4, "het_job_offset": None}, {"id": "17"}),
        ({"submit_time": 0}, {"submitted": None}),
    ],
)  # fmt: skip
def test_a_job_in_both_generations(make: Make, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    assert shown(only(make(**changes)), expected) == expected


@GENERATIONS
@pytest.mark.parametrize(
    ("told", "description", "reason"),
    [
        ("Resources", "", "resources"),
        ("Resources", None, "resources"),
        # As squeue has it, the description says more.
        ("Resources", "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "nodes_unavailable"),
        ("ReqNodeNotAvail", "ReqNodeNotAvail, UnavailableNodes:n1", "nodes_unavailable"),
        ("Priority", "words of a site", "priority"),
        ("WordsOfNextYear", "", "other"),
        ("None", "", None),
        ("None", "words of a site", None),
        (None, None, None),
    ],
)  # fmt: skip
def test_the_reason_is_that_of_squeue(
    make: Make, told: str | None, description: str | None, reason: str | None
) -> None:
    assert only(make(state_reason=told, state_description=description)).reason == reason


def test_a_job_that_is_being_requeued_has_no_end_whatever_its_limit() -> None:
    row = new(**{**REQUEUED, "job_state": ["PENDING", "COMPLETING"], "end_time": NOW - 1})
    assert shown(only(row), NO_TIMES) == NO_TIMES


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["RUNNING", "CONFIGURING"], "running"),
        (["RUNNING", "SIGNALING"], "exiting"),
        (["COMPLETED", "COMPLETING"], "exiting"),
        (["PENDING", "REQUEUED"], "requeued"),
        (["PENDING", "REQUEUE_HOLD"], "requeued"),
        (["PENDING", "SPECIAL_EXIT", "REQUEUE_HOLD"], "held"),
        (["PENDING", "COMPLETING"], "exiting"),
        (["PREEMPTED", "REQUEUED"], "requeued"),
        (["PREEMPTED", "COMPLETING"], "exiting"),
        (["SUSPENDED", "STOPPED"], "suspended"),
        (["RUNNING", "A_FLAG_OF_NEXT_YEAR"], "running"),
        (["CANCELLED"], "deleted"),
        ([], "unknown"),
        (None, "unknown"),
    ],
)  # fmt: skip
def test_flags_follow_the_base_state(words: list[str] | None, state: str) -> None:
    assert only(new(job_state=words)).state == state


@GENERATIONS
@pytest.mark.parametrize(
    ("changes", "gpus", "dcus"),
    [
        ({"tres_per_node": "gres:gpu:2"}, 2, 0),
        ({"tres_per_node": "gres/gpu:2"}, 2, 0),
        ({"tres_per_node": "gres:gpu:h100:2", "node_count": 3}, 6, 0),
        ({"tres_per_node": "gres/gpu:a100_3g.20gb:2,gres/dcu:4", "node_count": 2}, 4, 8),
        ({"tres_per_node": "gres/gpu"}, 1, 0),
        ({"tres_per_node": "gres/gpu:h100"}, 1, 0),
        ({"tres_per_node": "gres/gpu=2"}, 2, 0),
        ({"tres_per_job": "gres:gpu:3", "node_count": 2}, 3, 0),
        ({"tres_per_task": "gres/dcu:1"}, 0, 4),
        # On how many sockets is known when it runs.
        ({"tres_per_socket": "gres/gpu:1"}, None, 0),
        ({"tres_per_node": "gres/gpu:1", "node_count": None}, None, 0),
        ({"tres_per_node": "gres/mps:100,gres/shard:2"}, 0, 0),
        ({"tres_per_node": "license/gpu:1,cpu=2"}, 0, 0),
        ({"tres_per_node": "gres/gpu:2(S:0-1)"}, None, 0),
        ({"tres_per_socket": "gres/dcu:2(S:0-1)"}, 0, None),
        # As the cluster accounts it, which is right for all of these forms.
        ({"tres_req_str": "cpu=4,node=2,gres/gpu=4,gres/gpu:h100=4", "tres_per_socket": "gres/gpu:1"}, 4, 0),
        ({"tres_req_str": "cpu=4,gres/gpu:h100=1,gres/gpu:a100=2"}, 3, 0),
        (dict.fromkeys(("tres_per_node", "tres_per_job", "tres_per_socket", "tres_per_task")), None, None),
        ({"tres_per_node": "mem=4G,license/matlab:1,gres/gpu:2"}, 2, 0),
        # A part that is not understood is not none.
        ({"tres_per_node": "N/A"}, None, None),
        ({"tres_per_node": 2, "tres_per_job": "gres/gpu:1"}, None, None),
        ({"tres_per_task": "gres/gpu:two"}, 4, 0),
        ({"tres_per_task": "gres/gpu=two"}, None, 0),
        ({"tres_per_task": "gres/gpu:2,gres/gpu:h100:1000000000"}, None, 0),
        ({"tres_per_socket": ["gres/gpu:1"]}, None, None),
        ({"tres_req_str": "cpu=4,gres/gpu:h100=1,gres/gpu:a100=N/A"}, None, 0),
        ({"tres_req_str": "cpu=4,gres/gpu=²"}, None, 0),
        ({"tres_req_str": f"cpu=4,gres/gpu={'9' * 5000}"}, None, 0),
        ({"tres_req_str": "cpu=4,gres/gpu=3,gres/gpu:a100=N/A"}, 3, 0),
    ],
)  # fmt: skip
def test_requested_devices(make: Make, changes: dict[str, Any], gpus: int | None, dcus: int | None) -> None:
    (owned,) = read(make(**changes)).jobs
    assert (owned.job.requested_gpus, owned.job.requested_dcus) == (gpus, dcus)


@GENERATIONS
@pytest.mark.parametrize(
    ("changes", "gpus", "dcus"),
    [
        ({"gres_detail": ["gpu:h100:2(IDX:0-1)"]}, 2, 0),
        ({"gres_detail": ["gpu:h100:2(IDX:0,2)", "gpu:h100:2(IDX:0-1)"]}, 4, 0),
        ({"gres_detail": ["gpu:1(IDX:3),dcu:2(IDX:0,1)", "dcu:2(IDX:0-1)"]}, 1, 4),
        ({"gres_detail": ["gpu:a100:2", "dcu:1"]}, 2, 1),
        ({"tres_alloc_str": "cpu=16,gres/gpu=3,gres/gpu:h100=3", "tres_per_node": "gres/gpu:3"}, 3, 0),
        # It asked for some, and nothing says how many it has.
        ({"tres_per_node": "gres/gpu:3"}, None, 0),
        ({"gres_detail": None}, 0, 0),
        ({"gres_detail": ["(null)", "gpu:1"]}, 1, 0),
        # A part that is not understood is not none.
        ({"gres_detail": ["gpu:h100:2", "gpu:h100:x"]}, None, None),
        ({"gres_detail": ["gpu:a100:2,dcu"]}, None, None),
        ({"tres_alloc_str": "cpu=16,gres/gpu:h100=3,gres/gpu:a100=N/A"}, None, 0),
    ],
)  # fmt: skip
def test_devices_in_use(make: Make, changes: dict[str, Any], gpus: int | None, dcus: int | None) -> None:
    job = only(make(**{**RUNNING, **changes}))
    assert (job.allocated_gpus, job.allocated_dcus) == (gpus, dcus)


# Arrays


@GENERATIONS
@pytest.mark.parametrize(
    ("written", "tasks"),
    [
        ("2-3%1", ["5_2", "5_3"]),
        ("7", ["5_7"]),
        ("1,3-4,9%2", ["5_1", "5_3", "5_4", "5_9"]),
        ("0-8:4", ["5_0", "5_4", "5_8"]),
    ],
)
def test_the_row_of_waiting_tasks_counts_as_each_of_them(make: Make, written: str, tasks: list[str]) -> None:
    found = read(make(job_id=5, array_job_id=5, array_task_string=written, state_reason="JobArrayTaskLimit"))
    assert [owned.job.id for owned in found.jobs] == tasks
    assert {owned.job.state for owned in found.jobs} == {"queued"}
    assert {owned.job.requested_cpus for owned in found.jobs} == {16}


@GENERATIONS
@pytest.mark.parametrize("written", ["0-4000000000", "1-999999999", "x", "1-2:0", "%1", "3-1", "...", "1;2"])
def test_tasks_that_make_no_sense_reject_the_row(make: Make, written: str) -> None:
    found = read(make(), make(job_id=5, array_job_id=5, array_task_string=written))
    assert ([owned.job.id for owned in found.jobs], found.rejected) == (["17"], 1)


@pytest.mark.parametrize("written", ["1-8", "1,2-8", "1,2,3-8"])
def test_no_answer_stands_for_more_tasks_than_a_cluster_has(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """All rows together."""
    monkeypatch.setattr(rows, "TASKS_LIMIT", 10)
    arrays = [new(job_id=array, array_job_id=array, array_task_string=written) for array in (5, 6)]
    assert (len(read(arrays[0]).jobs), read(arrays[0]).rejected) == (8, 0)
    assert (len(read(*arrays).jobs), read(*arrays).rejected) == (8, 1)
    longer = written.replace("8", "11")
    assert read(new(), new(job_id=5, array_job_id=5, array_task_string=longer)).rejected == 1


@GENERATIONS
def test_an_array_that_was_cancelled_as_a_whole(make: Make) -> None:
    cancelled = {**NEVER_BEGAN, "nodes": "", "array_job_id": 5, "job_id": 5}
    found = read(make(**cancelled, array_task_string="2-3"))
    assert [(owned.job.id, owned.job.state, owned.job.started) for owned in found.jobs] == [
        ("5_2", "deleted", None),
        ("5_3", "deleted", None),
    ]
    # Cancelled by the name or the user: nothing says which tasks these were.
    found = read(make(**cancelled))
    assert ([owned.job.id for owned in found.forgotten], found.jobs, found.rejected) == (["5"], [], 0)
    # It was read, even where nothing else can be.
    assert read(make(**cancelled), 7).rejected == 1
    # A task that ended under the array's own number is one like any other.
    found = read(make(**cancelled, array_task_id=7))
    assert ([owned.job.id for owned in found.jobs], found.forgotten) == (["5_7"], [])


STATES = [
    {"job_id": "5_1", "state": ["PENDING"]},
    {"job_id": "5_3", "state": ["PENDING"]},
    {"job_id": "5_12", "state": ["PENDING"]},
    {"job_id": "5_14", "state": ["PENDING", "REQUEUED"]},
    {"job_id": "5_2", "state": ["RUNNING"]},
    {"job_id": "17", "state": ["PENDING"]},
    {"state": []},
]


@GENERATIONS
def test_an_array_whose_tasks_are_cut_off_is_completed_by_the_list_of_states(make: Make) -> None:
    found = read(
        make(job_id=5, array_job_id=5, array_task_string="1,3,1...%4"),
        make(job_id=9, array_job_id=5, array_task_id=14, job_state="REQUEUED"),
    )
    assert [owned.job.id for owned in found.jobs] == ["5_14"]
    whole = completed(found, read_waiting_tasks(msgspec.Raw(json.dumps(STATES).encode())))
    assert [owned.job.id for owned in whole.jobs] == ["5_14", "5_1", "5_3", "5_12"]
    assert whole.rejected == 0
    # Without that list the rest is known to be missing.
    part = completed(found, {})
    assert [owned.job.id for owned in part.jobs] == ["5_14", "5_1", "5_3"]
    assert part.rejected == 1


# Odd values


@GENERATIONS
def test_an_odd_value_costs_only_itself(make: Make) -> None:
    found = read(
        make(cpus=-1, node_count="many", tres_req_str=7, submit_time=1e300, gres_detail="none", partition=12, name=None)
    )
    (owned,) = found.jobs
    job = owned.job
    assert (job.id, job.state, job.queue, job.name, owned.account) == ("17", "queued", "12", "", "chemistry")
    assert (job.requested_cpus, job.requested_nodes, job.submitted) == (None, None, None)
    assert (found.rejected, found.rejected_values) == (0, 5)


@pytest.mark.parametrize(
    "number",
    [0xFFFFFFFE, 0xFFFFFFFF, {"set": False, "number": 7}, {"infinite": True, "number": 7}, {"set": True}, {"odd": 7}],
)
def test_no_number_is_not_an_amount(number: Any) -> None:
    assert only(old(cpus=number, node_count=number, tres_req_str="")).requested_nodes is None


@GENERATIONS
def test_a_number_that_is_no_time(make: Make) -> None:
    milliseconds = dict.fromkeys(("submit_time", "start_time", "end_time"), 1000 * NOW)
    nothing = {**NO_TIMES, "submitted": None}
    assert shown(only(make(**ENDED | milliseconds)), nothing) == nothing


@pytest.mark.parametrize("user", [{"user_name": "", "user_id": 1000}, {"user_name": None, "user_id": 1000}])
def test_a_user_without_a_name_is_known_by_number(user: dict[str, Any]) -> None:
    assert [owned.user for owned in read(old(**user)).jobs] == ["1000"]


def test_records_hold_plain_text_that_can_be_written_anywhere() -> None:
    assert msgspec.json.encode(read(new(), old(user_name="", user_id=7)).jobs)


@GENERATIONS
@pytest.mark.parametrize("odd", [None, [1], "first"])
def test_a_task_that_does_not_say_which_is_none(make: Make, odd: Any) -> None:
    found = read(make(job_id=17), make(job_id=18, array_job_id=5, array_task_id=odd, array_task_string=""))
    assert ([owned.job.id for owned in found.jobs], found.rejected) == (["17"], 1)


def test_a_job_counts_once_however_often_it_is_listed() -> None:
    jobs = [only(old(**changes)) for changes in (ENDED | {"job_state": "COMPLETED"}, RUNNING, {}, RUNNING)]
    assert [job.state for job in listing_of([*jobs, only(old(job_id=18))], 0).jobs] == ["running", "queued"]


def test_rows_that_cannot_be_used_are_counted_and_a_list_of_only_these_is_an_error() -> None:
    found = read(old(), {"job_id": None}, 7, {"job_id": [1]})
    assert (len(found.jobs), found.rejected) == (1, 3)
    with pytest.raises(DecodeError, match="none of the answer's 2 rows"):
        read({}, None)
    assert read() == ClusterJobs([], [], [])
