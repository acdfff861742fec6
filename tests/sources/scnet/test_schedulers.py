"""Table: what a region answers about its schedulers -> samples."""

import pytest

from tests.support.collecting import REGION, Answer, Expected, collecting, envelope, of

SLURM = {"id": 1638523853, "text": "Cluster", "JobManagerType": "SLURM", "JobManagerAddr": "10.0.150.45"}
SHOWN = {"1638523853 Cluster SLURM": 1}
CASES: dict[str, tuple[Answer, Expected, int]] = {
    "single object": (envelope(SLURM), SHOWN, 0),
    "two": (envelope([SLURM, {**SLURM, "id": "2"}]), {**SHOWN, "2 Cluster SLURM": 1}, 0),
    "one twice": (envelope([SLURM, {**SLURM, "text": "Other"}]), SHOWN, 0),
    "long id": (envelope([{"id": 2**63}]), {"9223372036854775808  ": 1}, 0),
    "nulls": (envelope([{"id": "1", "text": None, "JobManagerType": None}]), {"1  ": 1}, 0),
    **{
        f"id {same!r}": (envelope([{"id": same}]), {"1638523853  ": 1}, 0)
        for same in of(1638523853.0, "1638523853.0", " 1638523853 ", "1638523853")
    },
    "odd rows are dropped": (
        envelope([{"text": "no id"}, None, 7, {"id": 1.5}, {"id": True}, {"id": " "}, SLURM]),
        SHOWN,
        6,
    ),
    "one odd field costs that field": (
        envelope([{"id": "1", "text": 7, "JobManagerType": ["SLURM"]}, {"id": "2", "text": False}]),
        {"1 7 ": 1, "2 false ": 1},
        1,
    ),
    "null": (envelope(None), {}, 0),
    "empty list": (envelope([]), {}, 0),
    **{f"no list: {data!r}": (envelope(data), "decode: ", 0) for data in of("", "none", 7, True, {}, [{}], [None, 7])},
    **{f"no envelope: {body!r}": (Answer(body), "decode: ", 0) for body in (b"null", b"", b"[]", b'{"data":[]}')},
}


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_schedulers(answer: Answer, expected: Expected, rejected: int) -> None:
    async with collecting(REGION, "schedulers", "hpc_scheduler_info") as schedulers:
        assert (await schedulers.poll(answer)).outcome(expected) == (expected, rejected)


async def test_the_example_of_the_page_without_address_and_port(page_example: dict[str, bytes]) -> None:
    async with collecting(REGION, "schedulers", "hpc_scheduler_info") as schedulers:
        polled = await schedulers.poll(Answer(page_example["schedulers"]))
    assert polled.outcome(SHOWN) == (SHOWN, 0)
    assert polled.requests == ["/hpc/openapi/v2/cluster"]
