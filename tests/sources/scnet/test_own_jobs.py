"""The list of a token's own user: its pages, its forms, and when it is complete."""

import base64
from typing import Any

import msgspec
import pytest

from exporter.records import Job, JobState
from exporter.sources.scnet.own_jobs import page_url
from tests.support.collecting import REGION, TOKEN, Answer, Polled, Samples, collecting, envelope, of

OWN = (
    REGION.split("    members:")[0]
    + """
    collect: [own_jobs]
per_job: {enabled: true}
"""
)
SCHEDULERS = envelope([{"id": 1638523853}])
TIME = "2026-05-26 17:09:07"  # in China
AT = 1779786547
RUNNING = {"jobId": "1", "jobName": "a", "jobStatus": "statR", "queue": "cpu", "procNumUsed": 4, "jobStartTime": TIME}
QUEUED = {
    "jobId": "2",
    "jobStatus": "statQ",
    "queue": "cpu",
    "procNumUsed": 8,
    "jobStartTime": TIME,
    "reason": "Priority",
}
STARTED = {"job_start_timestamp_seconds 1": AT}
ONE_RUNNING = {"jobs cpu running": 1, "jobs cpu queued": 0}
CASES: dict[str, tuple[dict[str, Any], Samples]] = {
    "running": (RUNNING, ONE_RUNNING | STARTED),
    "an expected start is none": (
        QUEUED,
        {"jobs cpu running": 0, "jobs cpu queued": 1, "pending_jobs priority": 1},
    ),
    "times of a submission, where they come": (
        RUNNING | {"jobQueueTime": "2026-05-26 17:09:00"},
        ONE_RUNNING | STARTED | {"job_submit_timestamp_seconds 1": AT - 7},
    ),
    **{
        f"start {start!r}": (RUNNING | {"jobStartTime": start}, ONE_RUNNING)
        for start in of(None, "", "N/A", "Unknown", 0, [], {"a": 1}, True, "2026-05-26")
    },
    "start in milliseconds": (RUNNING | {"jobStartTime": AT * 1000}, ONE_RUNNING | STARTED),
    "held without a reason": (
        QUEUED | {"jobStatus": "statH", "reason": None},
        {"jobs cpu running": 0, "jobs cpu queued": 0, "jobs cpu held": 1, "pending_jobs held": 1},
    ),
    **{
        f"reason {reason!r}": (QUEUED | {"reason": reason}, {"jobs cpu running": 0, "jobs cpu queued": 1})
        for reason in of(None, "None", 7, [])
    },
    "queue unknown": (RUNNING | {"queue": None}, {"jobs  running": 1, "jobs  queued": 0} | STARTED),
    "odd queue": (RUNNING | {"queue": 5}, {"jobs 5 running": 1, "jobs 5 queued": 0} | STARTED),
}


async def poll(*answers: Answer, prefix: str = "hpc_", config: str = OWN) -> Polled:
    async with collecting(config, "own_jobs", prefix) as own_jobs:
        return await own_jobs.poll(*answers)


@pytest.mark.parametrize(("row", "expected"), CASES.values(), ids=CASES)
async def test_own_jobs_by_queue_and_reason_with_their_times(row: dict[str, Any], expected: Samples) -> None:
    polled = await poll(SCHEDULERS, envelope({"total": 1, "list": [row]}))
    shown = {name: value for name, value in polled.samples.items() if name.startswith(("jobs ", "pending", "job_s"))}
    assert (polled.error, shown, polled.rejected) == ("", expected, 0)
    assert polled.requests == [
        "/hpc/openapi/v2/cluster",
        "/hpc/openapi/v2/jobs?limit=200&start=0&strClusterIDList=1638523853&strJobOwner=test",
    ]


@pytest.mark.parametrize(("zone", "offset"), [("Asia/Shanghai", 0), ("UTC", 8 * 3600), ("America/New_York", 12 * 3600)])
async def test_times_are_of_the_configured_zone(zone: str, offset: int) -> None:
    config = OWN + f"tracking: {{time_zone: {zone}}}\n"
    polled = await poll(SCHEDULERS, envelope([RUNNING]), prefix="hpc_job_start_timestamp_seconds", config=config)
    assert polled.samples == {"1": AT + offset}


async def test_amounts_are_the_cores_only() -> None:
    polled = await poll(SCHEDULERS, envelope([RUNNING, QUEUED]), prefix="hpc_member_")
    assert polled.samples == {
        **{f"jobs {state}": count for state, count in (("running", 1), ("queued", 1), ("held", 0), ("suspended", 0))},
        "requested_cpus queued": 8,
        **{f"allocated_cpus {state}": cores for state, cores in (("running", 4), ("queued", 0))},
    }
    unknown = envelope([QUEUED | {"procNumUsed": 0}])
    assert (await poll(SCHEDULERS, unknown, prefix="hpc_member_requested_cpus")).samples == {"running": 0}


async def test_jobs_of_all_schedulers_are_listed_also_of_one_id() -> None:
    schedulers, page = envelope([{"id": 2}, {"id": "1"}]), envelope([RUNNING])
    async with collecting(OWN, "own_jobs", "hpc_job_info") as own_jobs:
        polled = await own_jobs.poll(schedulers, page, page)
        assert set(polled.samples) == {"1 a running", "1@2 a running"}
        # The schedulers are known for a while.
        assert len((await own_jobs.poll(page, page)).requests) == 2


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((SCHEDULERS, Answer(b"", 404)), "http: HTTP 404: this region does not have /hpc/openapi/v2/jobs"),
        ((SCHEDULERS, Answer(b"", 405)), "http: HTTP 405: this region does not have /hpc/openapi/v2/jobs"),
        ((envelope(None),), "upstream: the region lists no scheduler"),
        ((SCHEDULERS, envelope([{"jobId": None}])), "decode: none of the answer's 1 rows can be read"),
    ],
)
async def test_nothing_is_shown_of_a_list_that_cannot_be_read(answers: tuple[Answer, ...], error: str) -> None:
    polled = await poll(*answers)
    assert (polled.error[: len(error)], polled.samples) == (error, {})


async def test_a_token_of_another_user_is_not_taken_for_theirs() -> None:
    claims = base64.urlsafe_b64encode(b'{"computeUser":"alice"}').decode().rstrip("=")
    polled = await poll(config=OWN.replace(TOKEN, f"e30.{claims}.x"))
    assert polled.error.startswith(
        "rejected: the token in the configuration is alice's and lists only their jobs: give test a token"
    )


async def test_the_list_of_a_token_that_is_theirs_is_requested_without_a_name() -> None:
    polled = await poll(SCHEDULERS, envelope([]), config=OWN.replace("[test]", "[{name: test, token: other}]"))
    assert polled.requests[1] == "/hpc/openapi/v2/jobs?limit=200&start=0&strClusterIDList=1638523853"
    assert page_url("", "7", 0, "bo b").endswith("&strJobOwner=bo%20b&start=0&limit=200")


@pytest.mark.parametrize(
    ("rows", "total", "listed", "complete"),
    [
        ([{"jobId": "19", "jobName": "模拟", "jobStatus": "statQ", "procNumUsed": "32", "nodeUsed": "a1"}], 1,
         [Job("19", "模拟", JobState.QUEUED, requested_cpus=32, allocated_cpus=0)], True),
        ([{"jobId": 1638523853.0, "jobName": 7, "jobStatus": ["statR"], "procNumUsed": {}}], None,
         [Job("1638523853", "7", JobState.UNKNOWN, raw_state='["statR"]')], True),
        *(([{"jobId": 2, "jobStatus": "statR", "procNumUsed": cores}], 1, [Job("2", "", JobState.RUNNING)], True)
          for cores in of(None, "many", "", -1, "1" * 20)),
        ([{"jobId": 2, "jobStatus": "statR"}, {"jobId": None}, {"jobId": ""}, 7], 4, [Job("2", "", JobState.RUNNING)], False),
        ([{"jobId": 2, "jobStatus": "statR"}], 5, [Job("2", "", JobState.RUNNING)], False),
    ],
)  # fmt: skip
async def test_a_list(rows: list[Any], total: int | None, listed: list[Job], complete: bool) -> None:
    rest = () if total != 5 else (envelope({"total": 5, "list": []}),)
    polled = await poll(SCHEDULERS, envelope({"total": total, "list": rows}), *rest)
    found = [msgspec.structs.replace(job, scheduler="") for job in polled.records.jobs]
    assert (found, polled.records.complete) == (listed, complete)
