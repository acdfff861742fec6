"""Tables: what a region answers about a member's jobs -> samples of each job, and of all of them."""

import json
from typing import Any

import pytest

from tests.support.collecting import REGION, Answer, Expected, Polled, Samples, collecting, envelope, of

AMOUNTS = {
    "nodeNumReq": "requested_nodes",
    "procNumReq": "requested_cpus",
    "gpuNumReq": "requested_gpus",
    "dcuNumReq": "requested_dcus",
    "cpuCore": "allocated_cpus",
    "gpuNum": "allocated_gpus",
    "dcuNumUsed": "allocated_dcus",
}
RUNNING = {"id": "1", "status": "statR"}
ONE: Samples = {"info 1  running": 1}
NO_IDS: list[Any] = [None, "", " ", True, 1.5, 1e300, [], {}]
BAD_ROWS: list[Any] = [None, 7, "job", [], {}, *({"id": ident} for ident in NO_IDS)]


def job(**fields: Any) -> Answer:
    return envelope([RUNNING | fields])


def amounts(sent: bytes) -> Answer:
    """Return a job of which each amount is `sent`, between two others."""
    fields = b",".join(b'"%s":%s' % (name.encode(), sent) for name in AMOUNTS)
    return envelope(
        b'[{"id":"0","status":"statR"},{"id":"1","status":"statR",%s},{"id":"2","status":"statQ"}]' % fields
    )


NEIGHBOURS: Samples = {"info 0  running": 1, "info 2  queued": 1}
CASES: dict[str, tuple[Answer, Expected, int]] = {
    **{
        f"each amount goes where it belongs, with the name {name!r}": (
            job(name=name, **{field: number for number, field in enumerate(AMOUNTS)}),
            {f"info 1 {shown} running": 1, **{f"{amount} 1": number for number, amount in enumerate(AMOUNTS.values())}},
            rejected,
        )
        for name, shown, rejected in of(("n", "n", 0), ([], "", 1))
    },
    **{
        f"amount {sent!r}": (
            job(cpuCore=sent, procNumReq=1),
            {**ONE, "allocated_cpus 1": count, "requested_cpus 1": 1},
            0,
        )
        for sent, count in of((5, 5), ("5", 5), (" 5 ", 5), (5.0, 5), ("2.0", 2), (0, 0), ("0", 0), (2**53, 2**53))
    },
    **{
        f"amount {sent!r} is said to be unknown": (amounts(json.dumps(sent).encode()), {**NEIGHBOURS, **ONE}, 0)
        for sent in of(None, "", "  ", "--", "-", "N/A", "n/a", "null", "None", -1, "-1", -1.0)
    },
    **{
        f"amount {sent[:20].decode(errors='replace')} makes no sense": (amounts(sent), {**NEIGHBOURS, **ONE}, 7)
        for sent in (
            *(b'"two"', b'"gpu:2"', b"-2", b"2.5", b"true", b"false", b"9007199254740993", b"1" * 30, b"[]", b"{}"),
            *(b'"1 2"', b'"0x10"', b'"NaN"', b'"2.5"', b"1e999", b"1" * 9999, b'{"a":[1,{}]}', b'"\xff"', b'"007"'),
        )
    },
    "one odd field costs that field": (
        job(cpuCore="N/A", gpuNum="gpu:2", procNumReq="2", name=7),
        {"info 1 7 running": 1, "requested_cpus 1": 2},
        1,
    ),
    **{
        f"name {name!r}": (job(name=name), {f"info 1 {shown} running": 1}, rejected)
        for name, shown, rejected in of(
            *((7, "7", 0), (7.0, "7", 0), (7.5, "7.5", 0), (True, "true", 0), ("", "", 0), (" a ", " a ", 0)),
            *(
                (None, "", 0),
                ([], "", 1),
                ({}, "", 1),
                ('a"\\\n', 'a"\\\n', 0),
                ("\ud800", "\ufffd", 0),
                ("模拟", "模拟", 0),
            ),
        )
    },
    "field twice": (
        envelope(b'[{"id":"1","id":"2","status":"statR","cpuCore":"?","cpuCore":3}]'),
        {"info 2  running": 1, "allocated_cpus 2": 3},
        0,
    ),
    **{
        f"id {sent!r}": (job(id=sent, gpuNum=odd), {f"info {ident}  running": 1}, rejected)
        for sent, ident in of(
            *((same, "1638523853") for same in (1638523853, 1638523853.0, "1638523853.0", " 1638523853 ")),
            *(
                (ident, ident)
                for ident in ("007", "null", "1e3", "true", "900_[1-4]", "533686286955839488[17]", "作业", "1.5")
            ),
            *((ident, str(ident)) for ident in (7, 533686286955839489, 2**64 + 1)),
        )
        for odd, rejected in of((None, 0), ("?", 1))
    },
    **{f"row {bad!r} is dropped": (envelope([bad, RUNNING]), ONE, 1) for bad in BAD_ROWS},
    "no row can be read": (envelope(BAD_ROWS), f"decode: none of the answer's {len(BAD_ROWS)} rows can be read", 0),
    **{f"no jobs: {data!r}": (envelope(data), {}, 0) for data in of(None, [])},
    "no data": (Answer({"code": "0"}), {}, 0),
    **{
        f"no list: {data!r}": (envelope(data), "decode: the answer's data is not a list", 0)
        for data in of("", "no jobs", {}, 0, False, RUNNING)
    },
    **{f"no envelope: {body!r}": (Answer(body), "decode: ", 0) for body in (b"null", b"", b"[]", b'{"data":[]}')},
}


async def poll(answer: Answer, prefix: str = "hpc_job_") -> Polled:
    async with collecting(REGION, "member_jobs", prefix) as member_jobs:
        return await member_jobs.poll(answer)


@pytest.mark.parametrize(("answer", "expected", "rejected"), CASES.values(), ids=CASES)
async def test_jobs(answer: Answer, expected: Expected, rejected: int) -> None:
    assert (await poll(answer)).outcome(expected) == (expected, rejected)


@pytest.mark.parametrize(
    ("again", "number"),
    [({}, 1), ({"cpuCore": 5}, 2), ({"status": "statC"}, 1)],
    ids=["the same row", "another scheduler's job of this id", "one that is over"],
)
async def test_a_job_counts_once_however_often_it_is_listed(again: dict[str, Any], number: int) -> None:
    polled = await poll(envelope([RUNNING, {**RUNNING, **again}, RUNNING]), "hpc_member_")
    assert polled.samples["jobs running"] == number


async def test_the_example_of_the_page(page_example: dict[str, bytes]) -> None:
    polled = await poll(Answer(page_example["member_jobs"]), "hpc_member_")
    running = {"requested_nodes": 1, "requested_cpus": 1, "allocated_cpus": 2, "jobs": 1}
    expected = {f"{name} {state}": 0 for state in ("running", "queued") for name in ("jobs", *AMOUNTS.values())}
    expected |= {"jobs held": 0, "jobs suspended": 0, **{f"{name} running": value for name, value in running.items()}}
    assert polled.outcome(expected) == (expected, 0)
    assert polled.requests == ["/ac/openapi/v2/clusters/11112/groups/533686286955839488/clusterUserNames/test/jobs"]


def jobs(*rows: tuple[str, dict[str, Any]]) -> Answer:
    return envelope([{"id": str(number), "status": status, **more} for number, (status, more) in enumerate(rows)])


SUMS: dict[str, tuple[Answer, str, Samples]] = {
    "without jobs, four states are at 0": (
        jobs(),
        "jobs",
        {"running": 0, "queued": 0, "held": 0, "suspended": 0},
    ),
    "further states are there while a job is in them": (
        jobs(("statC", {}), ("statQ", {}), ("statZZ", {}), ("statQ", {})),
        "jobs",
        {"running": 0, "queued": 2, "held": 0, "suspended": 0, "completed": 1, "unknown": 1},
    ),
    "without jobs, sums of running and queued are a true 0": (jobs(), "allocated_gpus", {"running": 0, "queued": 0}),
    "sums are by state, in further states while a job is in them": (
        jobs(("statR", {"cpuCore": 2}), ("statR", {"cpuCore": 64}), ("statH", {"cpuCore": 1})),
        "allocated_cpus",
        {"running": 66, "queued": 0, "held": 1},
    ),
    "a sum with an unknown summand is unknown, in that state alone": (
        jobs(("statR", {"nodeNumReq": 2}), ("statR", {}), ("statQ", {"nodeNumReq": 5})),
        "requested_nodes",
        {"queued": 5},
    ),
    "where nothing is known there is no sum": (jobs(("statR", {}), ("statQ", {})), "requested_dcus", {}),
    **{
        f"a job in {status} holds nothing of what it is listed with": (
            jobs(("statR", {"cpuCore": 2}), (status, {"cpuCore": 32})),
            "allocated_cpus",
            {"running": 2, "queued": 0},
        )
        for status in ("statC", "statF", "TIMEOUT", "statZZ")
    },
    "it requested it all the same": (
        jobs(("statR", {"procNumReq": 2}), ("statC", {"procNumReq": 32})),
        "requested_cpus",
        {"running": 2, "queued": 0, "completed": 32},
    ),
    **{
        f"{amount} are summed up under their own name": (
            jobs(*(("statR", {**dict.fromkeys(AMOUNTS, 0), field: number}) for number in (7, 4))),
            amount,
            {"running": 11, "queued": 0},
        )
        for field, amount in AMOUNTS.items()
    },
}


@pytest.mark.parametrize(("answer", "name", "expected"), SUMS.values(), ids=SUMS)
async def test_sums(answer: Answer, name: str, expected: Samples) -> None:
    assert (await poll(answer, f"hpc_member_{name}")).outcome(expected) == (expected, 0)


@pytest.mark.parametrize(
    ("status", "word"),
    [("statZZ", "statZZ"), ("", ""), (None, ""), (7, "7"), (True, "true"), (["statR"], '["statR"]'), ({}, "{}")],
)
async def test_a_job_in_an_unknown_state_is_there_all_the_same(status: Any, word: str) -> None:
    polled = await poll(envelope([RUNNING, {"id": "2", "status": status}]))
    assert polled.outcome({}) == ({**ONE, "info 2  unknown": 1}, 0)
    assert polled.unknown_states == 1
    assert [job.raw_state for job in polled.records.jobs] == ["", word]


async def test_a_job_without_a_status_is_in_an_unknown_state() -> None:
    polled = await poll(envelope([{"id": "1"}]))
    assert (polled.samples, polled.unknown_states) == ({"info 1  unknown": 1}, 1)


@pytest.mark.parametrize("word", ["x" * 10_000, "a\nb", "\x1b[31m"])
async def test_a_word_is_kept_in_one_printable_line_of_bounded_length(word: str) -> None:
    kept = (await poll(job(status=word))).records.jobs[0].raw_state
    assert 0 < len(kept) <= 200
    assert kept.isprintable()


async def test_a_large_listing_is_read_to_the_last_job() -> None:
    rows = [{"id": str(n), "name": f"job-{n}", "status": "statR", "cpuCore": 2} for n in range(20_000)]
    samples = (await poll(envelope(rows), "hpc_member_")).samples
    assert (samples["jobs running"], samples["allocated_cpus running"]) == (20_000, 40_000)
