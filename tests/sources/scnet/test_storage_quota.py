"""Table: what a region answers about the storage of a user -> samples."""

from typing import Any

import pytest

from tests.support.collecting import REGION, Answer, Expected, collecting, envelope


def row(threshold: Any = 500.0, usage: Any = 12.5, path: Any = "/public/home/test", **more: Any) -> dict[str, Any]:
    return {"path": path, "username": "test", "threshold": threshold, "usage": usage, **more}


HOME: dict[str, float] = {"used_bytes /public/home/test": 12.5e9, "quota_bytes /public/home/test": 500e9}
USED = {"used_bytes /public/home/test": 12.5e9}
CASES: dict[str, tuple[Answer, Expected, int]] = {
    "documented": (envelope([row()]), HOME, 0),
    "single object": (envelope(row()), HOME, 0),
    "text": (envelope([row("500", " 12.5 ")]), HOME, 0),
    "more than the quota": (envelope([row(usage=501)]), HOME | {"used_bytes /public/home/test": 501e9}, 0),
    "a fraction": (envelope([row(usage=0.1)]), HOME | {"used_bytes /public/home/test": 1e8}, 0),
    "several paths": (
        envelope([row(), row(path="/work", threshold=1)]),
        HOME | {"used_bytes /work": 12.5e9, "quota_bytes /work": 1e9},
        0,
    ),
    **{f"no quota: {value!r}": (envelope([row(value)]), USED, 0) for value in (None, "-1", -1, -1.0, "", "--")},
    "unknown usage": (envelope([row(usage=None)]), {"quota_bytes /public/home/test": 500e9}, 0),
    "no path": (envelope([row(path=None), row(path=""), row()]), HOME, 2),
    "twice the same": (envelope([row(), row()]), HOME, 0),
    "twice and differently": (envelope([row(), row(usage=13)]), {"quota_bytes /public/home/test": 500e9}, 1),
    "huge": (envelope([row(usage=1e300)]), {"quota_bytes /public/home/test": 500e9}, 1),
    "null": (envelope(None), {}, 0),
    "not there": (Answer({"code": "1", "msg": "x"}, 404), "http: HTTP 404: this region does not have ", 0),
}


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_storage_quota(answer: Answer, expected: Expected, rejected: int) -> None:
    async with collecting(REGION, "storage_quota", "hpc_storage_") as storage:
        polled = await storage.poll(answer)
    assert polled.outcome(expected) == (expected, rejected)
    assert polled.requests == ["/hpc/openapi/v2/parastor/quota/usernames/test"]
