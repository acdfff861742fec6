"""Table: what a region answers about its cores -> samples."""

from typing import Any

import pytest

from tests.support.collecting import REGION, Answer, Expected, collecting, envelope

LABELS = {"jobview_used_label": "used", "jobview_unused_label": "unused", "jobview_unavailable_label": "unavailable"}


def state(name: Any, cores: Any) -> dict[str, Any]:
    return {"name": name, "y": cores}


USED = state("已使用", 5)
CASES: dict[str, tuple[Answer, Expected, int]] = {
    "in Chinese": (
        envelope([USED, state("未使用", 3), state("不可用", 0)]),
        {"used": 5, "unused": 3, "unavailable": 0},
        0,
    ),
    "by labels": (envelope([state(label, 7) for label in LABELS]), dict.fromkeys(LABELS.values(), 7), 0),
    "numeric text": (envelope([state(" 已使用 ", "5")]), {"used": 5}, 0),
    "unknown name": (envelope([USED, state("借用", 9)]), {"used": 5}, 1),
    "only unknown names": (envelope([state("借用", 9)]), {}, 1),
    "name is no text": (envelope([USED, state(None, 9), 7, None, {}]), {"used": 5}, 4),
    "missing, null, negative or odd number": (
        envelope([USED, {"name": "未使用"}, *(state("不可用", odd) for odd in (None, -1, "--", 10**400))]),
        {"used": 5},
        1,
    ),
    "said twice": (envelope([USED, USED]), {"used": 5}, 0),
    "said twice and differently": (
        envelope([USED, state("jobview_used_label", 6), state("不可用", 1)]),
        {"unavailable": 1},
        1,
    ),
    "single object": (envelope(USED), {"used": 5}, 0),
    **{
        f"object with {name}": (envelope({name: [USED]}), {"used": 5}, 0)
        for name in ("list", "records", "rows", "items")
    },
    "null": (envelope(None), {}, 0),
    "no data": (Answer({"code": 0}), {}, 0),
    "empty list": (envelope([]), {}, 0),
    **{
        f"a success under HTTP {status}": (Answer({"code": "0", "data": [USED]}, status), {"used": 5}, 0)
        for status in (201, 404, 405, 500)
    },
    "no readable row": (envelope([7, {}]), "decode: none of the answer's 2 rows can be read", 0),
    "no list": (envelope("none"), "decode: the answer's data is not a list", 0),
    "null for a body": (Answer(b"null"), "decode: ", 0),
    "not there": (
        Answer(b"<html>", 404),
        "http: HTTP 404: this region does not have /hpc/openapi/v2/view/cpucore/state",
        0,
    ),
    "not allowed": (Answer(b"", 405), "http: HTTP 405: this region does not have", 0),
    "not there, in an envelope": (
        Answer({"code": "10004", "msg": "x"}, 404),
        "http: HTTP 404: this region does not have",
        0,
    ),
    "rejected": (Answer({"code": "10004", "msg": "缺少参数"}), "rejected: the region rejected the request", 0),
}


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_region_cores(answer: Answer, expected: Expected, rejected: int) -> None:
    async with collecting(REGION, "region_cores", "hpc_cluster_cpus") as cores:
        polled = await cores.poll(answer)
    assert polled.outcome(expected) == (expected, rejected)
    assert polled.requests == ["/hpc/openapi/v2/view/cpucore/state"]
