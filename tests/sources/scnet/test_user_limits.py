"""Table: what a region answers about the limits of a user -> samples."""

from typing import Any

import pytest

from tests.support.collecting import REGION, Answer, Expected, collecting, envelope

NONE = "-1"
ROW: dict[str, Any] = {
    "userMaxCpu": "128",
    "userMaxGpu": 4,
    "userMaxDcu": NONE,
    "userMaxNode": -1,
    "userMaxSubmitJob": "20",
    "userMaxRunJob": "0",
    "accountMaxCpu": 512,
    "accountMaxGpu": NONE,
    "accountMaxDcu": None,
    "accountMaxNode": "",
    "accountMaxSubmitJob": NONE,
    "accountMaxRunJob": NONE,
    "maxWallTime": "3600",
}
LIMITS: dict[str, float] = {
    "limit cpus": 128,
    "limit gpus": 4,
    "limit submitted_jobs": 20,
    "limit running_jobs": 0,
    "limit account_cpus": 512,
}
ALL = LIMITS | {"walltime_remaining_seconds": 3600}
ONE = envelope([{"id": 7}])
CASES: dict[str, tuple[list[Answer], Expected, int]] = {
    "documented": ([ONE, envelope(ROW)], ALL, 0),
    "in a list": ([ONE, envelope([ROW])], ALL, 0),
    "in an object": ([ONE, envelope({"list": [ROW]})], ALL, 0),
    "no limit of machine time": ([ONE, envelope({**ROW, "maxWallTime": "-1"})], LIMITS, 0),
    "no limit at all": ([ONE, envelope(dict.fromkeys(ROW, "-1"))], {}, 0),
    "odd": (
        [ONE, envelope({**ROW, "userMaxCpu": "many", "maxWallTime": [1]})],
        {k: v for k, v in LIMITS.items() if k != "limit cpus"},
        2,
    ),
    "nothing": ([ONE, envelope({})], {}, 0),
    "null": ([ONE, envelope(None)], {}, 0),
    "two schedulers that agree": ([envelope([{"id": 7}, {"id": 8}]), envelope(ROW), envelope(ROW)], ALL, 0),
    "two schedulers that differ": (
        [envelope([{"id": 7}, {"id": 8}]), envelope(ROW), envelope({**ROW, "userMaxCpu": 64})],
        {name: value for name, value in ALL.items() if name != "limit cpus"},
        1,
    ),
    "no scheduler": ([envelope([])], "upstream: the region lists no scheduler", 0),
    "not there": ([ONE, Answer(b"", 404)], "http: HTTP 404: this region does not have ", 0),
}


@pytest.mark.parametrize(("answers", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_user_limits(answers: list[Answer], expected: Expected, rejected: int) -> None:
    async with collecting(REGION, "user_limits", "hpc_user_") as limits:
        polled = await limits.poll(*answers)
    assert polled.outcome(expected) == (expected, rejected)
    assert all(path == "/hpc/openapi/v2/userquotas/userlimit?strJobManagerID=7" for path in polled.requests[1:2])
